"""
The process of one test of a connection: reads it from stdin, tells its steps on stdout, and ends.

    [sys.executable, "-I", "-B", "-m", "strongroom.live.child"]

Not for people, nor for programs but `probe.py`. It holds one connection and nothing else.

Rules of this file:

1. stdout is for the steps: what a library prints goes nowhere.
2. Whatever happens, it ends by itself: no thread or hook of a library is waited for.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import datetime, timedelta, timezone
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from strongroom.errors import NotFoundError, ReadOnlyError, StrongroomError
from strongroom.live.around import Around, Run
from strongroom.live.follow import Follow
from strongroom.live.held import Held
from strongroom.live.probing import fence
from strongroom.live.probing.address import Pins
from strongroom.live.probing.course import Course, EndedError
from strongroom.live.probing.options import has_list, is_allowed
from strongroom.model.connection import Connection
from strongroom.model.entry import Entry
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PROBES", "main"]

_MOST_BYTES = 64 * 1024 * 1024  # a connection and those it names, each 1 MiB at most
_STILL = timedelta(days=1)
PROBES = {
    **dict.fromkeys(
        (
            "postgres",
            "redshift",
            "mysql",
            "mssql",
            "sqlite",
            "trino",
            "snowflake",
            "oracle",
            "databricks",
            "clickhouse",
            "teradata",
            "vertica",
            "exasol",
        ),
        "database",
    ),
    "redis": "redis",
    "http": "http",
    "livy": "http",
    "ssh": "ssh",
    "sftp": "ssh",
    "smtp": "smtp",
    "kubernetes": "kubernetes",
    "slack": "slack",
    "slackwebhook": "slack",
    "fs": "files",
    **dict.fromkeys(("aws", "athena", "emr"), "aws"),
    **dict.fromkeys(("google_cloud_platform", "gcpbigquery", "gcpspanner"), "google"),
    **dict.fromkeys(
        (
            "azure",
            "azure_data_factory",
            "azure_batch",
            "azure_data_lake",
            "wasb",
            "adls",
        ),
        "azure",
    ),
}
"""The module of `probing` for each type; any other is `plain`."""


class _Still:
    """Connections as the parent gave them: nothing is asked for, nothing changes, nothing is written."""

    def __init__(self, connections: dict[str, Connection]) -> None:
        self._connections = connections

    def follow(self, ref: Ref, on_change: Callable[[Entry], None]) -> Follow:
        return Follow(lambda: self.anew(ref), on_change, interval=_STILL)

    def anew(self, ref: Ref) -> Entry | None:
        if ref.name not in self._connections:
            raise NotFoundError(f"a test was not given {ref}")
        # What it says is held already, parsed; no text of it is made again.
        return Entry(ref=ref, secret=Secret(""), backend="test", read_at=_now())

    def parsed(self, entry: Entry) -> Connection:
        return self._connections[entry.ref.name]

    def write_back(self, ref: Ref, _change: object, _comment: str) -> Connection:
        raise ReadOnlyError(f"a test writes nothing back to {ref}")


def main() -> NoReturn:
    """Make the test that stands on stdin, and end."""
    fence.harden()
    sink = _quiet()
    document = json.loads(sys.stdin.buffer.read(_MOST_BYTES))

    def tell(line: list[Any] | None) -> None:
        os.write(sink, json.dumps(line).encode() + b"\n")

    try:
        _run(document, tell)
        tell(None)
    except EndedError:
        pass
    finally:
        # Without a farewell the parent takes the step under way as failed; nothing else is to be told.
        os._exit(0)


def _quiet() -> int:
    """Give a stdout of our own, and have that of all others lead nowhere."""
    sink = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    return sink


def _run(document: dict[str, Any], tell: Callable[[list[Any] | None], None]) -> None:
    connection = Connection.from_dict(document["connection"])
    pins = Pins(document["networks"])
    course = _course(document, connection, pins, tell)
    probe = PROBES.get(connection.conn_type or "", "plain")
    if not document["has_any_option"]:
        if not has_list(connection.conn_type):
            probe = "plain"  # nothing of it but host and port is used
        elif not is_allowed(connection):
            course.fail("options", "forbidden")

    def refuse() -> NoReturn:
        tell(["address", "failed", "forbidden", 0.0, None, ""])
        os._exit(0)

    pins.lead(refuse)
    if not document["has_any_option"] or pins.is_limited:
        fence.forget_user()
        fence.enclose(pins.has if pins.is_limited else _anywhere, refuse)
    try:
        import_module(f"strongroom.live.probing.{probe}").run(course)
    except StrongroomError as error:  # between two steps: a field that cannot be read
        course.give_up(error)
    except (ValueError, TypeError, LookupError):  # as well, where no family has looked at it
        course.fail("options", "malformed")


def _anywhere(_address: str) -> bool:
    return True


def _course(
    document: dict[str, Any],
    connection: Connection,
    pins: Pins,
    tell: Callable[[list[Any] | None], None],
) -> Course:
    os.environ.update(
        document["environ"]
    )  # for libraries that look by themselves; empty where it may not be used
    connections = {key: Connection.from_dict(one) for key, one in document["also"].items()}
    connections[document["name"]] = connection
    source = _Still(connections)
    run = None if document["run"] is None else Run(*document["run"])

    def held(name: str, team: str | None = None) -> Held:
        return Held(Ref("connection", name, team), source, time.monotonic)

    around = Around(
        environ=dict(document["environ"]),
        now=_now,
        run=lambda: run,
        held=held,
    )

    def hold(other: Connection) -> Held:
        connections[document["name"]] = other
        return held(document["name"])

    return Course(hold(connection), around, pins, hold=hold, tell=tell)


def _now() -> datetime:
    return datetime.now(timezone.utc)


if __name__ == "__main__":
    main()
