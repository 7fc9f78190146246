"""
The process that is killed while it makes or brings back a backup; run by test_backup_kill.py.

As victim.py, which says how a child is struck at a boundary under strace, and as sql_victim.py, where
its store is a database's and it is struck by a proxy before that.
"""

import json
import os
import signal
import socket
import sys
from pathlib import Path

import pyrage
import sqlalchemy.dialects.sqlite.pysqlite
from alembic import command

from parts.backups import BackedUp, identity
from strongroom.service.backup import backups
from strongroom.store import mariadb, migration, postgres, transaction
from strongroom.wrappers import file
from victim import idle

# Loaded before the fork, once: a child that loads them itself takes a second under strace.
LOADED = (
    pyrage,
    sqlalchemy.dialects.sqlite.pysqlite,
    command,
    backups,
    mariadb,
    migration,
    postgres,
    transaction,
    file,
)

SCENARIOS = ("backup", "restore", "restore_lost")


def seed(folder, scenario, *, place=None):
    """Make what *scenario* starts from: a room that was backed up and changed since, or lost."""
    site = BackedUp(folder, place=place)
    site.write(**{name: f"{name} of then" for name in "abc"})
    if scenario == "backup":
        return site
    site.back_up()
    change(site)
    if scenario == "restore_lost":
        for path in [
            *site.settings.store.path.parent.glob("store.db*"),
            site.settings.store.wrappers[0].path,
        ]:
            path.unlink()
    return site


def change(site):
    """Make of what was backed up something else."""
    site.write(a="changed", new="n")
    site.delete("b")


def act(scenario, site):
    """Do what *scenario* is."""
    if scenario == "backup":
        site.back_up()
    else:
        site.restore(accepts=True)


def child(order, answers):
    if "place" in order:
        # Its pid first: whoever strikes must know whom.
        answers.send(json.dumps({"pid": os.getpid()}).encode())
        scenario, folder = order["scenario"].split(" ", 1)
        act(scenario, BackedUp(Path(folder), place=order["place"]))
    else:
        for _ in range(order["idle"]):
            idle(order["call"])
        act(order["scenario"], BackedUp(Path(order["path"])))
    answers.send(b'"acknowledged"')


def main():
    answers = socket.socket(fileno=int(sys.argv[1]))
    identity()
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
