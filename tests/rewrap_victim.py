"""The process that is killed while it puts a store under a new key; run by test_rewrap_kill.py."""

import os
import random
import signal
import time

import pymysql
import sqlalchemy.dialects.sqlite.pysqlite

from native_room import Clock, HeldKey
from strongroom.barrier import Barrier, rewrap, rotation
from strongroom.store import mariadb, postgres, transaction
from strongroom.store.store import Store

# Loaded before the fork, once.
LOADED = (rewrap, rotation, mariadb, postgres, transaction, pymysql, sqlalchemy.dialects.sqlite.pysqlite)


def work(place, until):
    """Work at the job; die at some moment in the batch after *until* versions were moved."""
    began, is_aimed = [time.monotonic()], []

    def look(done, _total):
        took, began[0] = time.monotonic() - began[0], time.monotonic()
        if is_aimed:
            os.kill(os.getpid(), signal.SIGKILL)
        if done >= until:
            is_aimed.append(True)
            signal.setitimer(
                signal.ITIMER_REAL, random.uniform(1e-6, took)
            )  # ends the process where it stands

    barrier = Barrier.open(Store.open(place), [HeldKey()], deployment="prod", clock=Clock())
    barrier.rotation.resume(author="bob")  # whoever was at work on it was killed
    barrier.rewrap.run(progress=look)
    barrier.close()
