"""
What a long-running process says of itself, one JSON object a line on the error stream.

Rules of this file:

1. No line holds a value, a body, a query, a token or the text of a foreign exception: of an exception
   that nobody expected, the class and the places in the code, without what variables held.
2. Whoever reads the lines slowly holds nobody up: beyond a bound they are dropped and counted.
"""

from __future__ import annotations

import logging
import queue
import re
import sys
import threading
from datetime import datetime, timezone
from types import MappingProxyType
from typing import TYPE_CHECKING, TextIO

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LEVELS", "Journal", "JsonFormatter", "scrubbed", "where"]

_OURS = "strongroom"  # what the store and the vendors below us tell
_MAX_WAITING = 10_000  # lines
_MAX_FRAMES = 12
# What stands before the last @ of an address is a credential, whoever wrote it there and whatever he left
# unescaped in it; so is a token of ours.
_USERINFO = re.compile(r"(?<=://)\S+@")
_TOKEN = re.compile(r"srm_[A-Za-z0-9_-]{4,}")
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def scrubbed(text: str) -> str:
    """Give *text* as one printable line without credentials in addresses and without tokens."""
    if "://" in text:
        text = _USERINFO.sub("***@", text)
    if "srm_" in text:
        text = _TOKEN.sub("srm_***", text)
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text)


def where(error: BaseException) -> list[str]:
    """Give the places *error* came through, innermost last: file and line, nothing of what stood there."""
    found = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        file = code.co_filename.rpartition("/")[2]
        found.append(f"{file}:{step.tb_lineno} {code.co_name}")
        step = step.tb_next
    return found[-_MAX_FRAMES:]


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: `at`, `level`, `event` and what it says beside."""

    def format(self, record: logging.LogRecord) -> str:
        members: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": scrubbed(record.getMessage().strip()),
        }
        beside = getattr(record, "beside", None)
        if beside:
            members |= {
                name: scrubbed(value) if isinstance(value, str) else value for name, value in beside.items()
            }
        if record.exc_info and record.exc_info[1] is not None:
            members["error"] = type(record.exc_info[1]).__name__
            members["where"] = where(record.exc_info[1])
        return msgspec.json.encode(members).decode()


class _Waiting(logging.Handler):
    """Hand records to a thread that writes them; drop and count what is too much."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self._stream = stream
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="strongroom log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if self._lines.qsize() >= _MAX_WAITING:
            self._dropped += 1
            return
        self._lines.put(self.format(record))

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            dropped, self._dropped = self._dropped, 0
            try:
                if dropped:
                    self._stream.write(
                        f'{{"level":"warning","event":"lines were dropped","count":{dropped}}}\n'
                    )
                self._stream.write(line + "\n")
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):  # nobody reads them any more
                return

    def close(self) -> None:
        self._lines.put(None)
        self._thread.join(2.0)
        super().close()


class Journal:
    """
    The log of one process.

    Args:
        level: debug, info, warning or error.
        stream: where the lines go.
        name: of who speaks.
        engines: loggers of what runs underneath, and whether each writes here itself; they are quieter.

    Attributes:
        is_quiet: whether what ordinarily happens is not logged.
    """

    def __init__(
        self,
        level: str = "info",
        *,
        stream: TextIO | None = None,
        name: str = _OURS,
        engines: Mapping[str, bool] = MappingProxyType({"asyncio": True}),
    ) -> None:
        self._name = name
        self._engines = dict(engines)
        self._handler = _Waiting(stream or sys.stderr)
        for engine, writes in self._engines.items():
            other = logging.getLogger(engine)
            other.handlers = [self._handler] if writes else []
            other.propagate = not writes
        logging.getLogger(_OURS).addHandler(self._handler)
        self.level = level

    @property
    def level(self) -> str:
        """How much is logged; may be changed while the process runs."""
        return self._level

    @level.setter
    def level(self, level: str) -> None:
        self._level = level
        for engine in self._engines:
            # What the engine tells of its own doings is for debugging.
            logging.getLogger(engine).setLevel(max(LEVELS[level], logging.WARNING))
        self.is_quiet = LEVELS[level] > logging.INFO

    def say(self, event: str, *, level: str = "info", **beside: object) -> None:
        """Log *event* with what stands *beside*; names of things, never values."""
        number = LEVELS[level]
        if number >= LEVELS[self._level]:
            # Not by a logger of the process: two servers in one would write into one another's.
            told = {"name": self._name, "levelno": number, "levelname": level, "msg": event, "beside": beside}
            self._handler.handle(logging.makeLogRecord(told))

    def close(self) -> None:
        """Write what waits, and stop."""
        for engine, writes in self._engines.items():
            if writes:
                logging.getLogger(engine).handlers = []
        logging.getLogger(_OURS).removeHandler(self._handler)
        self._handler.close()
