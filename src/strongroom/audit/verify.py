"""
Prove a log whole, offline: with nothing but its folder, the public keys and copies of its checkpoints.

Rules of this file:

1. The first bad record is named. Where a chain was written anew, so that each of its lines fits, the signed
   roots tell that it was, and a file of hashes that matches such a root tells where it begins; without
   one the first record is named that no matching root covers.
2. What proves something is checked before it is believed: a checkpoint by its signature, a file of hashes by
   a signed root.
3. Nothing is written, no key is needed but public ones.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.audit import note
from strongroom.audit.log import (
    REPAIR,
    open_to_read,
    parse_head,
    read_head,
    reading,
    segments_of,
    shared,
)
from strongroom.audit.note import Checkpoint
from strongroom.audit.record import MAX_LINE_BYTES, ZERO, Verdict, read_line
from strongroom.audit.tree import HASH_BYTES, Frontier, HashFile, place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import BinaryIO

    from strongroom.audit.log import Tail
    from strongroom.audit.note import Verifier

__all__ = [
    "CHECKPOINTS",
    "DELIVERED",
    "KEPT",
    "KEYS",
    "Evidence",
    "Kept",
    "evidence_of",
    "parse_kept",
    "read_keys",
    "verify_log",
    "without_torn",
]

CHECKPOINTS = "checkpoints"  # notes, one after the other
KEYS = "keys"  # verifier keys, one a line
KEPT = "kept"  # a note: what was archived or removed from the beginning
DELIVERED = "delivered"  # of an agent's log: how far its server has it
_MAX_FILE_BYTES = 268_435_456  # 256 MiB of checkpoints: a million
_CHUNK_BYTES = 1_048_576
_TURN_MASK = 63  # every 64th record, about half a millisecond
_HASH_MEMBER = b',"hash":"'
_HASH_MEMBER_BYTES = len(_HASH_MEMBER) + 64 + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """
    Checkpoints that somebody holds.

    Args:
        name: who, for people.
        checkpoints: signed by keys that are trusted, by size.
        tree: a file of hashes beside them, or None.
        fault: what is wrong with the evidence itself, or "".
    """

    name: str
    checkpoints: tuple[Checkpoint, ...]
    tree: Path | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """
    Where a log begins whose older records were archived or removed.

    Args:
        origin: which log.
        prev: hash of the last record that is gone.
        tree: over all that are gone.
    """

    origin: str
    prev: str
    tree: Frontier

    def format(self) -> str:
        """Give the text that is signed."""
        roots = "".join(f"{root.hex()}\n" for root in self.tree.roots)
        return f"strongroom/kept/v1\n{self.origin}\n{self.tree.size}\n{self.prev}\n{roots}"


def parse_kept(text: str) -> Kept:
    """
    Read what `Kept.format` gives.

    Raises:
        ValueError: it is none.
    """
    mark, origin, size, prev, *roots = text.split("\n")[:-1]
    if mark != "strongroom/kept/v1" or len(prev) != len(ZERO):
        raise ValueError("this does not tell where a log begins")
    return Kept(origin, prev, Frontier(int(size), [bytes.fromhex(root) for root in roots]))


def read_keys(path: Path) -> tuple[Verifier, ...]:
    """
    Read verifier keys, one a line; () where there is no such file.

    Raises:
        ValueError: a line is none.
        OSError: it cannot be read.
    """
    try:
        with open_to_read(path) as file:
            text = file.read(_CHUNK_BYTES).decode()
    except FileNotFoundError:
        return ()
    return tuple(note.Verifier.parse(line) for line in text.splitlines() if line.strip())


def evidence_of(name: str, path: Path, keys: Sequence[Verifier], tree: Path | None = None) -> Evidence:
    """
    Read a file of checkpoints, whose signatures must be by one of *keys*.

    A note that a crash left half of at the end is passed over.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        with open_to_read(path) as file:
            data = file.read(_MAX_FILE_BYTES)
    except FileNotFoundError:
        return Evidence(name=name, checkpoints=(), tree=tree)
    whole = data[: data.rfind(b"\n") + 1]
    fault, good = "", []
    try:
        notes = note.parse_notes(without_torn(whole.decode()))
        for each in notes:
            if any(key.has_signed(each) for key in keys):
                good.append(note.parse_checkpoint(each))
            else:
                fault = "a checkpoint is not signed by a key that is known"
    except ValueError:
        fault = "the checkpoints are damaged"
    return Evidence(
        name=name, checkpoints=tuple(sorted(good, key=lambda each: each.size)), tree=tree, fault=fault
    )


