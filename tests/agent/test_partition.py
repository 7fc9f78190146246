"""
The store or the server cut off from the agent: packets vanish, in one direction or in both, connections are
reset, or answers come too late. What is held goes on being served inside its bound and no longer, trouble is
told as trouble, and all is well again by itself soon after the cut heals.
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
from strongroom.caller import frames
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

__all__ = ["bao"]

NAMES = ["v0", "v1", "v2"]
TTL_SECONDS = 1
STALE_SECONDS = 2
HEAL_SECONDS = 10
# Beside it what may be served is older by a lifetime with its jitter, by the wait for a store that says
# nothing, and by what a busy machine adds.
MORE_SECONDS = TTL_SECONDS * 1.1 + 1 + 1.5
# A change that is heard of drops what is held: a name that changes all the time has nothing to serve.
REMOTE_STALE_SECONDS, REMOTE_PAUSE_SECONDS = 4, 0.5


class Site:
    """One agent in front of one store that can be cut off, readers, and what they saw."""

    def __init__(self, one, put, folder, *, stale=STALE_SECONDS, pause=0.1):
        self.one = one
        self.folder = folder
        self.history = History(staleness_seconds=stale + MORE_SECONDS)
        self._put = put
        self._pause = pause
        self._numbers = dict.fromkeys(NAMES, -1)
        self._ended = threading.Event()
        for name in NAMES:
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
                self.write(NAMES[count % len(NAMES)])
                count += 1

        writer = threading.Thread(target=write)
        stop = self.folder / "stop"
        self.logs = [self.folder / f"reader{number}.log" for number in range(2)]
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", READER, str(log), str(stop), "0.02", *NAMES], env=self.one.environ
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
            return seen == set(NAMES)

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


def ready(bao):
    mount = bao.mount()
    return mount, bao.token(bao.policy(f'path "{mount}/*" {{ capabilities = ["read"] }}'))


# --- the store, behind a proxy ---------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["reset", "stall"])
def test_a_store_that_is_cut_off_is_endured(mode, bao, tmp_path):
    mount, token = ready(bao)
    with (
        Proxy("127.0.0.1", bao.port, stall_seconds=5) as proxy,
        agent(tmp_path, settings(proxy.url(), mount), environ={"TOKEN": token}) as one,
    ):
        site = Site(one, lambda name, text: bao.put(mount, f"variables/{name}", {"value": text}), tmp_path)
        endure(site, lambda: proxy.become(mode), lambda: proxy.become("pass"))


# --- the store, in a network where the kernel loses packets ----------------------------------------------


CUTS = {
    "requests vanish": lambda network, port: network.drop(to=port),
    "answers vanish": lambda network, port: network.drop(of=port),
}


@pytest.mark.parametrize("cut", CUTS)
def test_a_store_whose_packets_the_kernel_loses_is_endured(cut, bao, tmp_path):
    mount, token = ready(bao)
    with (
        namespace() as network,
        Proxy("127.0.0.1", bao.port, make_socket=network.socket) as proxy,
        agent(tmp_path, settings(proxy.url(), mount), environ={"TOKEN": token}, prefix=network.prefix) as one,
    ):
        site = Site(one, lambda name, text: bao.put(mount, f"variables/{name}", {"value": text}), tmp_path)
        endure(site, lambda: CUTS[cut](network, proxy.port), network.heal)


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
def enrolled(folder, settings=ENROLLED, *, network=None):
    """Run a server, a proxy in front of it and an agent that is enrolled through that."""
    (folder / "server").mkdir()
    (folder / "host").mkdir()
    made = {} if network is None else {"make_socket": network.socket}
    with (
        serving(folder / "server") as server,
        Proxy("127.0.0.1", server.port, **made) as proxy,
        agent(
            folder / "host", settings, start=False, prefix=() if network is None else network.prefix
        ) as one,
    ):
        one.enrol(server)
        one.configure(f"""{settings}
            [agent.server]
            url = "{proxy.url()}"
            [backend.remote]
            url = "{proxy.url()}"
        """)
        one.start()
        yield server, proxy, one


@pytest.mark.parametrize("mode", ["hang", "reset", "stall"])
def test_a_server_that_is_cut_off_is_endured(mode, tmp_path):
    with enrolled(tmp_path) as (server, proxy, one):
        site = Site(one, write_to(server), tmp_path, stale=REMOTE_STALE_SECONDS, pause=REMOTE_PAUSE_SECONDS)
        endure(site, lambda: proxy.become(mode), lambda: proxy.become("pass"))


def test_a_server_whose_answers_the_kernel_loses_is_endured(tmp_path):
    with namespace() as network, enrolled(tmp_path, network=network) as (server, proxy, one):
        site = Site(one, write_to(server), tmp_path, stale=REMOTE_STALE_SECONDS, pause=REMOTE_PAUSE_SECONDS)
        endure(site, lambda: network.drop(of=proxy.port), network.heal)
        until(lambda: one.status()["spool"]["waiting"] == 0, what="the delivery of records")
    assert verdict(tmp_path / "host" / "agent" / "audit").is_ok


REVOKED = """
chain = ["remote"]
[agent]
{more}
revoke_bound = 2
[lookup]
timeout_seconds = 1
"""
# A stream that says nothing for so long is a partition; then the bound begins to count.
SILENCE_SECONDS = 8


@pytest.mark.parametrize(("more", "tags"), [('strict = ["payments*"]', ()), ("", ("strict",))])
def test_in_a_partition_a_strict_entry_is_refused_within_its_bound_and_others_are_not(tmp_path, more, tags):
    with enrolled(tmp_path, REVOKED.format(more=more)) as (server, proxy, one):
        put = write_to(server)
        put("payments", "payments.0", *tags)
        put("region", "region.0")
        client = one.client()
        assert (client.variable("payments"), client.variable("region")) == ("payments.0", "region.0")
        assert client.read("variable", "payments").flags & frames.STRICT
        proxy.become("hang")
        cut = time.monotonic()
        until(lambda: is_unavailable(client, "payments"), what="the strict entry to be refused")
        assert time.monotonic() - cut < SILENCE_SECONDS + 2 + 2
        answer = client.read("variable", "region")
        assert answer.text == "region.0"
        proxy.become("pass")
        until(lambda: not is_unavailable(client, "payments"), what="the server", seconds=HEAL_SECONDS)
        assert client.variable("payments") == "payments.0"
        client.close()


def is_unavailable(client, name):
    answer = client.read("variable", name)
    assert answer.outcome in (frames.FOUND, frames.UNAVAILABLE)
    return answer.outcome == frames.UNAVAILABLE
