"""
Replace secrets by `***` in text that is about to leave: log records, the output of a child process.

A seat belt, not a wall: it finds the exact values and a closed list of their encodings
(docs/masking.md), nothing else. It is not a reason to log a secret.

Rules of this file:

1. Every occurrence of every pattern is covered whole. Where occurrences overlap or touch, all of
   them become one `***`. (Leftmost-longest alone would leave the tail of a second secret that
   begins inside a first one.)
2. Time is linear in the text, whatever the text and the secrets are. The automaton knows only the
   first 8 bytes of each pattern and finds the places to look at; the whole pattern is compared
   there. That keeps it in the processor's cache and quick to build. It is a contiguous NFA, never
   the DFA, which takes hundreds of megabytes.
3. No pattern is longer than 255 bytes: a longer one is cut into blocks, each masked by itself, so
   that a stream holds back little, and a secret cut short by a log's line limit is covered too.
4. A stream holds back only what may be the beginning of a secret, so prompts stay visible.
5. Work is done on UTF-8 bytes: positions need no translation, and bytes are masked as easily.
"""

from __future__ import annotations

import re
import traceback
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from ahocorasick_rs import BytesAhoCorasick, Implementation, MatchKind

from strongroom.errors import InvalidInputError
from strongroom.model.encoding import MINIMUM_CHARACTERS, TRIVIAL_VALUES, is_maskable, patterns_of

__all__ = [
    "MASK",
    "MINIMUM_CHARACTERS",
    "TRIVIAL_VALUES",
    "BytesMaskingStream",
    "Masker",
    "MaskingFilter",
    "MaskingStream",
]

MASK = "***"
_HEAD_BYTES = 8  # measured: 6 gives false candidates in ordinary logs, 12 a larger automaton
_MAX_DEPTH = 5  # of containers in a log record; Airflow's own limit
_ENCODING_ERRORS = "surrogatepass"  # file names and argv may hold lone surrogates

_Span = tuple[int, int]
_NO_SPANS: list[_Span] = []


class Masker:
    """
    Mask a fixed set of secrets and their encodings.

    Building takes about 30 µs a secret; build one when the set changes, not per line.
    Threads: immutable, shared freely.

    Args:
        secrets: plaintexts; repeats and empty ones are ignored.
        minimum: fewest characters of a value that is masked. A shorter one occurs in ordinary text
            by chance, and masking it would make logs unreadable without hiding it.

    Attributes:
        masked: how many of the values given are masked.
        unmasked: how many are not: shorter than *minimum*, in `TRIVIAL_VALUES`, or a number of up
            to 5 digits.
        patterns: how many byte strings are looked for.

    Raises:
        InvalidInputError: *minimum* is below 1.
    """

    __slots__ = (
        "_automaton", "_lengths", "_line_ends", "_patterns", "_sorted", "masked", "patterns", "unmasked",
    )  # fmt: skip

    def __init__(self, secrets: Iterable[str], *, minimum: int = MINIMUM_CHARACTERS) -> None:
        if minimum < 1:
            raise InvalidInputError("the fewest characters of a masked value must be at least 1", limit=1)
        values = {text for text in (secret.strip() for secret in secrets) if text}
        wanted = [value for value in values if is_maskable(value, minimum)]
        self.masked = len(wanted)
        self.unmasked = len(values) - len(wanted)
        found = patterns_of(wanted, minimum)
        self._patterns = frozenset(found)
        self._sorted = sorted(found)
        self.patterns = len(found)
        self._line_ends = _line_ends(found)
        lengths: defaultdict[bytes, set[int]] = defaultdict(set)
        for pattern in found:
            lengths[pattern[:_HEAD_BYTES]].add(len(pattern))
        # By index of the head: the lengths to try there, longest first.
        self._lengths = [tuple(sorted(of_head, reverse=True)) for of_head in lengths.values()]
        self._automaton = BytesAhoCorasick(
            list(lengths), matchkind=MatchKind.Standard, implementation=Implementation.ContiguousNFA
        )

    def __repr__(self) -> str:
        return f"Masker(masked={self.masked}, unmasked={self.unmasked})"

    def mask(self, text: str) -> str:
        """Give *text* with every secret replaced by `***`; the same object when there is none."""
        data = text.encode("utf-8", _ENCODING_ERRORS)
        spans = self._cover(data)
        if not spans:
            return text
        return _replace(data, spans).decode("utf-8", _ENCODING_ERRORS)

    def mask_bytes(self, data: bytes) -> bytes:
        """Give *data* with every secret replaced by `***`. Text in it is taken for UTF-8."""
        spans = self._cover(data)
        return _replace(data, spans) if spans else data

    def _cover(self, data: bytes) -> list[_Span]:
        """Give the spans to replace: ordered, neither overlapping nor touching."""
        candidates = self._automaton.find_matches_as_indexes(data, overlapping=True)
        return self._confirm(data, candidates) if candidates else []

    def _confirm(self, data: bytes, candidates: Iterable[tuple[int, int, int]]) -> list[_Span]:
        size = len(data)
        spans: list[_Span] = []
        for head, start, _ in candidates:
            for length in self._lengths[head]:
                end = start + length
                if end <= size and data[start:end] in self._patterns:
                    spans.append((start, end))
                    break  # the longest at this place covers the others
        return _merge(spans)

    def _scan(self, data: bytes) -> tuple[list[_Span], int]:
        """Give the spans and where the longest suffix begins that may still become a secret."""
        candidates = self._automaton.find_matches_as_indexes(data, overlapping=True)
        if not candidates:
            return _NO_SPANS, self._short_beginning(data)
        size = len(data)
        spans = self._confirm(data, candidates)
        for head, start, _ in sorted(candidates, key=_start):
            if start + self._lengths[head][0] > size and self._is_beginning(data[start:]):
                return spans, start
        return spans, self._short_beginning(data)

    def _short_beginning(self, data: bytes) -> int:
        """Give where the longest suffix shorter than a head begins that begins a pattern, or the end."""
        size = len(data)
        # Nearly every line of a log ends here: after a newline only a multi-line secret can go on.
        if data[-1:] == b"\n" and (
            not self._line_ends or self._line_ends.isdisjoint((data[-2:], data[-3:], data[-4:]))
        ):
            return size
        for start in range(max(0, size - _HEAD_BYTES + 1), size):
            if self._is_beginning(data[start:]):
                return start
        return size

    def _is_beginning(self, suffix: bytes) -> bool:
        # In byte order, what begins with *suffix* and is longer follows it at once.
        after = bisect_right(self._sorted, suffix)
        return after < len(self._sorted) and self._sorted[after].startswith(suffix)


