"""Google: name, TCP and TLS of where tokens are given out, and a token."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from strongroom.live import google
from strongroom.live.probing.tls import Plan

if TYPE_CHECKING:
    from strongroom.live.probing.course import Course

__all__ = ["run"]

_TOKENS = "https://oauth2.googleapis.com/token"
_PORTS = {"http": 80, "https": 443}


def run(course: Course) -> None:
    """Make the test."""
    with course.step("driver", is_quiet=True):
        made: Any = google.credentials(course.held, course.asked("google-auth"))
    parts = urlsplit(_provider(course.extra.get("keyfile_dict")))
    if parts.hostname:
        plan = Plan(parts.hostname) if parts.scheme == "https" else None
        course.meet(parts.hostname, parts.port or _PORTS.get(parts.scheme, 443), plan)
    with course.step("token") as mark:
        mark.is_skipped = str(course.extra.get("is_anonymous", "")).lower() == "true"
        if not mark.is_skipped:
            made.refresh(None)


def _provider(key: object) -> str:
    """Give where tokens are given out for *key*; what the machine has by itself is asked for elsewhere."""
    if isinstance(key, str) and key:
        try:
            key = json.loads(key)
        except ValueError:
            return ""  # the family says that it cannot be read
    if not isinstance(key, dict):
        return ""
    return str(key.get("token_uri") or key.get("token_url") or _TOKENS)
