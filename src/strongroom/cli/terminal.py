"""
All talk to the user that is not an answer: errors, notes, warnings, questions, progress.

The tone, everywhere:

1. Errors, notes and warnings go to stderr and begin with `strongroom: `.
2. Lower case, no full stop; first what is wrong, then in a `hint:` what to type or change.
3. A question is asked only on a terminal; without one the command is refused and told the option
   that answers it.
4. Text from elsewhere (descriptions, tags, comments) is shown with its control characters written out,
   so that nobody else's text can move the cursor or rename a window.

Source: the terminal rules of age (cmd/age/tui.go).
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, TextIO

from strongroom.errors import InvalidInputError, StrongroomError

if TYPE_CHECKING:
    from strongroom.cli.session import Session

__all__ = [
    "ask_secret",
    "ask_text",
    "can_ask",
    "clean",
    "confirm",
    "note",
    "prepare",
    "progress",
    "silence",
    "tell_error",
    "tell_unexpected",
    "waiting",
    "warn",
]

PROGRAM = "strongroom"
_BOLD_RED = "1;31"
_YELLOW = "33"
_CYAN = "36"
_BAR_AFTER_SECONDS = 1.0
_BAR_CELLS = 24

Progress = Callable[[int, int], None]
"""Told (done, total) while work goes on."""


def prepare() -> None:
    """Let no name stop a command because the terminal's character set lacks one of its letters."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def silence() -> None:
    """Let nothing more be written to stdout: whoever read it is gone."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def clean(text: str) -> str:
    r"""Give *text* with everything that is not printed written out, as in `\u001b`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return f"\\u{ord(character):04x}" if ord(character) <= 0xFFFF else f"\\U{ord(character):08x}"  # noqa: PLR2004


# --- errors, notes, warnings ---------------------------------------------------------------------


def note(text: str, session: Session | None = None) -> None:
    """Tell something that is no answer and no trouble; programs that read JSON are not told."""
    if session is None or session.output == "table":
        sys.stderr.write(f"{PROGRAM}: {clean(text)}\n")


def warn(text: str, session: Session, *, hint: str | None = None) -> None:
    """Tell something the user should know, though the command goes on."""
    _write("warning: ", text, session, code=_YELLOW)
    if hint:
        _hint(hint, session)


def tell_error(error: StrongroomError, session: Session) -> None:
    """Tell why the command ends, for people or, with `--output json`, for programs."""
    if session.output == "json":
        _write_json(error)
        return
    offset = getattr(error, "offset", None)
    _write("", str(error) + ("" if offset is None else f" (at offset {offset})"), session, code=_BOLD_RED)
    if error.hint:
        _hint(error.hint, session)


def tell_unexpected(error: BaseException, session: Session) -> None:
    """Tell a failure nobody expected: its class and place, with `--debug` the way there, never its text."""
    place = _place(error)
    message = f"unexpected {type(error).__name__}{f' at {place}' if place else ''}"
    if session.is_debug:
        for line in _way(error):
            sys.stderr.write(f"  {line}\n")
    failure = StrongroomError(
        message, hint=None if session.is_debug else "say --debug to see where it came from"
    )
    tell_error(failure, session)


def _write(prefix: str, text: str, session: Session, *, code: str) -> None:
    head = f"{PROGRAM}:"
    if code and session.has_colour(sys.stderr):
        head = _coloured(head, code)
    lines = [clean(line) for line in text.split("\n")]
    sys.stderr.write(f"{head} {prefix}" + "\n".join(lines) + "\n")


def _hint(hint: str, session: Session) -> None:
    head = _coloured("hint:", _CYAN) if session.has_colour(sys.stderr) else "hint:"
    first, *rest = (clean(line) for line in hint.split("\n"))
    sys.stderr.write(f"{head} {first}\n" + "".join(f"      {line}\n" for line in rest))