class BytesMaskingStream:
    """
    Mask bytes that arrive in pieces, secrets across pieces included.

    What may be the beginning of a secret is held back (at most 254 bytes) until more arrives or
    `flush`; everything else leaves at once. The pieces joined equal the whole masked at once.
    Threads: one stream has one writer.
    """

    __slots__ = ("_after_mask", "_masked", "_masker", "_pending")

    def __init__(self, masker: Masker) -> None:
        self._masker = masker
        self._pending = b""
        self._masked = 0  # so many bytes at the start of `_pending` have left already, as part of a mask
        self._after_mask = False  # the last thing that left is a mask, and nothing stood after it

    def feed(self, piece: bytes) -> bytes:
        """Take the next piece and give what may leave now, possibly nothing."""
        data = self._pending + piece if self._pending else piece
        spans, hold = self._masker._scan(data)  # noqa: SLF001 -- two halves of one thing
        if data and hold == len(data) and not spans and not self._masked:
            self._pending, self._after_mask = b"", False  # nearly every line: nothing found, nothing held
            return data
        return self._render(data, spans, hold)

    def flush(self) -> bytes:
        """Give what was held back: nothing more follows. The stream may then be used anew."""
        data = self._pending
        rest = self._render(data, self._masker._cover(data), len(data))  # noqa: SLF001 -- as above
        self._after_mask = False
        return rest

    def _render(self, data: bytes, spans: list[_Span], hold: int) -> bytes:
        out: list[bytes] = []
        position, after_mask = self._masked, self._after_mask
        for start, end in spans:
            if start > hold:
                break
            if start > position:
                out.append(data[position:start])
                after_mask = False
            if not after_mask:
                out.append(_MASK_BYTES)
                after_mask = True
            position = max(position, end)
        if position < hold:
            out.append(data[position:hold])
            position, after_mask = hold, False
        self._pending, self._masked, self._after_mask = data[hold:], position - hold, after_mask
        return b"".join(out)


class MaskingStream:
    """As `BytesMaskingStream`, for text."""

    __slots__ = ("_bytes",)

    def __init__(self, masker: Masker) -> None:
        self._bytes = BytesMaskingStream(masker)

    def feed(self, piece: str) -> str:
        """Take the next piece and give what may leave now, possibly nothing."""
        # A pattern never begins or ends inside a character of UTF-8, so neither do the pieces.
        out = self._bytes.feed(piece.encode("utf-8", _ENCODING_ERRORS))
        return out.decode("utf-8", _ENCODING_ERRORS)

    def flush(self) -> str:
        """Give what was held back: nothing more follows. The stream may then be used anew."""
        return self._bytes.flush().decode("utf-8", _ENCODING_ERRORS)


