"""A folder of this machine: can it be listed?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from strongroom.live.probing.failed import FailedError

if TYPE_CHECKING:
    from strongroom.live.probing.course import Course

__all__ = ["run"]


def run(course: Course) -> None:
    """Make the test."""
    path = str(course.extra.get("path") or course.connection.host or "/")
    with course.step("read"):
        try:
            with os.scandir(path) as found:
                next(found, None)
        except PermissionError:
            raise FailedError("forbidden") from None
        except OSError:
            raise FailedError("unknown") from None
