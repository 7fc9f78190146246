"""
A connection of a type without a driver of ours: is there a machine that answers at its port?

Nothing of it but host and port is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom import catalog
from strongroom.live.probing.failed import FailedError

if TYPE_CHECKING:
    from strongroom.live.probing.course import Course
    from strongroom.model.connection import Connection

__all__ = ["port_of", "run"]


def run(course: Course) -> None:
    """Look the host up and connect to it. A type that has none leaves nothing to test."""
    connection = course.connection
    port = port_of(connection)
    found = catalog.find(connection.conn_type or "")
    if connection.host and port is not None:
        course.reach(connection.host, port).close()
    elif found is not None and found.standard_field("host") is not None:
        raise FailedError("missing", step="options")
    else:
        with course.step("driver") as mark:
            mark.is_skipped = True


def port_of(connection: Connection) -> int | None:
    """Give the port of *connection*, or the one that its type has by default; None where it has none."""
    found = catalog.find(connection.conn_type or "")
    field = None if found is None else found.standard_field("port")
    default = field.default if field is not None and isinstance(field.default, int) else None
    return connection.port or default
