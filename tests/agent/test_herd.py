"""
A herd: many cold processes ask for the same names at once, and the store is asked once for each name.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from parts.agent import agent, until
from parts.herd import herd
from parts.openbao import bao
from parts.proxy import Proxy
from strongroom.errors import BackendUnavailableError

__all__ = ["bao"]

PROCESSES = 200
NAMES = [f"v{number}" for number in range(50)]


class Upstream:
    """A real OpenBao behind a proxy that counts what it is asked."""

    def __init__(self, bao, proxy):
        self.bao = bao
        self.proxy = proxy
        self.mount = bao.mount()
        for name in NAMES:
            bao.put(self.mount, f"variables/{name}", {"value": f"of {name}"})
        self.token = bao.token(bao.policy(f'path "{self.mount}/*" {{ capabilities = ["read"] }}'))

    def settings(self, more=""):
        return f"""
        chain = ["vault"]
        {more}
        [backend.vault]
        url = "{self.proxy.url()}"
        token = {{ env = "TOKEN" }}
        mount_point = "{self.mount}"
        """

    def reads(self):
        """Give the paths of names it was asked for, in order."""
        return [line for line in self.proxy.lines if f"/v1/{self.mount}/data/variables/" in line]


@pytest.fixture
def upstream(bao):
    with Proxy("127.0.0.1", bao.port) as proxy:
        yield Upstream(bao, proxy)


@pytest.fixture
def one(upstream, tmp_path):
    with agent(tmp_path, upstream.settings(), environ={"TOKEN": upstream.token}) as running:
        yield running


def quantile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def test_cold_processes_ask_the_store_once_for_each_name(one, upstream):
    with herd(one.environ, PROCESSES, NAMES, expected="of ") as processes:
        found = processes.release()
    reads = upstream.reads()
    assert len(reads) == len(set(reads)) == len(NAMES)
    last = [seconds for _, seconds in found]
    print(
        f"{PROCESSES} processes x {len(NAMES)} names: {len(reads)} upstream calls; from the gate to the"
        f" last of 50 values p50 {quantile(last, 0.5):.2f} s, p99 {quantile(last, 0.99):.2f} s"
    )


def test_names_that_are_nowhere_are_asked_for_once_too(one, upstream):
    program = """
import sys, strongroom
print([strongroom.variable(name, default="none") for name in sys.argv[1:]] == ["none"] * len(sys.argv[1:]))
"""
    absent = [f"absent{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: one.python(program, *absent), range(24)))
    assert set(found) == {"True"}
    reads = upstream.reads()
    assert len(reads) == len(set(reads)) == len(absent)


def test_a_herd_that_meets_an_outage_asks_no_more_than_the_circuit_lets_it(one, upstream):
    upstream.proxy.answer(503, body=b'{"errors":["sealed"]}')
    client = one.client()
    with pytest.raises(BackendUnavailableError):
        client.variable(NAMES[0])
    client.close()
    program = """
import sys, strongroom
told = set()
for name in sys.argv[1:]:
    try:
        told.add(strongroom.variable(name))
    except strongroom.StrongroomError as error:
        told.add(error.code)
print(*told)
"""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: one.python(program, *NAMES), range(24)))
    assert set(found) == {"backend_unavailable"}
    # 1,200 reads; a few tries open the circuit, and then it lets one through now and then.
    assert len(upstream.reads()) < 60
    upstream.proxy.become("pass")
    until(lambda: is_answered(one), what="the circuit to close", seconds=15)
    with herd(one.environ, 8, NAMES, expected="of ") as processes:
        processes.release()


def is_answered(one):
    client = one.client()
    try:
        client.variable(NAMES[0])
    except BackendUnavailableError:
        return False
    finally:
        client.close()
    return True
