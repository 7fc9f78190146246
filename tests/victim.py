"""
The process that is killed: forks one child for each order and runs a scenario in it.

Run by test_kill.py under strace, which kills a child at its n-th write or sync. Orders and answers
go over a socket, because `send` and `recv` are not among the calls that kill.
"""

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import sqlalchemy.dialects.sqlite.pysqlite

from native_room import draft, make_barrier, open_barrier
from strongroom.barrier import rewrap as rewrapping
from strongroom.barrier import rotation
from strongroom.errors import BackendUnavailableError
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.registry import Change, Registry
from strongroom.store import migration, transaction
from strongroom.store.engine import engine_of
from strongroom.store.store import step_back

# Loaded before the fork, once: a child that loads them itself takes a second under strace.
LOADED = (rewrapping, rotation, migration, transaction, sqlalchemy.dialects.sqlite.pysqlite)

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "ftruncate", "unlink")
NULL = os.open(os.devnull, os.O_WRONLY)
A, B, C = (Ref("variable", name) for name in "abc")


def seed(path, *, is_older=False):
    """Make the store that every scenario but `create` starts from; `migrate` from an older one."""
    barrier = make_barrier(path)
    fill(barrier)
    barrier.close()
    if is_older:
        step_back(engine_of(path))


def fill(barrier):
    """Write what is there before any act."""
    barrier.write_many([draft(name, f"{name}{number}") for number in (1, 2) for name in "abc"])
    barrier.delete(C, author="alice")


def put(barrier):
    yield lambda: barrier.write(draft("a", "a3", expected_version="2"))
    yield lambda: barrier.write(draft("new", "n1" * 5000))
    yield lambda: barrier.edit(B, Metadata(description="edited"), author="bob")
    yield barrier.close


def delete(barrier):
    yield lambda: barrier.delete(A, author="bob")
    yield lambda: barrier.undelete(C, author="bob")
    yield lambda: barrier.undelete(A, author="bob")
    yield barrier.close


def rollback(barrier):
    yield lambda: barrier.rollback(A, "1", author="bob")
    yield lambda: barrier.rollback(C, "2", author="bob")
    yield lambda: barrier.rollback(A, "2", author="bob")
    yield barrier.close


def write_many(barrier):
    yield lambda: barrier.write_many(draft(f"m{number}", str(number)) for number in range(40))
    yield lambda: barrier.write_many([draft("a", "a3", team="data"), draft("a", "a3"), draft("b", "b3")])


def registry_of(barrier):
    """Give who may of a store, with its anchor beside it."""
    anchor = barrier.store.path.with_name("prod.anchor")
    return Registry(barrier.store, barrier, deployment="prod", anchor=anchor)


def registry(barrier):
    rows = registry_of(barrier)
    yield lambda: rows.put_many([Change("person", name, name.encode() * 500) for name in "abc"])
    yield lambda: rows.put_many([Change("person", "a", None), Change("token", "t", b"new")])
    yield lambda: rows.put("person", "b", b"changed")
    yield rows.close


def rewrap(barrier):
    yield from rewrapped(barrier, registry_of(barrier))


def rewrapped(barrier, rows):
    """Put entries of three batches and the rows of who may under a new key."""

    def run():
        barrier.rotation.resume(author="bob")  # whoever was at work on it was killed
        barrier.rewrap.run(before_end=lambda: rows.reseal(barrier.rotation.sealing()))

    yield lambda: barrier.write_many(draft(f"m{number}", str(number)) for number in range(60))
    yield lambda: rows.put("person", "a", b"alice")
    yield lambda: barrier.rotation.rotate([""], author="bob")
    yield run
    yield rows.close


def keys(barrier):
    """Replace a key, what wraps it, and destroy the one before."""
    first = barrier.rotation.find(barrier.keys()[0].id)
    yield barrier.rotation.wrap_anew
    yield lambda: barrier.rotation.rotate([""], author="bob")
    yield barrier.rewrap.run
    yield barrier.rotation.wrap_anew
    yield lambda: barrier.rotation.destroy(first)
    yield barrier.close


def finish(barrier, rows):
    """Go on with what was killed, and destroy every key that it leaves behind."""
    barrier.rotation.rotate([""], author="carol")
    barrier.rewrap.run(before_end=lambda: rows.reseal(barrier.rotation.sealing()))
    for key in barrier.keys():  # noqa: SIM118 -- not a mapping
        if key.state == "deactivated":
            barrier.rotation.destroy(barrier.rotation.find(key.id))
    assert [key.state for key in barrier.keys()].count("active") == 1  # noqa: SIM118
    rows.close()


def create(barrier):
    yield lambda: barrier.write(draft("first", "kept"))


def migrate(barrier):
    # It was brought up to date by being opened.
    yield barrier.close


SCENARIOS = {
    "put": put,
    "delete": delete,
    "rollback": rollback,
    "write_many": write_many,
    "registry": registry,
    "rewrap": rewrap,
    "keys": keys,
    "create": create,
    "migrate": migrate,
}


def steps(scenario, path):
    """Give the acts of *scenario* on the store at *path*, opening or creating it first."""
    yield (barrier := make_barrier(path) if scenario == "create" else open_barrier(path))
    yield from SCENARIOS[scenario](barrier)


def idle(call):
    """Make one call that changes nothing."""
    with suppress(OSError):
        {
            "write": lambda: os.write(NULL, b""),
            "pwrite64": lambda: os.pwrite(NULL, b"", 0),
            "fsync": lambda: os.fsync(NULL),
            "fdatasync": lambda: os.fdatasync(NULL),
            "ftruncate": lambda: os.ftruncate(NULL, 0),
            "unlink": lambda: os.unlink(os.devnull + "/nothing"),  # noqa: PTH108 -- the bare call
        }[call]()


def child(order, answers):
    # The limit is one for all children and counted for each call apart; idle calls move the kill.
    for _ in range(order["idle"]):
        idle(order["call"])
    acts = opened(order, answers)
    for act in acts:
        attempt(act, answers)


def opened(order, answers):
    """Give the acts of a scenario whose store is open."""

    def open_it():
        acts = steps(order["scenario"], Path(order["path"]))
        next(acts)
        return acts

    return attempt(open_it, answers)


def attempt(act, answers):
    """Do *act*, once more if the store was unavailable, and acknowledge it."""
    try:
        done = act()
    except BackendUnavailableError:
        answers.send(b'"refused"')
        done = act()
    answers.send(b'"acknowledged"')
    return done


def main():
    answers = socket.socket(fileno=int(sys.argv[1]))
    while order := answers.recv(65_536):
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)  # seconds: a child that hangs fails its test and nothing else
            try:
                child(json.loads(order), answers)
            except BaseException as error:  # noqa: BLE001 -- the test wants to see whatever it was
                answers.send(json.dumps({"raised": repr(error)}).encode())
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        answers.send(json.dumps({"pid": pid, "status": status}).encode())


if __name__ == "__main__":
    main()