def without_torn(text: str) -> str:
    """Give *text* without the note at its end that has no signature."""
    whole = text.rfind("\n— ")
    return text[: text.index("\n", whole + 1) + 1] if whole >= 0 else ""


def verify_log(
    folder: Path,
    *,
    evidence: Callable[[Sequence[Verifier]], Iterable[Evidence]] | None = None,
    keys: Sequence[Verifier] = (),
    progress: Callable[[int], None] | None = None,
) -> Verdict:
    """
    Check every record, the chain, the head, and every checkpoint; see the log as it stood when this began.

    Args:
        folder: of the log, or of a copy.
        evidence: gives what others hold, told which keys are trusted.
        keys: the trusted ones; () for those in the folder itself.
        progress: told the number of records checked, now and then.

    Raises:
        BackendUnavailableError: the log cannot be read, or a stopped process holds its lock.
    """
    with reading(folder):
        trust = _Trust(folder, keys)
        # Before the log itself: what is signed meanwhile covers more than is looked at.
        held = [evidence_of("the log's checkpoints", folder / CHECKPOINTS, trust.keys)]
        held += evidence(trust.keys) if evidence else ()
        with shared(folder):
            sizes = {name: (folder / name).stat().st_size for name in segments_of(folder)}
            head = read_head(folder / "head")
            trust.read_kept(folder)
        with ExitStack() as files:
            walk = _Walk(trust, held, None if head is None else parse_head(head), files)
            walk.progress = progress
            for name, size in walk.kept_of(sizes):
                with open_to_read(folder / name) as file:
                    walk.check_segment(file, size)
            walk.check_end(has_head=head is not None)
            return walk.verdict()


class _Trust:
    """Which keys are believed, and where the log begins by what they signed."""

    def __init__(self, folder: Path, keys: Sequence[Verifier]) -> None:
        self.fault = ""
        self.kept: Kept | None = None
        self.keys = tuple(keys)
        try:
            self.keys = self.keys or read_keys(folder / KEYS)
        except ValueError:
            self.fault = "the file of public keys is damaged"

    def read_kept(self, folder: Path) -> None:
        """Read where the log begins."""
        try:
            with open_to_read(folder / KEPT) as file:
                text = file.read(_CHUNK_BYTES).decode("utf-8", "replace")
        except FileNotFoundError:
            self._read_delivered(folder)
            return
        try:
            (found,) = note.parse_notes(text)
            if not any(key.has_signed(found) for key in self.keys):
                raise ValueError("not signed")  # noqa: TRY301 -- told with the others below
            self.kept = parse_kept(found.text)
        except ValueError:
            self.fault = "the account of what was archived or removed is not signed by a key that is known"

    def _read_delivered(self, folder: Path) -> None:
        """Read where an agent's log begins: what its server has is proven there, and gone here."""
        with suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            with open_to_read(folder / DELIVERED) as file:
                seq = int(json.loads(file.read(_CHUNK_BYTES))["seq"])
            name = segments_of(folder)[0]
            first = int(name[:-6])
            with open_to_read(folder / name) as file:
                record = read_line(file.readline(MAX_LINE_BYTES))
            if 0 < first <= seq + 1 and record is not None:
                # Nothing signs an agent's log, so nothing is asked of the tree before its first record.
                nothing = [bytes(HASH_BYTES)] * first.bit_count()
                self.kept = Kept("", record.prev, Frontier(first, nothing))


class _Hashes:
    """A file of hashes beside checkpoints, compared with the log as that is walked."""

    def __init__(self, file: BinaryIO, start: int) -> None:
        self.difference: int | None = None
        self._file = file
        self._is_compared = True
        file.seek(place_of(0, start) * HASH_BYTES)

    def compare(self, number: int, known: list[bytes]) -> None:
        if self._is_compared:
            expected = self._file.read(len(known) * HASH_BYTES)
            if expected != b"".join(known):
                self._is_compared = False
                if len(expected) == len(known) * HASH_BYTES:
                    self.difference = number

    def proves(self, checkpoint: Checkpoint, start: Frontier) -> bool:
        """Tell whether the leaves in the file are those of *checkpoint*."""
        tree, hashes = start.copy(), HashFile(self._file.fileno())
        try:
            while tree.size < checkpoint.size:
                tree.push(hashes.hash(0, tree.size))
        except ValueError:
            return False
        return tree.root() == checkpoint.root


