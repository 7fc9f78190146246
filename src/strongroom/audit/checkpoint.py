"""
Sign the log: a checkpoint over the tree of its lines, made by a key that signs nothing that contradicts it.

Beside the private key (0600) stand the public one (`.pub`), what was signed last (`.state`) and the hashes
of the tree (`.tree`): on another disk than the log, if the operator puts the key there.

Rules of this file:

1. The log is read on from where the last checkpoint ended, and must go on there: by number, by the hash of
   the record before, each line by its own. What does not fit is not signed, and stays unsigned.
2. A key signs one log: its name holds the first record's hash. It is made with the first checkpoint, never
   beside checkpoints that another key made.
3. What was signed is kept beside the key before it is shown to anybody.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from strongroom.audit import line as lines
from strongroom.audit import note
from strongroom.audit.follow import Position, durable, position_of, read_on
from strongroom.audit.log import close_file, open_to_read, sync_folder, why
from strongroom.audit.note import Checkpoint, Note, Signer
from strongroom.audit.record import ZERO, digest_of, stamp
from strongroom.audit.tree import HASH_BYTES, Frontier, HashFile, leaf_of, place_of
from strongroom.audit.verify import CHECKPOINTS, KEYS, Evidence, read_keys, without_torn
from strongroom.errors import BackendConfigError, TamperedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

__all__ = ["Keeper", "Signed", "evidence_beside", "last_in", "latest_in", "public_of", "write_private"]

_MAX_FILE_BYTES = 1_048_576
_MAX_AT_ONCE = 100_000  # records between two checkpoints


class Signed(NamedTuple):
    """
    What was signed last, and what is needed to go on.

    Args:
        note: the checkpoint as it was signed.
        prev: hash of the last record it covers.
        tree: over all that it covers.
        position: behind the last record.
    """

    note: Note
    prev: str
    tree: Frontier
    position: Position

    @property
    def checkpoint(self) -> Checkpoint:
        """What it says."""
        return note.parse_checkpoint(self.note)


class Keeper:
    """
    The signing key of one log.

    Args:
        folder: of the log.
        key: the file of the private key.
        deployment: for the key's name.
        clock: wall clock, UTC.

    Threads: one at a time. Processes: the key file is locked while one signs.
    """

    def __init__(self, folder: Path, key: Path, *, deployment: str, clock: Callable[[], datetime]) -> None:
        self.folder = folder
        self.key = key
        self.deployment = deployment
        self._clock = clock
        self._last: Signed | None = None

    @property
    def tree(self) -> Path:
        """The file of hashes."""
        return self.key.with_name(self.key.name + ".tree")

    @property
    def last(self) -> Signed | None:
        """What was signed last, as far as is known here."""
        return self._last

    def pending(self) -> int:
        """
        Give how many durable records no checkpoint covers.

        Raises:
            TamperedError: the head file is damaged.
        """
        try:
            return durable(self.folder) - (self._last.tree.size if self._last else 0)
        except ValueError:
            raise TamperedError("the head file of the audit log is damaged") from None

    def sign(self) -> Signed | None:
        """
        Sign what is durable; gives what was signed last where nothing is new, None of an empty log.

        Raises:
            TamperedError: the log does not go on where the last checkpoint ended; nothing was signed.
            BackendConfigError: key, state or log cannot be read or written.
        """
        try:
            with self._locked() as signer:
                return self._sign(signer)
        except OSError as error:
            raise self._unsigned(error) from None
        except LookupError:
            raise TamperedError("a segment that no checkpoint covers is gone from the audit log") from None
        except ValueError as error:
            raise TamperedError(f"the audit log was not signed: {error}") from None

    def sign_text(self, text: str) -> Note:
        """
        Sign something else than a checkpoint: what was let go of the log. Its first line must tell it apart.

        Raises:
            BackendConfigError: there is no key, or it cannot be used now: another process signs.
        """
        try:
            with self._locked() as signer:
                if signer is None:
                    raise BackendConfigError("no checkpoint was signed yet")
                return signer.sign(text)
        except OSError as error:
            raise self._unsigned(error) from None

    def _unsigned(self, error: OSError) -> BackendConfigError:
        return BackendConfigError(
            f"the audit log in {self.folder} cannot be signed ({why(error)})",
            hint=f"look at {self.key} and the files beside it",
        )

    # --- signing -----------------------------------------------------------------------------------

    def _sign(self, signer: Signer | None) -> Signed | None:
        last = self._last = self._load(signer)
        end = durable(self.folder)
        if end < (last.tree.size if last else 0):
            raise TamperedError(
                f"the audit log has {end} records, and {last.tree.size if last else 0} were signed"
            )
        while last is None or last.tree.size < end:
            if not end:
                return None
            # A log that was never signed may be of any length; what is known of it is kept piece by piece.
            size = last.tree.size if last else 0
            signer, last = self._sign_on(signer, last, min(end, size + _MAX_AT_ONCE))
        return last

    def _sign_on(self, signer: Signer | None, last: Signed | None, end: int) -> tuple[Signer, Signed]:
        size = last.tree.size if last else 0
        tree, prev, position, hashes = self._read_on(last, end)
        signer = signer or self._new_key()
        if signer.name != self._origin():
            raise TamperedError(
                "this key signed another audit log", hint="name a key of its own: audit.checkpoint.key"
            )
        checkpoint = Checkpoint(signer.name, tree.size, tree.root(), stamp(self._clock()))
        signed = Signed(signer.sign(checkpoint.format()), prev, tree, position)
        self._show_key(signer)
        self._keep(signed, size, hashes)
        self._publish(signed)
        self._last = signed
        return signer, signed

    def _read_on(self, last: Signed | None, end: int) -> tuple[Frontier, str, Position, bytes]:
        tree = last.tree.copy() if last else Frontier()
        prev = last.prev if last else ZERO
        position = last.position if last else position_of(self.folder, 0)
        if position.segment and not (self.folder / position.segment).exists():
            position = position_of(self.folder, tree.size)  # its segment was archived
        known: list[bytes] = []
        while position.seq < end:
            found, position = read_on(self.folder, position, end)
            if not found:
                raise ValueError("the log ends before its head file says so")
            for each in found:
                prev = _follows(each, tree.size, prev)
                known += tree.push(leaf_of(each))
        if tree.size != end:
            raise ValueError(f"record {tree.size} is missing")
        return tree, prev, position, b"".join(known)

    def _origin(self) -> str:
        """Give the name of this log: it holds the hash of its first record."""
        if self._last is not None:
            return self._last.checkpoint.origin
        found, _ = read_on(self.folder, position_of(self.folder, 0), 1, max_records=1)
        if not found:
            raise ValueError("the first record is gone")
        return f"strongroom/{self.deployment}/{digest_of(found[0][:-1])[:16]}"

    # --- what stands beside the key ----------------------------------------------------------------

    @contextmanager
    def _locked(self) -> Iterator[Signer | None]:
        """Hold the key file; gives the key in it, None where there is none yet."""
        self.key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._beside(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise OSError(errno.EBUSY, "another process signs") from None
            yield self._read_key()
        finally:
            os.close(file)

    def _read_key(self) -> Signer | None:
        try:
            file = os.open(self.key, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        with os.fdopen(file, "rb") as opened:
            found = os.fstat(file)
            if (
                not stat.S_ISREG(found.st_mode)
                or found.st_mode & 0o077
                or found.st_uid not in (0, os.geteuid())
            ):
                raise BackendConfigError(
                    f"the signing key {self.key} is open to others, or somebody else's",
                    hint=f"chmod 600 {self.key}",
                )
            text = opened.read(4096)
        try:
            return Signer.parse(text.decode("ascii"))
        except ValueError:
            raise BackendConfigError(
                f"the signing key {self.key} is damaged", hint="bring it back from a copy"
            ) from None

    def _new_key(self) -> Signer:
        if (self.folder / CHECKPOINTS).exists() or self._beside(".state").exists():
            raise BackendConfigError(
                f"this audit log was signed before, and the key {self.key} is gone",
                hint="bring it back; no other one is made beside checkpoints",
            )
        signer = note.new_signer(self._origin())
        # Whole or not at all, and never over another one. Under a name of its own: killed after the link, it
        # is another name of the key, which must not be written to.
        draft = self._beside(".new")
        draft.unlink(missing_ok=True)
        write_private(draft, f"{signer.format()}\n".encode(), os.O_TRUNC)
        os.link(draft, self.key)
        draft.unlink()
        sync_folder(self.key.parent)
        return signer

    def _show_key(self, signer: Signer) -> None:
        """Put the public half beside the key and into the folder of the log, where it is missing."""
        public = f"{signer.verifier.format()}\n".encode()
        for path in (self._beside(".pub"), self.folder / KEYS):
            known = path.read_bytes() if path.exists() else b""
            if public not in known:
                self._beside(".new").unlink(missing_ok=True)  # see `_new_key`
                draft = path.with_name(f".{path.name}.draft")
                write_private(draft, known + public, os.O_TRUNC)
                draft.replace(path)
                sync_folder(path.parent)

    def _load(self, signer: Signer | None) -> Signed | None:
        """Read what was signed last, which must be by this key."""
        try:
            with open_to_read(self._beside(".state")) as file:
                found = json.loads(file.read(_MAX_FILE_BYTES))
        except FileNotFoundError:
            if signer is not None and (self.folder / CHECKPOINTS).exists():
                raise TamperedError(
                    f"what was signed last is gone from beside {self.key}", hint="bring it back with the key"
                ) from None
            return None
        (said,) = note.parse_notes(found["note"])
        tree = Frontier(found["size"], [bytes.fromhex(root) for root in found["roots"]])
        signed = Signed(said, found["prev"], tree, Position(tree.size, found["segment"], found["offset"]))
        checkpoint = signed.checkpoint
        if signer is None or not signer.verifier.has_signed(said):
            raise TamperedError(f"what stands beside {self.key} was not signed by it")
        if (checkpoint.size, checkpoint.root) != (tree.size, tree.root()):
            raise TamperedError(f"what stands beside {self.key} does not fit what was signed")
        return signed

    def _keep(self, signed: Signed, size: int, hashes: bytes) -> None:
        """Keep *signed* beside the key; the tree first, so that it is never behind."""
        file = os.open(self.tree, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # One that is behind was lost with its disk: only roots are left then, and no proof.
            if os.fstat(file).st_size >= place_of(0, size) * HASH_BYTES:
                HashFile(file).write(size, hashes)
                os.fsync(file)
        finally:
            os.close(file)
        state = {
            "note": signed.note.format(),
            "offset": signed.position.offset,
            "prev": signed.prev,
            "roots": [root.hex() for root in signed.tree.roots],
            "segment": signed.position.segment,
            "size": signed.tree.size,
        }
        draft = self._beside(".draft")
        write_private(draft, json.dumps(state).encode(), os.O_TRUNC)
        draft.replace(self._beside(".state"))
        sync_folder(self.key.parent)

    def _publish(self, signed: Signed) -> None:
        write_private(self.folder / CHECKPOINTS, signed.note.format().encode(), os.O_APPEND)

    def _beside(self, suffix: str) -> Path:
        return self.key.with_name(self.key.name + suffix)


def _follows(found: bytes, seq: int, prev: str) -> str:
    """Give the hash of the record in *found*, which must be number *seq* and follow *prev*."""
    try:
        record = lines.decode(found)
    except lines.BROKEN:
        raise ValueError(f"record {seq} is no record") from None
    if record.seq != seq or record.prev != prev or digest_of(found[:-1]) != record.hash:
        raise ValueError(f"record {seq} does not follow what was signed")
    return record.hash


def write_private(path: Path, data: bytes, flags: int) -> None:
    """Write *data* with mode 0600, synced. Half a note that a crash left stays, and is passed over."""
    is_new = not path.exists()
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    try:
        size = os.fstat(file).st_size
        if size and flags & os.O_APPEND and os.pread(file, 1, size - 1) != b"\n":
            os.ftruncate(file, size - _torn(file, size))
        if os.write(file, data) != len(data):
            os.ftruncate(file, size)
            raise OSError(errno.ENOSPC, "short write")
        os.fsync(file)
    finally:
        close_file(file)
    if is_new:
        sync_folder(path.parent)


def _torn(file: int, size: int) -> int:
    """Give how much follows the last whole signature line."""
    window = min(size, _MAX_FILE_BYTES)
    data = os.pread(file, window, size - window)
    last = data.rfind("\n— ".encode(), 0, data.rfind(b"\n") + 1)
    return len(data) - (data.index(b"\n", last + 1) + 1 if last >= 0 else 0)


def last_in(folder: Path) -> Checkpoint | None:
    """Give what the last note in *folder* says, without proof; None where there is none that can be read."""
    found = latest_in(folder, 1)
    return found[0] if found else None


def latest_in(folder: Path, most: int) -> list[Checkpoint]:
    """Give what the last notes in *folder* say, newest first, without proof: those in its last 64 KiB."""
    try:
        with open_to_read(folder / CHECKPOINTS) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(0, size - 65_536))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    whole = "\n" + without_torn(text)
    found: list[Checkpoint] = []
    end = len(whole)
    while len(found) < most and (start := whole.rfind("\nstrongroom/", 0, end)) >= 0:
        try:
            (one,) = note.parse_notes(whole[start + 1 : end])
            found.append(note.parse_checkpoint(one))
        except ValueError:  # cut by where the reading began, or damaged: `verify` tells
            break
        end = start + 1
    return found


def public_of(key: Path) -> tuple[note.Verifier, ...]:
    """
    Give the public half that stands beside *key*; () where there is none.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    return read_keys(key.with_name(key.name + ".pub"))


def evidence_beside(key: Path, keys: Sequence[note.Verifier]) -> Evidence | None:
    """
    Give what was signed last, as it is kept beside *key* with the hashes of the tree; None where nothing is.

    Raises:
        OSError: it cannot be read.
    """
    name = f"what is kept beside {key}"
    state = key.with_name(key.name + ".state")
    try:
        with open_to_read(state) as file:
            found = json.loads(file.read(_MAX_FILE_BYTES))
        (said,) = note.parse_notes(found["note"])
        checkpoint = note.parse_checkpoint(said)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return Evidence(name=name, checkpoints=(), fault="it is damaged")
    if not any(each.has_signed(said) for each in keys):
        return Evidence(name=name, checkpoints=(), fault="it is not signed by a key that is known")
    return Evidence(name=name, checkpoints=(checkpoint,), tree=key.with_name(key.name + ".tree"))
