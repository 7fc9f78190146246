"""
A wall clock that jumps by an hour or by years under a running agent: lifetimes go on by the boot clock, no
value becomes old or immortal by it, the record stays whole, and nothing is refused that was allowed.
"""

from __future__ import annotations

from contextlib import closing, contextmanager

import pytest

from parts.agent import agent, until
from parts.clock import JUMPS, Wall
from parts.openbao import bao
from parts.oracle import records_in, verdict
from parts.proxy import Proxy
from parts.together import at_once
from strongroom.errors import BackendUnavailableError

__all__ = ["bao"]


class Upstream:
    """A variable in a real OpenBao, behind a proxy that counts."""

    def __init__(self, bao, proxy):
        self.bao = bao
        self.proxy = proxy
        self.mount = bao.mount()
        self.token = bao.token(bao.policy(f'path "{self.mount}/*" {{ capabilities = ["read"] }}'))

    def put(self, text):
        self.bao.put(self.mount, "variables/region", {"value": text})

    def settings(self, **cache):
        kept = "\n".join(f"{key} = {value}" for key, value in cache.items())
        return f"""
        chain = ["vault"]
        [cache]
        {kept}
        [backend.vault]
        url = "{self.proxy.url()}"
        token = {{ env = "TOKEN" }}
        mount_point = "{self.mount}"
        """

    @property
    def asked(self):
        return len([line for line in self.proxy.lines if line.endswith("/variables/region")])


@contextmanager
def upstream_of(bao):
    with Proxy("127.0.0.1", bao.port) as proxy:
        yield Upstream(bao, proxy)


@pytest.fixture
def upstream(bao):
    with upstream_of(bao) as found:
        yield found


@contextmanager
def started(upstream, folder, **cache):
    """Start an agent under a wall clock of its own; give it, a client and the clock."""
    wall = Wall(folder)
    environ = {"TOKEN": upstream.token} | wall.environ
    with agent(folder, upstream.settings(**cache), environ=environ) as one, closing(one.client()) as client:
        yield one, client, wall


def read(client):
    return client.read("variable", "region")


def test_a_value_is_as_old_as_it_is_whatever_the_wall_clock_says(upstream, tmp_path):
    upstream.put("eu")
    with started(upstream, tmp_path, ttl=600) as (_, client, wall):
        assert read(client).text == "eu"
        asked = upstream.asked
        for offset in (*JUMPS, "+0"):
            wall.jump(offset)
            answer = read(client)
            assert answer.text == "eu"
            assert answer.age_ms is not None
            assert 0 <= answer.age_ms < 60_000
            assert 0 < answer.ttl_ms <= 660_000
        assert upstream.asked == asked


@pytest.fixture(scope="module")
def lived(bao, tmp_path_factory):
    """A value under every jump, at once."""

    def live(offset):
        with (
            upstream_of(bao) as upstream,
            started(upstream, tmp_path_factory.mktemp("jump"), ttl=1, stale_if_error=1) as started_,
        ):
            see_the_end_of_a_value(offset, upstream, *started_[1:])

    # One is looked at before there are several: without the library all of it is skipped.
    Wall(tmp_path_factory.mktemp("wall"))
    with at_once(live, JUMPS) as done:
        yield done


@pytest.mark.parametrize("offset", JUMPS)
def test_no_value_becomes_immortal(offset, lived):
    lived[offset].result()


def see_the_end_of_a_value(offset, upstream, client, wall):
    upstream.put("old")
    assert read(client).text == "old"
    wall.jump(offset)
    upstream.put("new")
    until(lambda: read(client).text == "new", what="the new value", seconds=20)
    upstream.proxy.become("refuse")

    def is_over():
        try:
            client.variable("region")
        except BackendUnavailableError:
            return True
        return False

    until(is_over, what="the bound of stale values", seconds=20)
    upstream.proxy.become("pass")
    until(lambda: not is_over(), what="the store to answer again", seconds=20)


@pytest.mark.parametrize("offset", ["+10y", "-10y"])
def test_a_jump_neither_breaks_the_record_nor_stops_it(offset, upstream, tmp_path):
    upstream.put("eu")
    with started(upstream, tmp_path, ttl=600) as (one, client, wall):
        assert read(client).text == "eu"
        wall.jump(offset)
        program = "import strongroom; print(strongroom.variable('region'))"
        assert one.python(program) == "eu"
        client.claim(("after", None, None, None, None, None))
        assert read(client).text == "eu"
        assert one.is_running()
        until(lambda: "after" in runs_in(one.audit), what="the record of the use after the jump")
        assert verdict(one.audit).is_ok


def runs_in(folder):
    return {(record.run or {}).get("dag_id") for record in records_in(folder)}
