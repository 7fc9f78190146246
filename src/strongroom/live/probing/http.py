"""
HTTP: name, TCP, TLS, and one `HEAD` of the base URL.

A base URL is seldom a page, so that an answer of "not found" is one. No redirect is followed and no proxy of
the environment used; where the connection names a proxy of its own, the steps before the request are the
proxy's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from strongroom.errors import StrongroomError
from strongroom.live import http as family
from strongroom.live.probing.authority import authority
from strongroom.live.probing.failed import FailedError
from strongroom.live.probing.tls import Plan
from strongroom.live.web import base_of, way_of

if TYPE_CHECKING:
    from strongroom.live.probing.course import Course
    from strongroom.live.web import Way

__all__ = ["judge", "plan_of", "run"]

_PORTS = {"http": 80, "https": 443}
_UNAUTHORIZED, _FORBIDDEN, _PROXY = 401, 403, 407
_SILENT = (502, 503, 504)
_BROKEN = 500
_NO_METHOD = 501
_SECONDS = 5.0  # for one answer
_SHOWS = ("authorization", "cookie", "api-key", "token", "secret")


def run(course: Course) -> None:
    """Make the test."""
    connection, name = course.connection, course.held.name
    base = base_of(connection, name)
    way = way_of(connection, name, course.around.environ)
    parts = urlsplit(base.url)
    host = parts.hostname or ""
    if way.proxy_for(parts.scheme, host) is None:
        plan = plan_of(way, host) if parts.scheme == "https" else None
        course.meet(host, parts.port or _PORTS[parts.scheme], plan)
    if course.extra.get("oauth2") and not _has_token(course):
        return
    with course.step("driver", is_quiet=True):
        asked = course.asked("httpx2", follow_redirects=False, timeout=_SECONDS)
        made: Any = family.client(course.held, asked)
    with course.step("authentication") as mark:
        with made:
            status = _asked(made, base.url)
        mark.is_skipped = not (_has_credentials(course, base.user) or way.cert)
        if status in (_UNAUTHORIZED, _PROXY) and mark.is_skipped:
            raise FailedError("missing")
        judge(status)
    with course.step("read"):
        if status in _SILENT:
            raise FailedError("unavailable")
        if status >= _BROKEN and status != _NO_METHOD:
            raise FailedError("other")


def _has_token(course: Course) -> bool:
    """
    Get a token of OAuth2. False where only a refresh token could get one: it counts once, and what comes of
    it is for those who can write it back.
    """
    with course.step("token") as mark:
        try:
            family.HttpLogin(course.held, course.around).session()
        except StrongroomError as error:
            if not _is_spent(error):
                raise
            mark.is_skipped = True
    return not mark.is_skipped


def _asked(made: Any, url: str) -> int:  # noqa: ANN401 -- the library's client
    try:
        status: int = made.head(url).status_code
    except StrongroomError as error:
        if _is_spent(error):  # its token was refused, and no other is made by a test
            raise FailedError("credentials") from None
        raise
    return status


def _is_spent(error: StrongroomError) -> bool:
    return (getattr(error, "step", ""), getattr(error, "reason", "")) == ("token", "missing")


def judge(status: int) -> None:
    """
    Look at what an answer says of who asked.

    Raises:
        FailedError: of the step `authentication`.
    """
    if status == _UNAUTHORIZED:
        raise FailedError("credentials")
    if status in (_FORBIDDEN, _PROXY):
        raise FailedError("forbidden")


def plan_of(way: Way, host: str) -> Plan:
    """Give how TLS is to be looked at."""
    return Plan(
        host,
        is_checked=way.verify,
        ca=authority(way.ca) if way.verify else None,
        client=(way.cert, way.key, None) if way.cert else None,
    )


def _has_credentials(course: Course, user: tuple[str, str] | None) -> bool:
    """Tell whether a request says who asks; what its headers are for is told by their names."""
    if user is not None or course.connection.login or course.extra.get("oauth2"):
        return True
    names = [key.lower() for key in course.extra]
    return any(word in name for name in names for word in _SHOWS)
