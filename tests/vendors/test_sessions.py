"""One session a vendor and way in: shared by equals, closed with the last of its users."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from strongroom.settings import SecretSource
from strongroom.settings.source import Fetcher
from strongroom.vendors.sessions import Sessions, access_of


@dataclass(frozen=True, kw_only=True)
class Access:
    url: str = "a"
    token: object = None


@dataclass(frozen=True, kw_only=True)
class Options(Access):
    prefix: str = "p"


class Session:
    def __init__(self):
        self.closed = 0

    def close(self):
        self.closed += 1


def test_equal_access_shares_a_session_and_other_access_does_not():
    sessions = Sessions()
    users = [object() for _ in range(3)]
    first = sessions.get(Access(), Session, user=users[0])
    assert sessions.get(Access(), Session, user=users[1]) is first
    assert sessions.get(Access(url="b"), Session, user=users[2]) is not first
    assert sessions.get(Options(), Session, user=users[2]) is not first


def test_session_is_closed_once_with_the_last_of_its_users_however_often_they_close():
    sessions = Sessions()
    one, other = object(), object()
    session = sessions.get(Access(), Session, user=one)
    sessions.get(Access(), Session, user=other)
    sessions.release(one)
    sessions.release(one)
    assert session.closed == 0
    sessions.release(other)
    sessions.release(other)
    assert session.closed == 1
    assert sessions.get(Access(), Session, user=one) is not session


def test_options_that_differ_in_other_things_have_the_same_access():
    assert access_of(Options(prefix="x"), Access) == access_of(Options(prefix="y"), Access) == Access()


def test_secrets_that_come_from_the_same_place_are_the_same_access():
    environ = {"T": "s3cret"}

    def fetcher(name, key):
        return Fetcher(SecretSource(kind="env", argument=(name,), key=key), environ)

    assert Access(token=fetcher("T", "backend.a.token")) == Access(token=fetcher("T", "backend.b.token"))
    assert fetcher("T", "x") != fetcher("U", "x")
    assert fetcher("T", "x") != Fetcher(SecretSource(kind="env", argument=("T",), key="x"), {"T": "other"})
    written = Fetcher(SecretSource(kind="text", argument=("s3cret",), key="x"), environ)
    assert "s3cret" not in repr(written)
    assert (written().reveal(), fetcher("T", "x")().reveal()) == ("s3cret", "s3cret")


def test_threads_that_come_together_make_one():
    sessions, made = Sessions(), []
    gate = threading.Barrier(8)

    def make():
        made.append(Session())
        return made[-1]

    def ask(_):
        gate.wait()
        return sessions.get(Access(), make, user=object())

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8))) == set(made)
    assert len(made) == 1
