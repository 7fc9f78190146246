"""
The store or the server cut off from the agent: packets vanish, in one direction or in both, connections are
reset, or answers come too late. What is held goes on being served inside its bound and no longer, trouble is
told as trouble, and all is well again by itself soon after the cut heals.

Nearly all of it is waiting: every cut of a kind is endured at once, each by an agent of its own, and a test
tells how its own went.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from parts.agent import agent, until
from parts.namespace import namespace
from parts.openbao import bao
from parts.oracle import READER, History, uses_in, verdict
from parts.proxy import Proxy
from parts.server import serving
from parts.together import at_once
from strongroom.caller import frames
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

__all__ = ["bao"]

COUNT = 3
TTL_SECONDS = 1
STALE_SECONDS = 2
HEAL_SECONDS = 10
# Beside it what may be served is older by a lifetime with its jitter, by the wait for a store that says
# nothing, and by what a busy machine adds.
MORE_SECONDS = TTL_SECONDS * 1.1 + 1 + 1.5
# A change that is heard of drops what is held: a name that changes all the time has nothing to serve.
REMOTE_STALE_SECONDS, REMOTE_PAUSE_SECONDS = 4, 0.5


class Site:
    """
    One agent in front of one store that can be cut off, readers, and what they saw.

    Args:
        put: writes a variable.
        names: how those begin that it reads.
    """

    def __init__(self, one, put, folder, *, names="v", stale=STALE_SECONDS, pause=0.1):
        self.one = one
        self.names = [f"{names}{number}" for number in range(COUNT)]
        self.folder = folder
        self.history = History(staleness_seconds=stale + MORE_SECONDS)
        self._put = put
        self._pause = pause
        self._numbers = dict.fromkeys(self.names, -1)
        self._ended = threading.Event()
        for name in self.names:
            self.write(name)

    def write(self, name):
        self._numbers[name] += 1
        text = f"{name}.{self._numbers[name]}"
        with self.history.writing(name, text):
            self._put(name, text)

    @contextmanager
    def busy(self):
        """Write and read all the time until the block ends."""

        def write():
            count = 0
            while not self._ended.wait(self._pause):
                self.write(self.names[count % COUNT])
                count += 1

        writer = threading.Thread(target=write)
        stop = self.folder / "stop"
        self.logs = [self.folder / f"reader{number}.log" for number in range(2)]
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", READER, str(log), str(stop), "0.02", *self.names], env=self.one.environ
            )
            for log in self.logs
        ]
        writer.start()
        try:
            yield
        finally:
            self._ended.set()
            writer.join()
            stop.touch()
            ended = [reader.wait(40) for reader in readers]
        assert ended == [0] * len(readers)
        for log in self.logs:
            self.history.load(log)

    def saw(self, wanted, since):
        """Wait until each reader has seen of each name what *wanted* says of (text, code), after *since*."""

        def has(log):
            found = History(staleness_seconds=0)
            if log.exists():
                found.load(log)
            seen = {read.name for read in found.reads if read.begun > since and wanted(read.text, read.code)}
            return seen == set(self.names)

        until(lambda: all(has(log) for log in self.logs), what="every reader", seconds=25)

    def judge(self, healed):
        history = self.history
        history.check_values()
        history.check_trouble({"backend_unavailable"})
        history.recovered_within(HEAL_SECONDS, since=healed)
        history.check_records(uses_in(self.one.audit), version_of=lambda number: str(number + 1))
        assert self.one.is_running()


def settings(url, mount):
    return f"""
    chain = ["vault"]
    [cache]
    ttl = {TTL_SECONDS}
    stale_if_error = {STALE_SECONDS}
    [lookup]
    timeout_seconds = 1
    [backend.vault]
    url = "{url}"
    token = {{ env = "TOKEN" }}
    mount_point = "{mount}"
    timeout = 1
    """


def is_value(text, _code):
    return text is not None


def is_trouble(_text, code):
    return code == "backend_unavailable"


def endure(site, cut, heal):
    """Cut, wait until what is held is too old, heal; then everything that was seen is judged."""
    with site.busy():
        site.saw(is_value, time.monotonic())
        begun = time.monotonic()
        cut()
        site.saw(is_trouble, begun)
        heal()
        healed = time.monotonic()
        site.saw(is_value, healed)
        time.sleep(1)  # who has a value again must keep getting it
    site.judge(healed)
    during = [read for read in site.history.given if begun + 0.1 < read.begun and read.ended < healed]
    assert during, "nothing was served out of what is held"


@contextmanager
def cutting(way, host, port):
    """Put a proxy before a port; give it, its network if it has one, and what cuts and what heals."""
    if way not in LOST:
        with Proxy(host, port, stall_seconds=5) as proxy:
            yield proxy, None, lambda: proxy.become(way), lambda: proxy.become("pass")
        return
    with namespace() as network, Proxy(host, port, make_socket=network.socket) as proxy:
        yield proxy, network, lambda: LOST[way](network, proxy.port), network.heal


# What the kernel of a network loses.
LOST = {
    "requests vanish": lambda network, port: network.drop(to=port),
    "answers vanish": lambda network, port: network.drop(of=port),
}


def prefix_of(network):
    return () if network is None else network.prefix


# --- the store ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stores(bao, tmp_path_factory):
    """Every way in which a store is cut off, behind a proxy or in a network that loses packets."""
    home = tmp_path_factory.mktemp("stores")  # here: pytest makes its own folder in one thread alone

    def work(way):
        mount, folder = bao.mount(), home / way.replace(" ", "-")
        folder.mkdir()
        token = bao.token(bao.policy(f'path "{mount}/*" {{ capabilities = ["read"] }}'))
        with (
            cutting(way, "127.0.0.1", bao.port) as (proxy, network, cut, heal),
            agent(
                folder, settings(proxy.url(), mount), environ={"TOKEN": token}, prefix=prefix_of(network)
            ) as one,
        ):
            site = Site(one, lambda name, text: bao.put(mount, f"variables/{name}", {"value": text}), folder)
            endure(site, cut, heal)

    with at_once(work, ["reset", "stall", *LOST]) as done:
        yield done


@pytest.mark.parametrize("mode", ["reset", "stall"])
def test_a_store_that_is_cut_off_is_endured(mode, stores):
    stores[mode].result()


@pytest.mark.parametrize("cut", LOST)
def test_a_store_whose_packets_the_kernel_loses_is_endured(cut, stores):
    stores[cut].result()


# --- the server -----------------------------------------------------------------------------------------

ENROLLED = f"""
chain = ["remote"]
[cache]
ttl = {TTL_SECONDS}
stale_if_error = {REMOTE_STALE_SECONDS}
[lookup]
timeout_seconds = 1
"""


def write_to(server):
    """Give what writes a variable on *server*, as its owner."""
    entries = server.house.deployment().root.entries

    def put(name, text, *tags):
        change = Change(ref=Ref("variable", name), secret=Secret(text), metadata=Metadata(tags=tags))
        entries.write(change)

    return put


@contextmanager
def enrolled(folder, server, way, settings=ENROLLED, *, name=None):
    """Run an agent that is enrolled with *server* through a proxy; give it, and what cuts and what heals."""
    with (
        cutting(way, "127.0.0.1", server.port) as (proxy, network, cut, heal),
        agent(folder, settings, start=False, prefix=prefix_of(network)) as one,
    ):
        one.enrol(server, name=name or way.partition(" ")[0])
        one.configure(f"""{settings}
            [agent.server]
            url = "{proxy.url()}"
            [backend.remote]
            url = "{proxy.url()}"
        """)
        one.start()
        yield one, cut, heal


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """Every way in which a server is cut off; and "strict", in which that entries are is asked for."""

    def work(way):
        folder = tmp_path_factory.mktemp("host")
        if way == "strict":
            return strict(folder, server)
        with enrolled(folder, server, way) as (one, cut, heal):
            put, names = write_to(server), way.partition(" ")[0]
            site = Site(one, put, folder, names=names, stale=REMOTE_STALE_SECONDS, pause=REMOTE_PAUSE_SECONDS)
            endure(site, cut, heal)
            until(lambda: one.status()["spool"]["waiting"] == 0, what="the delivery of records")
        return verdict(folder / "agent" / "audit")

    with (
        serving(tmp_path_factory.mktemp("server")) as server,
        at_once(work, ["hang", "reset", "stall", "answers vanish", "strict"]) as done,
    ):
        yield done


@pytest.mark.parametrize("mode", ["hang", "reset", "stall"])
def test_a_server_that_is_cut_off_is_endured(mode, servers):
    assert servers[mode].result().is_ok


def test_a_server_whose_answers_the_kernel_loses_is_endured(servers):
    assert servers["answers vanish"].result().is_ok


REVOKED = """
chain = ["remote"]
[agent]
strict = ["payments*"]
revoke_bound = 2
[lookup]
timeout_seconds = 1
"""
# A stream that says nothing for so long is a partition; then the bound begins to count.
SILENCE_SECONDS = 8


def test_in_a_partition_a_strict_entry_is_refused_within_its_bound_and_others_are_not(servers):
    servers["strict"].result()


def strict(folder, server):
    """Cut an agent off that holds what its settings call strict, what has the tag, and what is neither."""
    put = write_to(server)
    put("payments", "payments.0")
    put("cards", "cards.0", "strict")
    put("region", "region.0")
    with enrolled(folder, server, "hang", REVOKED, name="strict") as (one, cut, heal):
        client = one.client()
        for name in ("payments", "cards", "region"):
            assert client.variable(name) == f"{name}.0"
            assert bool(client.read("variable", name).flags & frames.STRICT) == (name != "region")
        cut()
        began = time.monotonic()
        for name in ("payments", "cards"):
            until(lambda name=name: is_unavailable(client, name), what="the strict entry to be refused")
        assert time.monotonic() - began < SILENCE_SECONDS + 2 + 2
        assert client.read("variable", "region").text == "region.0"
        heal()
        for name in ("payments", "cards"):
            until(lambda name=name: not is_unavailable(client, name), what="it", seconds=HEAL_SECONDS)
            assert client.variable(name) == f"{name}.0"
        client.close()


def is_unavailable(client, name):
    answer = client.read("variable", name)
    assert answer.outcome in (frames.FOUND, frames.UNAVAILABLE)
    return answer.outcome == frames.UNAVAILABLE
