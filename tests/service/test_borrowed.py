"""Who in a process has what is lent, and when it is given back: without a server, step by step."""

from __future__ import annotations

import logging
import os
import threading
from datetime import datetime, timezone

import pytest

from strongroom.backend import Backend
from strongroom.cache import Cache
from strongroom.errors import AccessDeniedError, BackendUnavailableError
from strongroom.model.entry import Entry, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.borrowed import Borrowed
from strongroom.service.lookup import Lookup

REF = Ref("connection", "orders_db")


class Lender:
    """Stands for a chain: it lends one thing after another, and is told to withdraw and to revoke."""

    def __init__(self):
        self.number = 1
        self.revoked = []
        self.dropped = []
        self.meanwhile = lambda: None
        self.troubles = []

    def withdraw(self, ref):
        if self.troubles and isinstance(self.troubles[0], BackendUnavailableError):
            raise self.troubles.pop(0)
        lent, self.number = self.number, self.number + 1
        self.meanwhile()

        def revoke():
            if self.troubles:
                return self.troubles.pop(0)
            self.revoked.append((ref, lent))
            return None

        return revoke

    def drop(self, ref):
        self.dropped.append(ref)


@pytest.fixture
def lender():
    return Lender()


@pytest.fixture
def borrowed(lender):
    return Borrowed(lender.withdraw, lender.drop, pauses=(0.01, 0.01))


def test_it_is_given_back_when_the_last_of_those_who_follow_leaves(borrowed, lender):
    for token in (1, 2):
        borrowed.follow(REF, token)
        borrowed.lent(REF)
    borrowed.leave(REF, 1)
    borrowed.leave(REF, 1)
    assert lender.revoked == []
    borrowed.leave(REF, 2)
    assert lender.revoked == [(REF, 1)]
    assert lender.dropped == [REF]


def test_nothing_is_given_back_of_what_is_not_lent_or_somebody_has_for_good(borrowed, lender):
    borrowed.follow(REF, 1)
    borrowed.leave(REF, 1)
    borrowed.keep(REF)
    borrowed.follow(REF, 2)
    borrowed.lent(REF)
    borrowed.leave(REF, 2)
    assert lender.revoked == []
    assert lender.number == 1


def test_what_is_had_by_the_name_of_a_team_keeps_what_stands_behind_it(borrowed, lender):
    borrowed.follow(REF, 1)
    borrowed.lent(REF)
    borrowed.keep(Ref("connection", "orders_db", "pay"))
    borrowed.leave(REF, 1)
    assert lender.revoked == []


@pytest.mark.parametrize("comes", ["follow", "keep"])
def test_who_comes_while_it_is_given_back_keeps_it(comes, borrowed, lender):
    borrowed.follow(REF, 1)
    borrowed.lent(REF)
    late = {"follow": lambda: borrowed.follow(REF, 2), "keep": lambda: borrowed.keep(REF)}[comes]
    lender.meanwhile = late
    borrowed.leave(REF, 1)
    assert lender.revoked == []
    lender.meanwhile = lambda: None
    borrowed.leave(REF, 2)  # and what he left is given back with what he was lent himself
    assert lender.revoked == ([(REF, 2)] if comes == "follow" else [])


def wait_for(is_so):
    for _ in range(1000):
        if is_so():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not come")


def test_what_could_not_be_revoked_is_tried_again(borrowed, lender):
    lender.troubles = [AccessDeniedError("no", reason="r")] * 2
    borrowed.follow(REF, 1)
    borrowed.lent(REF)
    borrowed.leave(REF, 1)
    wait_for(lambda: lender.revoked == [(REF, 1)])


def test_what_is_just_being_renewed_is_tried_again(borrowed, lender):
    lender.troubles = [BackendUnavailableError("busy", backend="vault")]
    borrowed.follow(REF, 1)
    borrowed.lent(REF)
    borrowed.leave(REF, 1)
    assert lender.revoked == []
    wait_for(lambda: lender.revoked == [(REF, 1)])


def test_what_cannot_be_revoked_is_told_once_with_what_to_do(borrowed, lender):
    told, messages = threading.Event(), []

    class Heard(logging.Handler):
        def emit(self, record):
            messages.append(record.getMessage())
            told.set()

    log, heard = logging.getLogger("strongroom.lending"), Heard()
    log.addHandler(heard)
    lender.troubles = [AccessDeniedError("no", reason="r", hint="add the policy")] * 3
    try:
        borrowed.follow(REF, 1)
        borrowed.lent(REF)
        borrowed.leave(REF, 1)
        assert told.wait(10)
    finally:
        log.removeHandler(heard)
    (message,) = messages
    assert "access_denied" in message
    assert "add the policy" in message
    assert lender.revoked == []


def test_a_forked_child_gives_back_nothing_of_its_parents_and_remembers_nothing_of_it(borrowed, lender):
    borrowed.follow(REF, 1)
    borrowed.lent(REF)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        borrowed.leave(REF, 1)
        os.write(write, repr((lender.revoked, lender.dropped == [REF])).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    told = os.read(read, 100).decode()
    os.close(read)
    assert told == "([], True)"
    borrowed.leave(REF, 1)
    assert lender.revoked == [(REF, 1)]


# --- as a lookup has it --------------------------------------------------------------------------------


class Shelf(Backend):
    """A chain of one lent connection, and of a variable that refers to it."""

    name = "shelf"
    is_local = True

    def __init__(self, lender):
        self.lender = lender
        self.withdraw = lender.withdraw

    def read(self, ref):
        now = datetime.now(timezone.utc)
        if ref.kind == "variable":
            text, refers = "as ${connection.login/orders_db}", True
        else:
            text, refers = f"postgres://v-{self.lender.number}:pw@db/orders", False
        return Entry(
            ref=ref,
            secret=Secret(text),
            backend="shelf",
            read_at=now,
            version=str(self.lender.number),
            metadata=Metadata(references=refers),
            is_lent=not refers,
        )

    @property
    def capacity(self):
        return 1


class Open:
    """A guard that lets everything pass."""

    @staticmethod
    def act(_actor, _action, _ref, work):
        return work()


@pytest.fixture
def lookup(lender):
    shelf = Shelf(lender)
    cache = Cache(shelf, clock=lambda: datetime.now(timezone.utc))
    return Lookup(cache, shelf, Open(), None)


def followed(lookup):
    follow = lookup.follow(REF, gives_back=True)
    assert follow.current.is_lent
    follow.close()
    follow.wait_ended(10)


def test_a_lookup_gives_back_what_was_followed_and_reads_another_then(lookup, lender):
    followed(lookup)
    assert lender.revoked == [(REF, 1)]
    assert lookup.connection("orders_db").login == "v-2"


def test_a_lookup_keeps_what_it_gave_out(lookup, lender):
    assert lookup.connection("orders_db").login == "v-1"
    followed(lookup)
    assert lender.revoked == []


def test_a_lookup_keeps_what_stands_in_something_else_by_a_reference(lookup, lender):
    assert lookup.variable("orders_user") == "as v-1"
    assert lookup.entry(Ref("variable", "orders_user")).is_lent
    followed(lookup)
    assert lender.revoked == []
