"""SMTP: name, TCP, TLS from the start or by STARTTLS, a login, `NOOP`. No mail is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.live import smtp as family
from strongroom.live.fields import Options
from strongroom.live.probing.failed import FailedError
from strongroom.live.probing.tls import Plan

if TYPE_CHECKING:
    from strongroom.live.probing.course import Course

__all__ = ["run"]

_TLS_PORT, _PORT = 465, 25
_SECONDS = 5.0
_GOOD = 250  # RFC 5321 §4.2.3


def run(course: Course) -> None:
    """Make the test."""
    host = course.connection.host
    if not host:
        raise FailedError("missing", step="options")
    options = Options(course.held.name, course.connection)
    is_tls = not options.flag("disable_ssl", default=False)
    starts_tls = not is_tls and not options.flag("disable_tls", default=False)
    plan = Plan(
        host,
        begin="at once" if is_tls else "smtp",
        is_checked=options.text("ssl_context") != "none",
    )
    port = course.connection.port or (_TLS_PORT if is_tls else _PORT)
    course.meet(host, port, plan if is_tls or starts_tls else None)
    with course.step("driver", is_quiet=True):
        made: Any = family.client(course.held, course.asked("smtplib", timeout=_SECONDS))
    with course.step("authentication") as mark:
        made.connect()
        mark.is_skipped = not (course.connection.login or course.connection.password)
    with course.step("read"):
        if made.noop()[0] != _GOOD:
            raise FailedError("other")