class _Walk:
    """Walk the records from the first that is kept and stop at the first that is bad."""

    def __init__(self, trust: _Trust, held: Sequence[Evidence], head: Tail | None, files: ExitStack) -> None:
        # Only verifying needs msgspec; a process that reads one secret must not pay for it.
        from strongroom.audit import line  # noqa: PLC0415 -- reads of values do without
        from strongroom.audit.adopted import Chains  # noqa: PLC0415 -- as above

        self.progress: Callable[[int], None] | None = None
        self._decode, self._encode, self._broken = line.decode, line.encode, line.BROKEN
        kept = trust.kept
        self._kept = kept
        self._first = kept.tree.size if kept else 0
        self._start = kept.tree.copy() if kept else Frontier()
        self._tree = self._start.copy()
        self._prev = kept.prev if kept else ZERO
        self._origin_mark: str | None = kept.origin if kept else None
        self._count = self._first
        self._chains = Chains(is_whole=not self._first)
        self._head = head
        self._held = held
        self._hashes: dict[str, _Hashes] = {}
        self._due = sorted(
            ((each.size, name, each) for name, each in _all(held) if each.size >= self._first),
            key=lambda due: (-due[0], due[1]),
        )
        self._agreed = self._first
        self._good: dict[str, int] = {}
        self._index: int | None = None
        self._reason = trust.fault
        self._repairs: list[int] = []
        if self._reason:
            self._index = self._first
        for each in held:
            if each.tree is not None:
                with suppress(FileNotFoundError):
                    file = files.enter_context(open_to_read(each.tree))
                    self._hashes[each.name] = _Hashes(file, self._first)
        if kept and not self._reason:
            self._check_origins(kept.origin, is_whole=True)
            self._check_due()

    def kept_of(self, sizes: Mapping[str, int]) -> Iterable[tuple[str, int]]:
        """Give the segments without those that were let go, if a crash left any of them."""
        names = list(sizes)
        for name, following in zip_longest(names, names[1:], fillvalue=""):
            if not following or int(following[:-6]) > self._first:
                yield name, sizes[name]

    # --- records -----------------------------------------------------------------------------------

    def check_segment(self, file: BinaryIO, size: int) -> None:
        """Check the lines in the first *size* bytes; does nothing once something was bad."""
        rest = b""
        while size > 0 and not self._reason:
            data = file.read(min(size, _CHUNK_BYTES))
            if not data:
                return  # it became shorter while it was read: the head tells
            size -= len(data)
            lines = (rest + data).split(b"\n")
            rest = lines.pop()
            if not self._check_lines(lines):
                return
            if len(rest) > MAX_LINE_BYTES:
                self._fail(self._count, "this line is not a record")
            if rest.startswith(b"\0"):
                return  # room; what may stand in it behind NULs was written by nobody who had an answer
        # What is left is torn by a crash, or cut: the head tells which.

    def _check_lines(self, lines: Sequence[bytes]) -> bool:  # noqa: C901, PLR0911, PLR0912 -- one loop, for speed
        decode, encode, broken, sha256 = self._decode, self._encode, self._broken, hashlib.sha256
        push, hashes = self._tree.push, tuple(self._hashes.values())
        head_seq = -1 if self._head is None else self._head.seq
        for line in lines:
            number = self._count
            try:
                record: Any = decode(line)
                is_canonical = encode(record) == line
            except broken:
                return self._fail_after_room(line, number)
            at = line.index(_HASH_MEMBER)
            if not is_canonical:
                return self._fail(number, "this line is not canonical")
            if record.seq != number:
                return self._fail(number, "a record is missing here, or stands in the wrong place")
            if record.prev != self._prev:
                return self._fail(number, "this record does not follow the one before")
            if sha256(line[:at] + line[at + _HASH_MEMBER_BYTES :]).hexdigest() != record.hash:
                return self._fail(number, "this record was changed")
            if number == head_seq and self._head is not None and self._head.hash != record.hash:
                return self._fail(number, "the head file names another record here")
            if record.agent:
                fault = self._chains.fault(record)
                if fault:
                    return self._fail(number, fault)
            elif record.action == REPAIR and not self._takes_repair(record):
                return False
            known = push(sha256(b"\x00" + line + b"\n").digest())
            for each in hashes:
                each.compare(number, known)
            if number == 0:
                self._check_origins(record.hash[:16], is_whole=False)
            self._prev = record.hash
            self._count = number + 1
            if self._due and self._due[-1][0] <= number + 1:
                self._check_due()
            if self._reason:
                return False
            if not number & _TURN_MASK:
                time.sleep(0)  # a server that verifies goes on answering
                if self.progress is not None:
                    self.progress(self._count - self._first)
        return True

    def _fail_after_room(self, line: bytes, number: int) -> bool:
        if line.startswith(b"\0"):
            return False  # behind the room: a machine went down before it wrote what comes first
        return self._fail(number, "this line is not a record")

    def _takes_repair(self, record: Any) -> bool:  # noqa: ANN401 -- any shape there may be
        if record.outcome != "done":
            return self._fail(record.seq, str(record.reason))
        self._repairs.append(record.seq)
        return True

    def _fail(self, index: int, reason: str) -> bool:
        """Note the first fault, or an earlier one that a file of hashes tells of; give False."""
        earlier, why = self._earlier(index)
        self._index, self._reason = (earlier, why) if earlier < index else (index, reason)
        return False

    def _earlier(self, index: int) -> tuple[int, str]:
        """Give the first record before *index* that was written anew, by what roots prove; or *index*."""
        found = index
        for each in self._held:
            hashes = self._hashes.get(each.name)
            if hashes is None or hashes.difference is None or hashes.difference >= found:
                continue
            covering = [one for one in each.checkpoints if one.size > hashes.difference]
            if any(hashes.proves(one, self._start) for one in covering[:1]):
                found = hashes.difference
        return found, "this record is another than the one that was signed"

    # --- checkpoints -------------------------------------------------------------------------------

    def _check_origins(self, mark: str, *, is_whole: bool) -> None:
        for name, each in _all(self._held):
            found = each.origin if is_whole else each.origin.rpartition("/")[2]
            if found != mark:
                self._fail(self._first, f"this is another log than the one in {name}")
                return

    def _check_due(self) -> None:
        while self._due and self._due[-1][0] <= self._count:
            size, name, checkpoint = self._due.pop()
            if size == self._count and checkpoint.root != self._tree.root():
                self._differ(name, checkpoint)
                return
            self._agreed = max(self._agreed, size)
            self._good[name] = self._good.get(name, 0) + 1

    def _differ(self, name: str, checkpoint: Checkpoint) -> None:
        earlier, why = self._earlier(checkpoint.size)
        if earlier < checkpoint.size:
            self._index, self._reason = earlier, why
            return
        self._index = self._agreed
        until = checkpoint.size - 1
        one = f"record {until}" if until == self._agreed else f"one of the records {self._agreed} to {until}"
        self._reason = f"{one} is another than the one that was signed, by {name}"

    # --- the end -----------------------------------------------------------------------------------

    def check_end(self, *, has_head: bool) -> None:
        """Check what must follow the last record, and the evidence itself."""
        if self._reason:
            return
        if self._due:
            size, name, _ = self._due[-1]
            for due in self._due:
                size, name = max((size, name), due[:2])
            self._fail(self._count, f"the log is cut off: {name} covers {size} records")
            return
        self._check_head(has_head=has_head)
        for each in self._held:
            if each.fault and not self._reason:
                self._fail(self._count, f"{each.name}: {each.fault}")

    def _check_head(self, *, has_head: bool) -> None:
        if not has_head and self._count == 0:
            return
        if self._head is None:
            reason = "the head file is damaged" if has_head else "the head file is missing"
            self._fail(self._count, reason)
        elif self._head.seq >= self._count:
            self._fail(self._count, f"the log is cut off: the head file names record {self._head.seq}")

    def verdict(self) -> Verdict:
        is_ok = not self._reason
        end = self._count if is_ok or self._index is None else self._index
        return Verdict(
            is_ok=is_ok,
            count=end - self._first,
            index=None if is_ok else end,
            reason=self._reason,
            repairs=tuple(self._repairs),
            first=self._first,
            signed=self._agreed if self._good else 0,
            checkpoints=sum(self._good.values()),
            witnesses=tuple(each.name for each in self._held[1:]),
        )


def _all(held: Iterable[Evidence]) -> Iterable[tuple[str, Checkpoint]]:
    return ((each.name, checkpoint) for each in held for checkpoint in each.checkpoints)