def _coloured(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m"


def _write_json(error: StrongroomError) -> None:
    import json  # noqa: PLC0415 -- only an error told to a program needs it

    told: dict[str, object] = {"code": error.code, "message": str(error)}
    evidence = {key: value for key, value in vars(error).items() if not key.startswith("_")}  # no notes
    told |= {key: _plain(value) for key, value in evidence.items()}
    sys.stderr.write(json.dumps({"error": told}) + "\n")


def _plain(value: object) -> object:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__


def _way(error: BaseException) -> Iterator[str]:
    """Give the frames to *error* and to what caused it: files, lines and functions, no values."""
    import traceback  # noqa: PLC0415 -- only `--debug` needs it

    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from _way(before)
    for frame, line in traceback.walk_tb(error.__traceback__):
        code = frame.f_code
        yield f"{code.co_filename}:{line} in {code.co_name}"
    yield type(error).__name__


def _place(error: BaseException) -> str:
    """Give the innermost line of ours on the way to *error*, as in `service/entries.py:120`."""
    ours = os.path.dirname(os.path.dirname(__file__)) + os.sep  # noqa: PTH120 -- a prefix of file names
    place, trace = "", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name.startswith(ours):
            place = f"{name.removeprefix(ours)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


# --- questions -----------------------------------------------------------------------------------


def can_ask() -> bool:
    """Tell whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, *, is_agreed: bool) -> None:
    """
    Go on only if the user agrees.

    Args:
        question: without its question mark, as in `delete connection "orders_db"`.
        is_agreed: he did already, with `--yes`.

    Raises:
        InvalidInputError: there is nobody to ask.
        SystemExit: he does not; with the code 1.
    """
    if is_agreed:
        return
    if not can_ask():
        raise InvalidInputError(
            f"not done without being asked: {question}", hint="say --yes to agree beforehand"
        )
    if ask_text(f"{question}? [y/N] ").strip().lower() not in ("y", "yes"):
        sys.stderr.write("nothing was done\n")
        raise SystemExit(1)


def ask_text(prompt: str) -> str:
    """Ask for a line of text on the terminal; the end of input counts as an empty one."""
    sys.stderr.write(prompt)
    sys.stderr.flush()
    return sys.stdin.readline().rstrip("\n")


def ask_secret(prompt: str) -> str:
    """
    Ask for a secret on the terminal, without showing it.

    Raises:
        InvalidInputError: there is nobody to ask.
    """
    import getpass  # noqa: PLC0415 -- few commands ask

    if not can_ask():
        raise InvalidInputError(
            "there is no terminal to ask for a secret on", hint="pass it on stdin or in a file"
        )
    try:
        return getpass.getpass(prompt, stream=sys.stderr)
    except EOFError:
        raise InvalidInputError("no secret was given") from None


# --- progress ------------------------------------------------------------------------------------


@contextmanager
def progress(label: str, *, stream: TextIO | None = None) -> Iterator[Progress | None]:
    """
    Show how far work has come, once it has taken longer than a second, on a terminal only.

    Gives a function to call with (done, total), or None where nothing would be seen.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        yield None
        return
    bar = _Bar(label, stream)
    try:
        yield bar.show
    finally:
        bar.clear()


@contextmanager
def waiting(label: str) -> Iterator[None]:
    """Show that work goes on whose end cannot be told, once it has taken longer than a second."""
    if not sys.stderr.isatty():
        yield
        return
    ended = threading.Event()
    thread = threading.Thread(target=_count_seconds, args=(label, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _count_seconds(label: str, ended: threading.Event) -> None:
    seconds = 0
    while not ended.wait(_BAR_AFTER_SECONDS):
        seconds += 1
        sys.stderr.write(f"\r{label} … {seconds} s\x1b[K")
        sys.stderr.flush()
    if seconds:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


class _Bar:
    """One line that is written over and over."""

    def __init__(self, label: str, stream: TextIO) -> None:
        self._label = label
        self._stream = stream
        self._started = time.monotonic()
        self._last = ""

    def show(self, done: int, total: int) -> None:
        if time.monotonic() - self._started < _BAR_AFTER_SECONDS or not total:
            return
        filled = _BAR_CELLS * done // total
        line = f"{self._label} {'━' * filled}{'─' * (_BAR_CELLS - filled)} {100 * done // total} %"
        if line != self._last:
            self._last = line
            self._stream.write(f"\r{line}\x1b[K")
            self._stream.flush()

    def clear(self) -> None:
        if self._last:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
