"""What Vault lends to who follows it: in his own process, and through an agent; against a real OpenBao."""

import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta

import pytest

from parts.agent import agent, until
from parts.openbao_kv import Lending
from parts.proxy import Proxy
from strongroom.assembly import open_room
from strongroom.model.connection import Connection
from strongroom.model.ref import Ref

ORDERS = Ref("connection", "orders_db")
SETTINGS = """
chain = ["vault"]
[backend.vault]
url = "{url}"
token = {{ file = "{token}" }}
mount_point = "{mount}"
dynamic = {{ "orders_db" = "{path}" }}
"""
# Says the login and password it has, and each that it is called with; ends when its stdin does.
FOLLOWER = """
import strongroom, sys
from strongroom.model.connection import Connection
def told(entry):
    found = Connection.parse(entry.secret.reveal())
    print(found.login, found.password.reveal(), flush=True)
with strongroom.follow("orders_db", told) as follow:
    told(follow.current)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def lending(bao):
    return Lending(bao)


@pytest.fixture
def proxy(bao):
    with Proxy("127.0.0.1", bao.port) as proxy:
        yield proxy


@pytest.fixture
def said(bao, lending, proxy, tmp_path):
    """Give settings for a connection whose login comes from a role of so many seconds."""

    def settings(**role):
        mount, token = bao.mount(), tmp_path / "token"
        bao.put(mount, "connections/orders_db", {"conn_type": "postgres", "host": "db.example"})
        token.touch(mode=0o600)
        token.write_text(bao.root)
        return SETTINGS.format(url=proxy.url(), token=token, mount=mount, path=lending.role(**role))

    return settings


def login_of(entry):
    found = Connection.parse(entry.secret.reveal())
    return found.login, found.password.reveal()


def count(proxy, what):
    return sum(what in line for line in proxy.lines)


def test_lease_of_who_follows_is_renewed_then_replaced_and_revoked_at_close(lending, proxy, said, tmp_path):
    (tmp_path / "settings.toml").write_text(said(default_ttl="2s", max_ttl="5s"))
    changes = []
    with (
        open_room(tmp_path / "settings.toml", environ={"HOME": str(tmp_path)}) as room,
        room.lookup.follow(ORDERS, changes.append, interval=timedelta(seconds=0.1)) as follow,
    ):
        first = login_of(follow.current)
        until(lambda: count(proxy, "leases/renew") >= 2, what="two renewals")
        assert changes == []  # one lease, past its first life
        assert lending.can_log_in(*first)
        until(lambda: changes, what="another login")
        second = login_of(changes[0])
        assert second != first
        assert lending.can_log_in(*second)
        assert follow.trouble is None
        assert second[0] in lending.logins()
    assert not {first[0], second[0]} & lending.logins()


def test_process_that_closes_nothing_revokes_its_lease_when_it_ends(lending, said, tmp_path):
    (tmp_path / "settings.toml").write_text(said(default_ttl="1h"))
    done = subprocess.run(
        [sys.executable, "-c", 'import strongroom; print(strongroom.connection("orders_db").login)'],
        env={"HOME": str(tmp_path), "STRONGROOM_CONFIG": str(tmp_path / "settings.toml")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.startswith("v-")
    assert done.stdout.strip() not in lending.logins()


@contextmanager
def follower(one):
    """Run `FOLLOWER` as a process that asks the agent, and give what reads its lines."""
    running = subprocess.Popen(
        [sys.executable, "-c", FOLLOWER],
        env=one.environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=one.home,
    )
    try:
        yield lambda: tuple(running.stdout.readline().split())
    finally:
        running.stdin.close()
        running.wait(20)
        running.stdout.close()


@pytest.mark.skipif(sys.version_info < (3, 11), reason="an agent needs strongroom[agent], Python 3.11")
def test_agent_keeps_one_lease_for_all_who_follow_and_revokes_it_at_its_end(lending, proxy, said, tmp_path):
    tmp_path.chmod(0o700)
    with agent(tmp_path, said(default_ttl="18s", max_ttl="25s")) as one:
        with follower(one) as ada, follower(one) as bob:
            first = ada()
            assert bob() == first
            assert lending.can_log_in(*first)
            assert count(proxy, "/creds/") == 1
            second = ada()  # renewed until it could not be any more
            assert bob() == second
            assert second != first
            assert lending.can_log_in(*second)
            assert count(proxy, "leases/renew") >= 1
            assert count(proxy, "/creds/") == 2
        one.stop()
        assert not {first[0], second[0]} & lending.logins()
