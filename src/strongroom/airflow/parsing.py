"""
Reads at the top level of DAG files: told from all others, and refused where that is asked for.

A DAG file is read again and again, by many processes that each live for one file. A read at its top level
is asked for each time, so with an agent one snapshot answers all of them (docs/airflow.md).

Such a read is known by two signs together: nothing says that code of a task or trigger is running, and the
top level of a file stands on the call stack. `_AIRFLOW_PARSING_CONTEXT_*` is not looked at: it stays set
while a task executes.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from strongroom.airflow.context import IN_RUN

if TYPE_CHECKING:
    from types import FrameType

    from strongroom.airflow.options import Options
    from strongroom.caller.frames import Run

__all__ = ["Frame", "guard", "parse_frame"]

_MAX_FRAMES = 1000
_IS_FUNCTION = 0x01  # CO_OPTIMIZED: of functions, not of modules and the bodies of classes
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


class Frame(NamedTuple):
    """A place in a DAG file: its path, and the line that led to the read."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def guard(options: Options, claim: Run | None) -> bool:
    """
    Tell whether this read is one of a DAG file's top level, which all parsers may share.

    Args:
        options: whose `at_parse` says what becomes of it.
        claim: of `context.run_now`.

    Raises:
        AccessDeniedError: it is, and `at_parse` is `refuse`; it names file and line.
    """
    if claim is not None and claim[9] in IN_RUN:
        return False
    frame = parse_frame()
    if frame is None:
        return False
    if options.at_parse == "refuse":
        from strongroom.errors import AccessDeniedError  # noqa: PLC0415 -- refusals are seldom

        raise AccessDeniedError(
            f"a read at the top level of a DAG file, at {frame}, is refused by at_parse",
            reason="every parser would ask for it, whether the DAG runs or not",
            hint="read it inside the task, or by a template",
        )
    return True


def parse_frame() -> Frame | None:
    """Give the innermost place at the top level of a file of the user's on this thread's stack, or None."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 -- the stack has no other door
    inner: Frame | None = None  # in the body of a class, which is run where it stands
    for _ in range(_MAX_FRAMES):
        if frame is None:
            return None
        code = frame.f_code
        if code.co_flags & _IS_FUNCTION:  # nearly all
            inner = None
        else:
            inner = inner or Frame(code.co_filename, frame.f_lineno)
            if code.co_name == "<module>" and _is_users(code.co_filename) and not _is_program(frame):
                return inner
        frame = frame.f_back
    return None


def _is_program(frame: FrameType) -> bool:
    # A script of somebody's own that uses Airflow is run once, and means the value as it is now.
    return frame.f_globals.get("__name__") in ("__main__", "__mp_main__")


def _is_users(file: str) -> bool:
    # A console script, `<string>` and the frozen importer are no DAG files: those end in `.py`, in zips too.
    if not file.endswith(".py") or any(part in file for part in _INSTALLED):
        return False
    return not file.startswith(_roots())


_found_roots: list[tuple[str, ...]] = []


def _roots() -> tuple[str, ...]:
    """Folders whose files are no DAGs: Python's own, Airflow's and ours, wherever they are installed."""
    if not _found_roots:
        roots = [os.path.dirname(os.__file__)]  # noqa: PTH120 -- as the stack spells it
        for name in ("airflow", "strongroom"):
            file = getattr(sys.modules.get(name), "__file__", None)
            if isinstance(file, str):
                roots.append(os.path.dirname(file))  # noqa: PTH120 -- as above
        _found_roots.append(tuple(root + os.sep for root in roots))
    return _found_roots[0]
