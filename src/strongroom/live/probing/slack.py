"""
Slack: name, TCP, TLS, and whom the token belongs to.

The address of a webhook answers to nothing but messages: it is sent one without a text, which it refuses, and
which shows up nowhere.
"""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from strongroom.live import slack as family
from strongroom.live.families import loaded
from strongroom.live.probing.failed import FailedError
from strongroom.live.probing.tls import Plan

if TYPE_CHECKING:
    from strongroom.live.probing.course import Course

__all__ = ["run"]

_PORTS = {"http": 80, "https": 443}
_SECONDS = 5
_BAD_REQUEST, _FORBIDDEN, _LIMITED, _TROUBLE = 400, 403, 429, 500


def run(course: Course) -> None:
    """Make the test."""
    with course.step("driver", is_quiet=True):
        library = loaded("slack_sdk.errors", course.held, extra="slack")
        made: Any = family.client(course.held, course.asked("slack-sdk", timeout=_SECONDS))
        said = family.SlackLogin(course.held).now()
        _stay()
    parts = urlsplit(said.url)
    host = parts.hostname or ""
    if said.proxy is None:
        plan = Plan(host) if parts.scheme == "https" else None
        course.meet(host, parts.port or _PORTS[parts.scheme], plan)
    with course.step("authentication"):
        if said.token is None:
            _judge(made.send_dict({"text": ""}).status_code)
        else:
            try:
                made.auth_test()
            except library.SlackApiError as error:
                _judge(error.response.status_code)
                raise FailedError("other") from None


def _stay() -> None:
    """Follow no redirect: the library leaves that to urllib, which this process has for its test alone."""

    class Staying(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_arguments: object, **_more: object) -> None:
            return None

    urllib.request.HTTPRedirectHandler = Staying  # type: ignore[misc]  # as told


def _judge(status: int) -> None:
    """Look at how a call was answered; an empty message is refused as one that lacks something."""
    if status >= _TROUBLE or status == _LIMITED:
        raise FailedError("unavailable")
    if status == _FORBIDDEN:
        raise FailedError("forbidden")
    if status > _BAD_REQUEST:
        raise FailedError("unknown", step="read")
