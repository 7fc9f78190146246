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
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, TextIO

from strongroom.errors import InvalidInputError, StrongroomError

if TYPE_CHECKING:
    from strongroom.cli.session import Session

__all__ = [
    "ask_line",
    "ask_secret",
    "ask_text",
    "can_ask",
    "clean",
    "confirm",
    "note",
    "output_trouble",
    "prepare",
    "progress",
    "show",
    "silence",
    "tell_error",
    "tell_unexpected",
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
    """
    Make the standard streams fit to be used, whatever this process was started with.

    No name stops a command because the terminal's character set lacks one of its letters. A stream that
    was closed is held open by one that fails when it is used: otherwise the next file that is opened,
    the store or the audit log, would take its place and get what is meant for it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            _hold(number)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 -- until the end
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _hold(number: int) -> None:
    # Opened the wrong way round, so that reading and writing fail; but who reads our errors may be gone.
    ways = (os.O_WRONLY, os.O_RDONLY, os.O_WRONLY)
    handle = os.open(os.devnull, ways[number])
    if handle != number:
        os.dup2(handle, number)
        os.close(handle)


def output_trouble() -> InvalidInputError | None:
    """Tell why stdout cannot be written, or None where it can; what waits in it is dropped."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        silence()
        reason = os.strerror(error.errno or 0).lower()
        return InvalidInputError(f"the answer cannot be written: {reason}", hint="look where stdout goes")
    return None


def silence(stream: TextIO | None = None) -> None:
    """Let nothing more be written to *stream* (stdout): whoever read it is gone."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, (stream or sys.stdout).fileno())
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
        _say(f"{PROGRAM}: {_folded(clean(text), f'{PROGRAM}: ')}\n")


def warn(
    text: str, session: Session, *, hint: str | None = None, facts: Mapping[str, object] | None = None
) -> None:
    """
    Tell something the user should know, though the command goes on; with `--output json` as an object.

    Args:
        text: what it is.
        session: says how.
        hint: what to type or change.
        facts: the same for programs, in plain JSON types.
    """
    if session.output == "json":
        _write_object("warning", {**(facts or {}), "message": text, "hint": hint})
        return
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
            _say(f"  {line}\n")
    failure = StrongroomError(
        message, hint=None if session.is_debug else "say --debug to see where it came from"
    )
    tell_error(failure, session)


def _write(prefix: str, text: str, session: Session, *, code: str) -> None:
    head = f"{PROGRAM}:"
    if code and session.has_colour(sys.stderr):
        head = _coloured(head, code)
    lines = [
        _folded(clean(line), f"{PROGRAM}: {prefix}" if not number else "")
        for number, line in enumerate(text.split("\n"))
    ]
    _say(f"{head} {prefix}" + "\n".join(lines) + "\n")


def _hint(hint: str, session: Session) -> None:
    head = _coloured("hint:", _CYAN) if session.has_colour(sys.stderr) else "hint:"
    lines = [_folded(clean(line), "hint: ", indent=6) for line in hint.split("\n")]
    _say(f"{head} " + "\n      ".join(lines) + "\n")


def _folded(line: str, before: str, *, indent: int = 0) -> str:
    """Fold *line* between words where a terminal would break it within one; *before* stands before it."""
    if not sys.stderr.isatty():
        return line
    import textwrap  # noqa: PLC0415 -- only errors that people read need them
    from shutil import get_terminal_size  # noqa: PLC0415

    pieces = textwrap.wrap(
        line,
        get_terminal_size().columns,
        initial_indent=before,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(pieces).removeprefix(before) if pieces else line


def _say(text: str) -> None:
    # Where stderr cannot be written there is nowhere left to tell; the exit code still does.
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        silence(sys.stderr)


def _coloured(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m"


def _write_json(error: StrongroomError) -> None:
    told: dict[str, object] = {"code": error.code, "message": str(error)}
    evidence = {key: value for key, value in vars(error).items() if not key.startswith("_")}  # no notes
    told |= {key: _plain(value) for key, value in evidence.items()}
    _write_object("error", told)


def _write_object(kind: str, told: Mapping[str, object]) -> None:
    import json  # noqa: PLC0415 -- only what is told to a program needs it

    _say(json.dumps({kind: told}) + "\n")


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
    if ask_text(f"{clean(question)}? [y/N] ").strip().lower() not in ("y", "yes"):
        _say("nothing was done\n")
        raise SystemExit(1)


def show(text: str) -> None:
    """Show what a question is about: lines of ours, such as the answers to choose from."""
    _say(f"{text}\n")


def ask_text(prompt: str) -> str:
    """
    Ask for a line of text on the terminal; the end of input counts as an empty one.

    Raises:
        InvalidInputError: as `ask_line`.
    """
    return ask_line(prompt) or ""


def ask_line(prompt: str) -> str | None:
    """
    Ask for a line of text on the terminal; None at the end of input.

    Raises:
        InvalidInputError: it is not UTF-8.
    """
    sys.stderr.write(prompt)
    sys.stderr.flush()
    try:
        line = sys.stdin.readline()
    except UnicodeDecodeError:
        raise InvalidInputError("what was typed is not UTF-8") from None
    return line.rstrip("\n") if line else None


def ask_secret(prompt: str) -> str:
    """
    Ask for a secret on the terminal, without showing it.

    Raises:
        InvalidInputError: there is nobody to ask, or no answer, or one that is not UTF-8.
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
    except UnicodeDecodeError:
        raise InvalidInputError("what was typed is not UTF-8") from None


# --- progress ------------------------------------------------------------------------------------


@contextmanager
def progress(label: str, *, stream: TextIO | None = None) -> Iterator[Progress | None]:
    """
    Show that work goes on, and how far it has come, once it has taken a second; on a terminal only.

    Gives a function to call with (done, total), or None where nothing would be seen. Between two calls
    the seconds go on, so that a long step does not look like a halt.
    """
    stream = stream or sys.stderr
    if not stream.isatty():
        yield None
        return
    bar, ended = _Bar(label, stream), threading.Event()
    thread = threading.Thread(target=bar.count, args=(ended,), daemon=True)
    thread.start()
    try:
        yield bar.show
    finally:
        ended.set()
        thread.join()
        bar.clear()


class _Bar:
    """One line that is written over and over, by whoever works and by the thread that counts seconds."""

    def __init__(self, label: str, stream: TextIO) -> None:
        self._label = label
        self._stream = stream
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._share = "…"
        self._seconds = 0
        self._last = ""

    def show(self, done: int, total: int) -> None:
        if not total:
            return
        filled = _BAR_CELLS * done // total
        self._share = f"{'━' * filled}{'─' * (_BAR_CELLS - filled)} {100 * done // total} %"
        if time.monotonic() - self._started >= _BAR_AFTER_SECONDS:
            self._draw()

    def count(self, ended: threading.Event) -> None:
        while not ended.wait(_BAR_AFTER_SECONDS):
            self._seconds += 1
            self._draw()

    def clear(self) -> None:
        if self._last:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def _draw(self) -> None:
        with self._lock, suppress(OSError):  # a terminal that went away stops no work
            line = f"{self._label} {self._share}" + (f"  {self._seconds} s" if self._seconds else "")
            if line != self._last:
                self._last = line
                self._stream.write(f"\r{line}\x1b[K")
                self._stream.flush()
