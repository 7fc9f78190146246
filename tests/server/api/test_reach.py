"""Testing whether a host can be reached: which addresses may be asked at all."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from parts.api import SETTINGS, asking
from strongroom.server import reach
from strongroom.server.reach import _asked, _plain, _target, is_listed

EVIL = [
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
]


@pytest.mark.parametrize("text", EVIL)
def test_SS01_a_listed_name_that_leads_to_a_special_address_is_not_asked(text):
    address = _plain(ipaddress.ip_address(text))
    assert not is_listed("db.example.com", address, ["db.example.com"])


def test_SS01_an_address_that_no_network_lists_is_not_asked():
    assert not is_listed("db", ipaddress.ip_address("10.0.0.7"), ["192.168.0.0/16", "other.example.com"])
    assert not is_listed("db", ipaddress.ip_address("10.0.0.7"), [])


def test_an_address_of_a_listed_network_may_be_asked():
    assert is_listed("db", ipaddress.ip_address("10.0.0.7"), ["10.0.0.0/8"])
    assert is_listed("x", ipaddress.ip_address("127.0.0.1"), ["127.0.0.0/8"])


def test_a_listed_name_may_lead_to_a_private_address():
    assert is_listed("DB.example.com.", ipaddress.ip_address("10.0.0.7"), ["db.example.com"])


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "localhost", "[::1]"]
)
def test_SS01_other_spellings_of_loopback_are_not_asked(host):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        assert not _asked(host, server.getsockname()[1], [host, "10.0.0.0/8"])
        with pytest.raises(TimeoutError):
            server.accept()


def test_SS01_the_address_that_was_looked_at_is_the_one_connected_to():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)
        assert _asked("localhost", server.getsockname()[1], ["127.0.0.0/8", "::1/128"])
        server.accept()[0].close()


@pytest.mark.parametrize(
    "host",
    [
        "file:///etc/passwd",
        "gopher://x",
        "/var/run/x.sock",
        "a,b",
        "user@host",
        "h;x=1",
        "h?x",
        "fe80::1%lo",
        "",
        "a b",
    ],
)
def test_SS03_what_is_no_host_is_not_asked(host):
    assert _target(SimpleNamespace(host=host, port=5432, conn_type="postgres")) is None


def test_SS05_nothing_of_a_connection_but_host_and_port_is_used():
    connection = SimpleNamespace(host="db", port=None, conn_type="postgres")
    assert _target(connection) == ("db", 5432)  # any other attribute would raise


def test_a_type_without_a_port_has_nothing_to_ask():
    assert _target(SimpleNamespace(host="db", port=None, conn_type="nobody-knows")) is None
    assert _target(SimpleNamespace(host="db", port=70_000, conn_type="postgres")) is None


def test_SS04_one_actor_has_five_tests_a_minute():
    allowance = reach._Allowance()
    for _ in range(5):
        allowance.take(("prod", "person:anna"))
    with pytest.raises(reach.RateLimitedError):
        allowance.take(("prod", "person:anna"))
    allowance.take(("prod", "person:otto"))


@pytest.fixture(scope="module")
def reaching(tmp_path_factory):
    """A server whose settings let people test hosts of loopback."""
    switched_on = '[server]\ntest_connections = true\ntest_networks = ["127.0.0.0/8"]\n\n[server.limits]'
    with asking(tmp_path_factory.mktemp("reach"), SETTINGS.replace("[server.limits]", switched_on)) as api:
        yield api


def test_SS04_a_test_says_one_of_two_things_and_no_more(reaching):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        reaching.put("connection", "near", {"value": f"postgres://u:s3cret@127.0.0.1:{port}/db"})
        answer = reaching.ask("POST", "/test/connection/near")
    assert answer.json() == {"status": "reachable", "message": "the host answers"}
    told = set()
    for name, host in (("closed", f"127.0.0.1:{port}"), ("unlisted", "169.254.169.254:80")):
        reaching.put("connection", name, {"value": f"postgres://{host}/db"})
        told.add(reaching.ask("POST", f"/test/connection/{name}").body)
    assert len(told) == 1
    assert b'"not_reachable"' in told.pop()


def test_only_what_may_be_tested_is(reaching):
    reaching.put("connection", "denied", {"value": "postgres://127.0.0.1:1/db"})
    assert reaching.ask("POST", "/test/connection/denied", role="viewer").status == 403
    assert reaching.ask("POST", "/test/variable/denied").status == 400
    assert reaching.ask("POST", "/test/connection/nowhere").status == 404


def test_SS04_few_tests_run_at_once(reaching):
    with ExitStack() as held:
        for _ in range(reach._AT_ONCE):
            held.enter_context(reach._one_turn())
        answer = reaching.ask("POST", "/test/connection/denied")
    assert (answer.status, answer.code) == (429, "rate_limited")
