"""
An agent's records on their way to its server: in order, until it says it has them.

Rules of this file:

1. What is durable here is sent, and sent again until the server names a number: it knows what it has.
   `delivered` in the log's folder says where to go on; it is a hint, and losing it costs sending twice.
2. Segments that the server has whole are removed, after `delivered` is durable.
3. A server that refuses because it has less than was thought is sent from there, if it is still here. Else
   it is an alarm, and nothing is removed.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from strongroom.audit.adopted import chain_of
from strongroom.audit.follow import Position, position_of, read_on
from strongroom.audit.log import open_to_read, segments_of, sync_folder, why
from strongroom.audit.record import read_line
from strongroom.audit.verify import DELIVERED
from strongroom.errors import ConflictError, StrongroomError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from strongroom.audit.spool import Spool

    Deliver = Callable[[str, Sequence[bytes]], int]

__all__ = ["Delivery"]

_BATCH = 500
_BATCH_BYTES = 2_097_152  # 2 MiB, of what one request may hold
_GATHER_SECONDS = 1.0  # between two requests, unless the spool is getting full
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.5, 15.0
_STEP_SECONDS = 0.1  # so soon the end is noticed
_END_SECONDS = 5.0
_MAX_FILE_BYTES = 4096


class _Place(NamedTuple):
    """
    How far the server is.

    Args:
        chain: the name of the chain; "" before it has a record.
        seq: the last number it has; -1 for none.
    """

    chain: str
    seq: int


class Delivery:
    """
    Sends the records of one spool.

    Threads: has one of its own.

    Args:
        spool: whose.
        deliver: hands lines (without newlines) of the named chain to the server, and gives the last number
            it has then. Raises ConflictError where they do not follow what it has, with that number as
            `current_version`; StrongroomError where they could not be handed over.
        on_trouble: told in one sentence what is wrong, and when that is over.
    """

    def __init__(
        self, spool: Spool, deliver: Deliver, *, on_trouble: Callable[[str], None] = lambda _text: None
    ) -> None:
        self._spool = spool
        self._folder: Path = spool.folder
        self._deliver = deliver
        self._tell = on_trouble
        self._news = threading.Event()
        self._is_ended = False
        self._until = 0.0
        self._place: _Place | None = None
        self._position: Position | None = None
        self._trouble = ""
        self._since: float | None = None
        self._thread = threading.Thread(target=self._run, name="strongroom-delivery", daemon=True)

    def start(self) -> None:
        """Begin to send; `Spool.on_durable` calls `ring` from here on."""
        self._spool.on_durable = self.ring
        self._thread.start()

    def ring(self) -> None:
        """Hear that there are more durable records."""
        if not self._news.is_set():
            self._news.set()

    def close(self) -> None:
        """Send what there is, for a little while, and end. Safe to call twice."""
        self._until = time.monotonic() + _END_SECONDS
        self._is_ended = True
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(_END_SECONDS + 1)

    def status(self) -> Mapping[str, object]:
        """Tell how it stands: numbers, and what is wrong."""
        seq = -1 if self._place is None else self._place.seq
        since = self._since
        return {
            "delivered": seq + 1,
            "waiting": max(0, self._spool.durable - seq - 1),
            "oldest_seconds": 0.0 if since is None else round(time.monotonic() - since, 1),
            "delivery": self._trouble,
        }

    # --- sending -----------------------------------------------------------------------------------

    def _run(self) -> None:
        pause = _FIRST_WAIT_SECONDS
        while True:
            if not self._trouble:
                self._news.wait()
            self._news.clear()
            is_last = self._is_ended
            try:
                self.carry()
            except (StrongroomError, OSError, LookupError, ValueError) as error:
                self._note(_why(error))
                if is_last:
                    return
                # Not all hosts of a server at once when it is back.
                self._rest(pause * random.uniform(0.75, 1.25))  # noqa: S311 -- no secret
                pause = min(pause * 2, _LONGEST_WAIT_SECONDS)
                continue
            self._note("")
            pause = _FIRST_WAIT_SECONDS
            if is_last:
                return
            if not self._spool.is_filling:
                self._rest(_GATHER_SECONDS)

    def _rest(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._is_ended and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, _STEP_SECONDS))

    def carry(self) -> None:
        """
        Send what is durable and not there yet.

        Raises:
            StrongroomError: the server did not take it.
            OSError, LookupError, ValueError: the log cannot be read.
        """
        place = self._place or self._recall()
        while (until := self._spool.durable) > place.seq + 1:
            if self._since is None:
                self._since = time.monotonic()
            if not place.chain:
                place = self._place = _Place(self._name(), -1)
            lines, after = self._lines(place, until)
            if not lines:
                raise LookupError(f"record {place.seq + 1} is gone before the server had it")
            place = self._send(place, lines, after)
            if self._is_ended and time.monotonic() > self._until:
                return
        self._since = None

    def _lines(self, place: _Place, until: int) -> tuple[list[bytes], Position]:
        position = self._position
        if position is None or position.seq != place.seq + 1:
            position = position_of(self._folder, place.seq + 1)
            if position.seq != place.seq + 1:
                raise LookupError(f"record {place.seq + 1} is gone before the server had it")
        lines, after = read_on(self._folder, position, until, max_records=_BATCH)
        size = 0
        for number, line in enumerate(lines):
            size += len(line)
            if size > _BATCH_BYTES and number:
                kept = lines[:number]
                offset = after.offset - sum(map(len, lines[number:]))
                return kept, Position(after.seq - len(lines) + number, after.segment, offset)
        return lines, after

    def _send(self, place: _Place, lines: Sequence[bytes], after: Position) -> _Place:
        try:
            seq = self._deliver(place.chain, [line[:-1] for line in lines])
        except ConflictError as error:
            return self._gone_back(place, error)
        if seq >= self._spool.durable:
            raise ValueError(f"the server has record {seq} of this chain, which is not here")
        if seq <= place.seq:
            raise ValueError(f"the server says that it has record {seq} and no more")
        self._position = after if seq == after.seq - 1 else None
        place = _Place(place.chain, seq)
        self._keep(place)
        return place

    def _gone_back(self, place: _Place, error: ConflictError) -> _Place:
        """Go on where the server says it is, if that is before where it was thought to be."""
        with suppress(TypeError, ValueError):
            seq = int(str(error.current_version))
            if -1 <= seq < place.seq and int(segments_of(self._folder)[0][:-6]) <= seq + 1:
                self._position = None
                self._place = _Place(place.chain, seq)
                return self._place
        raise error

    # --- how far -----------------------------------------------------------------------------------

    def _name(self) -> str:
        """Give the name of this chain: it is that of its first record."""
        names = segments_of(self._folder)
        if not names or int(names[0][:-6]) != 0:
            raise LookupError("it is not known which chain this is: its beginning is gone")
        with open_to_read(self._folder / names[0]) as file:
            record = read_line(file.readline())
        if record is None:
            raise ValueError("the first record is damaged")
        return chain_of(record.hash)

    def _recall(self) -> _Place:
        try:
            with open_to_read(self._folder / DELIVERED) as file:
                found = json.loads(file.read(_MAX_FILE_BYTES))
            self._place = _Place(str(found["chain"]), int(found["seq"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            self._place = _Place("", -1)
        return self._place

    def _keep(self, place: _Place) -> None:
        self._place = place
        names = segments_of(self._folder)
        goes = len(names) > 1 and int(names[1][:-6]) <= place.seq + 1
        draft = self._folder / f".{DELIVERED}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
                file.write(json.dumps(place._asdict()).encode())
                if goes:
                    file.flush()
                    os.fsync(file.fileno())
            draft.replace(self._folder / DELIVERED)
        except OSError:
            # A full disk, where removing makes room: only the name of the chain must be known for that.
            if not (self._folder / DELIVERED).exists():
                raise
        if goes:
            sync_folder(self._folder)
            self._spool.let_go(place.seq)
            self._position = None  # it may end in a segment that is gone now

    def _note(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._tell(f"records are not delivered: {trouble}" if trouble else "records are delivered again")


def _why(error: Exception) -> str:
    if isinstance(error, OSError):
        return why(error)
    return str(error)
