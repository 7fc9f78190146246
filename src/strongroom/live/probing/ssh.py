"""SSH and SFTP: name, TCP, a login, and a channel; of SFTP the folder that one begins in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.live import ssh as family
from strongroom.live.probing.failed import FailedError

if TYPE_CHECKING:
    from strongroom.live.probing.course import Course

__all__ = ["run"]

_PORT = 22
_SECONDS = 5.0


def run(course: Course) -> None:
    """Make the test. A host key that is not trusted fails at the step `tls`."""
    connection = course.connection
    if not connection.host:
        raise FailedError("missing", step="options")
    course.reach(connection.host, connection.port or _PORT).close()
    with course.step("driver", is_quiet=True):
        made: Any = family.client(course.held, course.asked("ssh"))
    with course.step("authentication"):
        made.connect()
    with course.step("read"):
        if connection.conn_type == "sftp":
            made.open_sftp().stat(".")
        else:
            made.get_transport().open_session(timeout=_SECONDS).close()