class _Record(Protocol):
    """What we touch of a `logging.LogRecord` (the model knows no logging)."""

    msg: object
    args: object
    exc_info: object
    exc_text: str | None
    stack_info: str | None

    def getMessage(self) -> str: ...  # noqa: N802 -- logging's own name


class MaskingFilter:
    """
    A filter for `logging` handlers: it changes records so that no formatter can print a secret.

    Put it on handlers: a logger's filters do not see what its children log. The message is
    formatted here and the arguments dropped; the traceback is formatted here, chain and notes
    included, and the exception dropped, because a formatter would print it anew. The exception
    itself is left alone: a log line must not change the program. A record that cannot be formatted
    keeps its masked template and loses its arguments.

    Args:
        masker: whose secrets are hidden; may be replaced by assignment while in use.
    """

    def __init__(self, masker: Masker) -> None:
        self.masker = masker

    def filter(self, record: _Record) -> bool:
        """Mask *record* in place and let it pass, always. Masking twice changes nothing."""
        mask = self.masker.mask
        if isinstance(record.msg, Mapping) and not record.args:
            record.msg = self._masked(record.msg, depth=0)  # structlog hands its event over as a mapping
        else:
            record.msg = mask(_message(record))
        record.args = ()
        if record.exc_info:
            record.exc_text = record.exc_text or _traceback(record.exc_info)
            record.exc_info = None
        record.exc_text = mask(record.exc_text) if record.exc_text else record.exc_text
        record.stack_info = mask(record.stack_info) if record.stack_info else record.stack_info
        fields = record.__dict__
        for name in fields.keys() - _STANDARD_FIELDS:
            fields[name] = self._masked(fields[name], depth=0)
        return True

    def _masked(self, value: object, *, depth: int) -> object:
        """Give *value* masked; only what would show a secret becomes another type (text)."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self.masker.mask(value)
        if isinstance(value, (bytes, bytearray)):
            return self.masker.mask_bytes(bytes(value))
        if isinstance(value, (Mapping, list, tuple, set, frozenset)):
            return self._masked_container(value, depth=depth + 1) if depth < _MAX_DEPTH else MASK
        return self._masked_object(value)

    def _masked_container(self, value: Mapping[object, object] | Collection[object], *, depth: int) -> object:
        if isinstance(value, Mapping):
            return {
                self._masked(key, depth=_MAX_DEPTH): self._masked(item, depth=depth)
                for key, item in value.items()
            }
        items = [self._masked(item, depth=depth) for item in value]
        return tuple(items) if isinstance(value, tuple) else items

    def _masked_object(self, value: object) -> object:
        try:
            shown = f"{value!s}\n{value!r}"
        except Exception:  # noqa: BLE001 -- __str__ of a stranger may raise anything
            return MASK
        masked = self.masker.mask(shown)
        return value if masked == shown else masked.partition("\n")[0]


_MASK_BYTES = MASK.encode()
_STANDARD_FIELDS = frozenset(
    # Handled above, or written by logging itself from names in the program.
    "name msg args levelname levelno pathname filename module exc_info exc_text stack_info lineno "  # noqa: SIM905
    "funcName created msecs relativeCreated thread threadName processName process taskName".split()
)


# --- what is looked for ------------------------------------------------------------------------


def _line_ends(patterns: Iterable[bytes]) -> frozenset[bytes]:
    """Give up to 4 bytes that end in each newline inside a pattern."""
    return frozenset(
        pattern[max(0, newline.start() - 3) : newline.end()]
        for pattern in patterns
        if b"\n" in pattern
        for newline in re.finditer(rb"\n", pattern)
    )


# --- spans -------------------------------------------------------------------------------------


def _start(candidate: tuple[int, int, int]) -> int:
    return candidate[1]


def _merge(spans: list[_Span]) -> list[_Span]:
    spans.sort()
    merged: list[_Span] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _replace(data: bytes, spans: list[_Span]) -> bytes:
    out: list[bytes] = []
    position = 0
    for start, end in spans:
        out += (data[position:start], _MASK_BYTES)
        position = end
    out.append(data[position:])
    return b"".join(out)


# --- log records -------------------------------------------------------------------------------


def _message(record: _Record) -> str:
    try:
        return str(record.getMessage())
    except Exception:  # noqa: BLE001 -- the arguments' __str__ and a wrong template raise anything
        template = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        return f"{template} [arguments withheld: the record cannot be formatted]"


def _traceback(exc_info: object) -> str:
    error = exc_info[1] if isinstance(exc_info, tuple) and len(exc_info) == 3 else exc_info  # noqa: PLR2004 -- type, value, traceback
    if not isinstance(error, BaseException):
        return "NoneType: None"
    try:
        return "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip("\n")
    except Exception:  # noqa: BLE001 -- as in _message
        return f"{type(error).__name__} [traceback withheld: it cannot be formatted]"
