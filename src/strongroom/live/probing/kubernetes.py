"""Kubernetes: name, TCP and TLS of the API server, and who it takes us for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from strongroom.live import kubernetes as family
from strongroom.live.families import loaded
from strongroom.live.probing.failed import FailedError
from strongroom.live.probing.http import plan_of

if TYPE_CHECKING:
    from strongroom.live.probing.course import Course

__all__ = ["run"]

_PORTS = {"http": 80, "https": 443}
_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _TROUBLE = 401, 403, 404, 500


def run(course: Course) -> None:
    """Make the test."""
    with course.step("driver", is_quiet=True):
        library = loaded("lightkube", course.held, extra="lightkube")
        resources = loaded("lightkube.resources.authentication_v1", course.held, extra="lightkube")
        made: Any = family.client(course.held, course.asked("lightkube"))
        session = family.ClusterLogin(course.held, course.around).session()
    parts = urlsplit(session.base)
    host = parts.hostname or ""
    plan = plan_of(session.way, host) if parts.scheme == "https" else None
    course.meet(host, parts.port or _PORTS.get(parts.scheme, 443), plan)
    with course.step("authentication"):
        try:
            made.create(resources.SelfSubjectReview())
        except library.ApiError as error:
            _judge(int(error.status.code or 0))


def _judge(status: int) -> None:
    """Look at what an API server said; one that is older than the question knows us all the same."""
    if status == _UNAUTHORIZED:
        raise FailedError("credentials")
    if status == _FORBIDDEN:
        raise FailedError("forbidden")
    if status >= _TROUBLE:
        raise FailedError("unavailable")
    if status != _NOT_FOUND:
        raise FailedError("other")
