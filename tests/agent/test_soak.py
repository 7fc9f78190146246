"""
A soak: everything at once for a while, with faults in between; memory and descriptors are flat afterwards.

`STRONGROOM_SOAK` says for how many seconds; twenty where it is unsaid, ten minutes in `make trials`.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest

from parts.agent import agent, until
from parts.openbao import bao
from parts.oracle import READER, History, uses_in, verdict
from parts.proxy import Proxy
from strongroom.errors import BackendUnavailableError

__all__ = ["bao"]

SECONDS = float(os.environ.get("STRONGROOM_SOAK", "20"))
NAMES = [f"v{number}" for number in range(20)]
STALENESS_SECONDS = 8  # a lifetime of one second, five of an outage, and what a busy machine adds
MODES = ("refuse", "hang", "mute", "reset", "drop", "half")
GROWTH_KB = 6 * 1024  # between the first third and the end; most of it is the allocator's
COLD = """
import strongroom
for number in range(20):
    try:
        assert strongroom.variable(f"v{number}").startswith(f"v{number}.")
    except strongroom.StrongroomError as error:
        assert error.code == "backend_unavailable", error.code
"""


class Soak:
    """What happens at once; `step` does one random thing of it."""

    def __init__(self, one, proxy, bao, mount, history):
        self.one = one
        self.proxy = proxy
        self.history = history
        self._put = lambda name, text: bao.put(mount, f"variables/{name}", {"value": text})
        self._numbers = dict.fromkeys(NAMES, -1)
        self._random = random.Random(6)
        self.faults = 0
        for name in NAMES:
            self.write(name)

    def write(self, name=None):
        name = name or self._random.choice(NAMES)
        self._numbers[name] += 1
        text = f"{name}.{self._numbers[name]}"
        with self.history.writing(name, text):
            self._put(name, text)

    def cold(self):
        self.one.python(COLD)

    def absent(self):
        client = self.one.client()
        with suppress(BackendUnavailableError):
            for _ in range(200):
                assert client.variable(f"absent-{self._random.random()}") is None
        client.close()

    def flush(self):
        self.one.admin({"do": "flush"})

    def reload(self):
        self.one.signal(signal.SIGHUP)

    def idle(self):
        opened = []
        for _ in range(100):
            one = socket.socket(socket.AF_UNIX)
            one.connect(str(self.one.socket))
            opened.append(one)
        opened[0].sendall(b"\xff" * 9)  # no frame of ours
        for one in opened:
            one.close()

    def fault(self):
        self.faults += 1
        self.proxy.become(self._random.choice(MODES))
        time.sleep(self._random.uniform(0.2, 1.5))  # the fault itself
        self.proxy.become("pass")

    def step(self):
        kinds = (
            self.write,
            self.write,
            self.write,
            self.cold,
            self.flush,
            self.reload,
            self.idle,
            self.fault,
        )
        self._random.choice(kinds)()


@pytest.fixture
def history():
    return History(staleness_seconds=STALENESS_SECONDS)


def settings(proxy, mount):
    return f"""
    chain = ["vault"]
    [cache]
    ttl = 1
    stale_if_error = 5
    absent_ttl = 1
    max_entries = 500
    [backend.vault]
    url = "{proxy.url()}"
    token = {{ env = "TOKEN" }}
    mount_point = "{mount}"
    timeout = 1
    """


def test_everything_at_once_leaves_memory_and_descriptors_flat(bao, history, tmp_path):
    mount = bao.mount()
    token = bao.token(bao.policy(f'path "{mount}/*" {{ capabilities = ["read"] }}'))
    with (
        Proxy("127.0.0.1", bao.port) as proxy,
        agent(tmp_path, settings(proxy, mount), environ={"TOKEN": token}, is_cold=True) as one,
    ):
        soak = Soak(one, proxy, bao, mount, history)
        soak.absent()  # what is remembered of absences is full from the beginning
        calm = one.descriptors()
        samples = []
        with reading(one, tmp_path) as logs:
            until(lambda: all(map(has_read, logs)), what="every reader to have read a value")
            ends = time.monotonic() + SECONDS
            while time.monotonic() < ends:
                soak.step()
                samples.append((time.monotonic(), one.memory_kb()))
        # Some for a connection upstream, and threads that a fault has made.
        until(lambda: one.descriptors() <= calm + 8, what="descriptors to be closed")
        assert one.is_running()
    judge(history, logs, one)
    third = [kb for at, kb in samples if at < samples[0][0] + SECONDS / 3]
    late = [kb for at, kb in samples if at > samples[0][0] + SECONDS * 2 / 3]
    print(
        f"{SECONDS:.0f} s, {len(samples)} steps, {soak.faults} faults, {len(history.given)} values;"
        f" memory {max(third) / 1024:.1f} MB in the first third, {max(late) / 1024:.1f} MB in the last"
    )
    assert max(late) - max(third) <= GROWTH_KB


@contextmanager
def reading(one, folder):
    """Run readers until the block ends; give the files of what they saw."""
    stop = folder / "stop"
    logs = [folder / f"reader{number}.log" for number in range(4)]
    processes = [
        subprocess.Popen([sys.executable, "-c", READER, str(log), str(stop), "0.01", *NAMES], env=one.environ)
        for log in logs
    ]
    try:
        yield logs
    finally:
        stop.touch()
        ended = [process.wait(30) for process in processes]
    assert ended == [0] * len(logs)


def has_read(log):
    """Tell whether a line of *log* holds a value."""
    return log.exists() and any(json.loads(line)[3] for line in log.read_text().splitlines()[:-1])


def judge(history, logs, one):
    for log in logs:
        history.load(log)
    assert history.given
    history.check_values()
    history.check_trouble({"backend_unavailable"})
    history.check_records(uses_in(one.audit), version_of=lambda number: str(number + 1))
    assert verdict(one.audit).is_ok
