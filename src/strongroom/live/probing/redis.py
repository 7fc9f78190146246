"""Redis: name, TCP, TLS, a session, `PING`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.live import redis as family
from strongroom.live.fields import Options
from strongroom.live.probing.authority import authority
from strongroom.live.probing.failed import FailedError
from strongroom.live.probing.tls import Plan

if TYPE_CHECKING:
    from strongroom.live.probing.course import Course

__all__ = ["run"]

_PORT = 6379
_NO_PERMISSION = "NoPermissionError"  # the library's, told by its name: it is loaded by the family alone


def run(course: Course) -> None:
    """Make the test."""
    connection = course.connection
    host = connection.host or "localhost"
    course.meet(host, connection.port or _PORT, _plan(course, host))
    with course.step("driver", is_quiet=True):
        made: Any = family.client(course.held, course.asked("redis"))
    with course.step("authentication"):
        pool = getattr(made, "connection_pool", None)
        if pool is not None:  # a cluster logs in with its first command
            pool.release(pool.get_connection("PING"))
    with course.step("read"):
        try:
            made.ping()
        except Exception as error:
            if type(error).__name__ == _NO_PERMISSION:
                raise FailedError("forbidden") from None
            raise


def _plan(course: Course, host: str) -> Plan | None:
    options = Options(course.held.name, course.connection)
    if not options.flag("ssl", default=False):
        return None
    is_checked = (options.text("ssl_cert_reqs") or "required").lower().removeprefix("cert_") != "none"
    certificate = options.text("ssl_certfile")
    return Plan(
        host,
        is_checked=is_checked,
        is_name_checked=options.flag("ssl_check_hostname", default=True),
        ca=authority(options.text("ssl_ca_certs")) if is_checked else None,
        client=(certificate, options.text("ssl_keyfile"), None) if certificate else None,
    )
