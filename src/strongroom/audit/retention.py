"""
Let old records go: whole segments, behind a signed checkpoint, and never under a legal hold.

Rules of this file:

1. Only what a good checkpoint covers goes, and only from the beginning. Before anything goes, the log is
   verified, and a signed account (`kept`) tells where it begins from then on: number, hash and tree.
2. What is archived is there, whole and synced, before it is gone here; the archive verifies by itself.
3. A hold refuses, until it is lifted; both are recorded, by whoever calls.
4. Nobody appends while segments go.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from strongroom.audit import note
from strongroom.audit.checkpoint import write_private
from strongroom.audit.follow import Position, lines_of, position_of
from strongroom.audit.log import head_bytes, open_to_read, segments_of, sync_folder, take_lock, why
from strongroom.audit.record import ZERO, digest_of, read_line, stamp
from strongroom.audit.tree import Frontier, leaf_of
from strongroom.audit.verify import CHECKPOINTS, KEPT, KEYS, Kept, parse_kept, verify_log, without_torn
from strongroom.errors import AccessDeniedError, BackendConfigError, TamperedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from strongroom.audit.checkpoint import Keeper

__all__ = ["HOLD", "Hold", "Retained", "hold", "hold_of", "lift", "retain"]

HOLD = "hold"
_MAX_FILE_BYTES = 65_536


class Hold(NamedTuple):
    """
    A legal hold.

    Args:
        at: since when, as `Record.at`.
        actor: who set it.
        reason: why.
    """

    at: str
    actor: str
    reason: str


class Retained(NamedTuple):
    """
    What was let go.

    Args:
        segments: how many.
        records: how many.
        first: number of the first record that is kept.
        archive: where they went; None where they were removed.
    """

    segments: int
    records: int
    first: int
    archive: Path | None


def hold_of(folder: Path) -> Hold | None:
    """
    Give the hold on the log in *folder*. A file that cannot be understood is a hold.

    Raises:
        OSError: it cannot be read.
    """
    try:
        with open_to_read(folder / HOLD) as file:
            found = json.loads(file.read(_MAX_FILE_BYTES))
            return Hold(str(found["at"]), str(found["actor"]), str(found["reason"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return Hold("", "", "the file cannot be understood")


def hold(folder: Path, actor: str, reason: str, now: datetime) -> Hold:
    """Keep every record from now on; one hold stands until it is lifted. Raises OSError."""
    found = hold_of(folder)
    if found is None:
        found = Hold(stamp(now), actor, reason)
        write_private(folder / HOLD, json.dumps(found._asdict()).encode() + b"\n", os.O_EXCL)
    return found


def lift(folder: Path) -> Hold | None:
    """End a hold; gives the one there was. Raises OSError."""
    found = hold_of(folder)
    if found is not None:
        (folder / HOLD).unlink(missing_ok=True)
        sync_folder(folder)
    return found


def retain(keeper: Keeper, before: datetime, archive: Path | None) -> Retained:
    """
    Let go of whole segments whose last record is older than *before* and signed.

    Args:
        keeper: of the log and of the key that signs the account.
        before: when the last record of a segment must have been made.
        archive: the folder they are moved to; None removes them.

    Raises:
        AccessDeniedError: there is a hold.
        TamperedError: the log is not whole.
        BackendConfigError: files cannot be moved; nothing is gone that is not in the archive.
        BackendUnavailableError: the log cannot be read.
    """
    folder = keeper.folder
    try:
        _check_hold(folder)
        signed = keeper.sign()
        _clear(folder)
        going = _going(folder, signed.tree.size if signed else 0, stamp(before))
        kept = _kept_now(folder)
        first = kept.tree.size if kept else 0
        if not going:
            return Retained(0, 0, first, archive)
        verdict = verify_log(folder)
        if not verdict.is_ok:
            raise TamperedError(
                f"the audit log is not whole at record {verdict.index}, so nothing of it is let go"
            )
        new = _account(folder, keeper, kept, going)
        with _alone(folder):
            _check_hold(folder)
            _let_go(folder, archive, going, keeper, new)
    except OSError as error:
        raise BackendConfigError(
            f"records of {folder} cannot be let go ({why(error)})",
            hint="look at the archive's disk and folder",
        ) from None
    return Retained(len(going), new.tree.size - first, new.tree.size, archive)


def _check_hold(folder: Path) -> None:
    if (found := hold_of(folder)) is not None:
        raise AccessDeniedError(
            f"the audit log is held since {found.at or 'an unknown time'}",
            reason="legal hold",
            hint="strongroom audit hold --lift --reason TEXT",
        )


def _clear(folder: Path) -> None:
    """Remove what is accounted for and was left by a crash."""
    if (kept := _kept_now(folder)) is not None:
        names = segments_of(folder)
        for name, following in itertools.pairwise(names):
            if int(following[:-6]) <= kept.tree.size:
                (folder / name).unlink()


def _going(folder: Path, signed: int, before: str) -> list[str]:
    """Give the segments that go: from the beginning, each followed by another, signed and old."""
    names = segments_of(folder)
    going = []
    for name, following in itertools.pairwise(names):
        end = int(following[:-6])
        if end > signed or not end:
            break
        last = _last_record_at(folder, end - 1)
        if last is None or last >= before:
            break
        going.append(name)
    return going


def _last_record_at(folder: Path, seq: int) -> str | None:
    for _, line in lines_of(folder, position_of(folder, seq), seq + 1):
        record = read_line(line)
        return None if record is None else record.at
    return None


def _kept_now(folder: Path) -> Kept | None:
    try:
        with open_to_read(folder / KEPT) as file:
            (found,) = note.parse_notes(file.read(_MAX_FILE_BYTES).decode())
            return parse_kept(found.text)
    except FileNotFoundError:
        return None
    except ValueError:
        raise TamperedError("the account of what was let go before is damaged") from None


def _account(folder: Path, keeper: Keeper, kept: Kept | None, going: list[str]) -> Kept:
    """Tell where the log begins once *going* are gone."""
    tree, prev = (kept.tree.copy(), kept.prev) if kept else (Frontier(), ZERO)
    names = segments_of(folder)
    end = int(names[names.index(going[-1]) + 1][:-6])
    for _, line in lines_of(folder, Position(tree.size, going[0]), end):
        tree.push(leaf_of(line))
        prev = digest_of(line[:-1])
    last = keeper.last
    if tree.size != end or last is None:
        raise TamperedError(f"record {tree.size} is missing, so nothing of the log is let go")
    return Kept(last.checkpoint.origin, prev, tree)


def _let_go(folder: Path, archive: Path | None, going: list[str], keeper: Keeper, kept: Kept) -> None:
    if archive is not None:
        _archive(folder, archive, going, kept)
    draft = folder / f".{KEPT}"
    write_private(draft, keeper.sign_text(kept.format()).format().encode(), os.O_TRUNC)
    # The account first: with it a segment too many is passed over, without it one too few is a fault.
    draft.replace(folder / KEPT)
    sync_folder(folder)
    for name in going:
        (folder / name).unlink()
    sync_folder(folder)


def _archive(folder: Path, archive: Path, going: list[str], kept: Kept) -> None:
    archive.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not (archive / "head").exists() and (folder / KEPT).exists():
        shutil.copyfile(folder / KEPT, archive / KEPT)  # what went before went elsewhere
    for name in (*going, KEYS):
        draft = archive / f".{name}"
        with open_to_read(folder / name) as source:
            target = os.open(
                draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            with os.fdopen(target, "wb") as file:
                shutil.copyfileobj(source, file, 1_048_576)
                file.flush()
                os.fsync(target)
        if name in going and draft.stat().st_size != (folder / name).stat().st_size:
            raise OSError(errno.EIO, "the copy is not whole")
        draft.replace(archive / name)
    covered = [each for each in _notes(folder) if note.parse_checkpoint(each).size <= kept.tree.size]
    write_private(archive / CHECKPOINTS, "".join(each.format() for each in covered).encode(), os.O_TRUNC)
    write_private(archive / "head", head_bytes(kept.tree.size - 1, kept.prev), os.O_TRUNC)
    sync_folder(archive)


def _notes(folder: Path) -> list[note.Note]:
    with open_to_read(folder / CHECKPOINTS) as file:
        return note.parse_notes(without_torn(file.read().decode()))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    file = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        take_lock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
