"""
A connection of a type without a driver of ours: is there a machine that answers at its port?

Nothing of it but host and port is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom import catalog

if TYPE_CHECKING:
    from strongroom.live.probing.course import Course
    from strongroom.model.connection import Connection

__all__ = ["port_of", "run"]


def run(course: Course) -> None:
    """Look the host up and connect to it."""
    connection = course.connection
    port = port_of(connection)
    if not connection.host or port is None:
        course.fail("driver", "unknown")
    else:
        course.reach(connection.host, port).close()


def port_of(connection: Connection) -> int | None:
    """Give the port of *connection*, or the one that its type has by default; None where it has none."""
    found = catalog.find(connection.conn_type or "")
    field = None if found is None else found.standard_field("port")
    default = field.default if field is not None and isinstance(field.default, int) else None
    return connection.port or default
