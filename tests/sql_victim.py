"""
The process that is killed while it writes to a database server: forks one child for each order and runs a
scenario in it, through a proxy that strikes it between any two messages (`faults/test_sql_kill.py`).
"""

import json
import os
import signal
import socket
import sys

import victim
from native_room import Clock, HeldKey
from strongroom.barrier import Barrier
from strongroom.registry import Change, Registry
from strongroom.store import mariadb, mariadb_tables, migration, postgres, postgres_table, transaction
from strongroom.store.engine import engine_of
from strongroom.store.store import Store, step_back

# Loaded before the fork, once.
LOADED = (mariadb, mariadb_tables, migration, postgres, postgres_table, transaction)


def make_barrier(place):
    return Barrier.create(Store.open(place, create=True), [HeldKey()], deployment="prod", clock=Clock())


def open_barrier(place):
    return Barrier.open(Store.open(place), [HeldKey()], deployment="prod", clock=Clock())


def seed(place, *, is_older=False):
    """Make the store that every scenario but `create` starts from; `migrate` from an older one."""
    barrier = make_barrier(place)
    victim.fill(barrier)
    barrier.close()
    if is_older:
        engine = engine_of(place)
        step_back(engine)
        engine.close()


def registry_of(barrier):
    return Registry(barrier.store, barrier, deployment="prod")


def registry(barrier):
    rows = registry_of(barrier)
    yield lambda: rows.put_many([Change("person", name, name.encode() * 500) for name in "abc"])
    yield lambda: rows.put_many([Change("person", "a", None), Change("token", "t", b"new")])
    yield rows.close


def rewrap(barrier):
    yield from victim.rewrapped(barrier, registry_of(barrier))


SCENARIOS = {
    "put": victim.put,
    "delete": victim.delete,
    "write_many": victim.write_many,
    "registry": registry,
    "rewrap": rewrap,
    "keys": victim.keys,
    "create": victim.create,
    "migrate": victim.migrate,
}


def steps(scenario, place):
    """Give the acts of *scenario* on the store at *place*, opening or creating it first."""
    yield (barrier := make_barrier(place) if scenario == "create" else open_barrier(place))
    yield from SCENARIOS[scenario](barrier)


def child(order, answers):
    for act in steps(order["scenario"], order["place"]):
        if callable(act):
            act()
        answers.send(b'"acknowledged"')


def main():
    answers = socket.socket(fileno=int(sys.argv[1]))
    while order := answers.recv(65_536):
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)  # seconds: a child that hangs fails its test and nothing else
            # Its pid first: whoever strikes must know whom.
            answers.send(json.dumps({"pid": os.getpid()}).encode())
            try:
                child(json.loads(order), answers)
            except BaseException as error:  # noqa: BLE001 -- the test wants to see whatever it was
                answers.send(json.dumps({"raised": repr(error)}).encode())
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        answers.send(json.dumps({"status": status}).encode())


if __name__ == "__main__":
    main()
