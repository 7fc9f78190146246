"""Lint: 10,000 connections of twenty types, as a whole room is looked at."""

from __future__ import annotations

import time
from statistics import median

from strongroom import catalog
from strongroom.insight.lint import lint
from strongroom.model.connection import Connection

TITLE = "Lint of connections"
COUNT = 10_000
ROUNDS = 3


def _connections() -> list[Connection]:
    made = []
    types = catalog.names()
    for number in range(COUNT):
        kind = catalog.find(types[number % len(types)])
        keys = [field.name for field in kind.extras[:5]] if kind is not None else []
        # A slip of the pen of its own in every second one: no memory of nearest names helps.
        slip = {f"{keys[0]}_{number}": "x"} if keys and number % 2 else {}
        made.append(
            Connection.from_dict(
                {
                    "conn_type": types[number % len(types)],
                    "host": f"db-{number}.example.com",
                    "login": "svc",
                    "password": f"correct horse {number}",
                    "port": 5432,
                    "description": "orders of the shop, read by the nightly reports",
                    "extra": dict.fromkeys(keys, "true") | slip,
                }
            )
        )
    return made


def measure() -> list[dict[str, object]]:
    connections = _connections()
    seconds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for connection in connections:
            lint(connection, catalog.find(connection.conn_type or ""))
        seconds.append(time.perf_counter() - begun)
    return [
        {
            "path": f"{COUNT:,} connections",
            "ours": median(seconds),
            "unit": "s",
            "target": "≤ 5 s",
            "note": "no peer: Airflow does not look at connections",
        }
    ]
