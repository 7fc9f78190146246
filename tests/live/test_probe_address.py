"""Which addresses a test may ask, and that every library of its process is led to those and to no other."""

from __future__ import annotations

import ipaddress
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from parts.trying import LOOPBACK, made, steps, tried
from strongroom.live import probe
from strongroom.live.probing import address
from strongroom.live.probing.address import Pins, is_host, is_listed, plain
from strongroom.live.probing.failed import FailedError

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
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
]
ELSEWHERE = ("10.0.0.0/8", "db.example.com")
REFUSED = [probe.Step("address", "failed", "forbidden", 0.0)]


@pytest.fixture
def at_once(monkeypatch):
    """Refusals that are given as soon as they are known."""
    monkeypatch.setattr(address, "REFUSAL_SECONDS", 0.0)


@pytest.mark.parametrize("text", EVIL)
def test_SS01_a_listed_name_that_leads_to_a_special_address_is_not_asked(text):
    assert not is_listed("db.example.com", plain(ipaddress.ip_address(text)), ["db.example.com"])


def test_SS01_an_address_that_no_network_lists_is_not_asked():
    assert not is_listed("db", ipaddress.ip_address("10.0.0.7"), ["192.168.0.0/16", "other.example.com"])
    assert not is_listed("db", ipaddress.ip_address("10.0.0.7"), [])


def test_an_address_of_a_listed_network_may_be_asked():
    assert is_listed("db", ipaddress.ip_address("10.0.0.7"), ["10.0.0.0/8"])
    assert is_listed("x", ipaddress.ip_address("127.0.0.1"), ["127.0.0.0/8"])


def test_a_listed_name_may_lead_to_a_private_address():
    assert is_listed("DB.example.com.", ipaddress.ip_address("10.0.0.7"), ["db.example.com"])


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "0", "127.1", "[::1]"])
def test_SS01_other_spellings_of_loopback_are_not_asked(host):
    pins = Pins([host, *ELSEWHERE])
    with pytest.raises(FailedError) as refused:
        pins.pin(host)
    assert (refused.value.step, refused.value.reason) == ("address", "forbidden")


@pytest.mark.parametrize(
    "host",
    [
        "file:///etc/passwd",
        "gopher://x",
        "ldap://x",
        "jdbc:mysql://x",
        "/var/run/x.sock",
        "@abstract",
        "a,b",
        "user@host",
        "h;x=1",
        "h?x",
        "host=evil",
        "fe80::1%lo",
        "",
        "a b",
        "a\0b",
        "x" * 254,
    ],
)
def test_SS03_what_is_no_host_is_not_asked(host):
    assert not is_host(host)


def looked(*texts):
    """A resolver that gives each time the next address."""
    waiting = list(texts)

    def look(_host, port, **_more):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (waiting.pop(0), port))]

    return look


def pins_of(look, listed):
    pins = Pins(listed)
    pins._look = look
    return pins


def test_SS01_a_name_is_looked_up_once_and_leads_nowhere_else_afterwards():
    pins = pins_of(looked("10.0.0.7", "169.254.169.254"), ELSEWHERE)
    assert [pins.pin("db.example.com"), pins.pin("DB.example.com.")] == [("10.0.0.7",)] * 2
    assert pins.has("10.0.0.7")
    assert not pins.has("169.254.169.254")


@pytest.mark.usefixtures("at_once")
def test_SS01_a_name_of_which_one_address_is_not_listed_is_not_asked():
    def look(_host, port, **_more):
        return [(2, 1, 6, "", (text, port)) for text in ("10.0.0.7", "169.254.169.254")]

    with pytest.raises(FailedError):
        pins_of(look, ELSEWHERE).pin("db.example.com")


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    ("said", "listed", "is_asked"),
    [
        ("::ffff:10.0.0.7", ["10.0.0.0/8"], True),
        ("64:ff9b::a00:7", ["10.0.0.0/8"], True),
        ("::ffff:10.0.0.7", ["fd00::/8"], False),
        ("64:ff9b::a9fe:a9fe", ["64:ff9b::/96", "10.0.0.0/8"], False),
    ],
)
def test_SS01_an_address_that_leads_to_another_is_judged_by_that_and_asked_as_it_is(said, listed, is_asked):
    pins = pins_of(looked(said), listed)
    if is_asked:
        pins.pin("db")
        assert pins.has(said)
    else:
        with pytest.raises(FailedError):
            pins.pin("db")


def test_SS01_a_name_that_a_library_would_look_up_past_us_is_no_address():
    pins = pins_of(looked("10.0.0.7"), ELSEWHERE)
    pins.pin("db.example.com")
    assert not pins.has("db.example.com")


@pytest.fixture
def led(monkeypatch):
    """A process whose libraries are led by pins of loopback."""
    monkeypatch.setattr(socket, "getaddrinfo", socket.getaddrinfo)
    ended = []

    def refuse():
        ended.append(True)
        raise SystemExit

    pins = pins_of(looked("127.0.0.1", "10.0.0.9"), ["127.0.0.0/8"])
    real = socket.getaddrinfo
    pins._look = lambda host, port, *more, **named: (
        real(host, port, *more, **named) if host[0].isdigit() else looked("127.0.0.1")(host, port)
    )
    pins.lead(refuse)
    return ended


def test_SS01_whatever_library_looks_a_name_up_finds_the_address_that_was_looked_at(led):
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("db.example.com", server.getsockname()[1]), 5).close()
        server.accept()[0].close()
    assert not led


@pytest.mark.usefixtures("at_once")
def test_SS01_a_library_that_looks_for_another_host_ends_the_test(led):
    with pytest.raises(SystemExit):
        socket.create_connection(("10.0.0.9", 80), 5)
    assert led == [True]


def test_SS04_whatever_keeps_an_address_from_being_asked_the_answer_is_one():
    limits = probe.Limits(networks=ELSEWHERE, has_any_option=False)
    hosts = ("nowhere.invalid", "169.254.169.254", "/run/postgresql")
    with ThreadPoolExecutor(len(hosts)) as pool:  # each waits its time in a process of its own
        found = pool.map(lambda host: tried(made("mongo", host=host, port=80), limits), hosts)
        assert [list(one.steps) for one in found] == [REFUSED] * len(hosts)


def test_SS04_an_address_is_refused_after_the_same_time_whatever_the_reason(monkeypatch):
    slept = []
    monkeypatch.setattr(address.time, "sleep", slept.append)
    monkeypatch.setattr(address.time, "monotonic", lambda: 100.0)
    for host in ("nowhere.invalid", "10.0.0.256", "127.0.0.1", "a,b"):
        with pytest.raises(FailedError):
            Pins(ELSEWHERE).pin(host)
    assert slept == [address.REFUSAL_SECONDS] * 4


def test_SS04_a_resolver_that_does_not_answer_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(address, "_PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(address, "REFUSAL_SECONDS", 0.1)
    done = []

    def look(*_arguments, **_more):
        while not done:
            time.sleep(0.01)
        return []

    with pytest.raises(FailedError):
        pins_of(look, ELSEWHERE).pin("db.example.com")
    done.append(True)


def test_what_is_listed_is_asked():
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = tried(made("mongo", host="localhost", port=server.getsockname()[1]), LOOPBACK)
    assert steps(found) == ["name: ok", "tcp: ok"]
