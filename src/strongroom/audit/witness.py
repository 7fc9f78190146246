"""
Copies of checkpoints elsewhere: in a file, and with a witness of its own mind over HTTP.

Rules of this file:

1. What a witness has seen before is compared first: one that has seen more, or something else, is an alarm
   and gets nothing.
2. Hashes go before the checkpoint that proves them.
3. A witness is spoken to within a deadline; none holds anything else up.

Source: C2SP tlog-witness, tlog-cosignature.
"""

from __future__ import annotations

import base64
import errno
import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from strongroom.audit import note
from strongroom.audit.checkpoint import write_private
from strongroom.audit.log import open_to_read, why
from strongroom.audit.tree import HASH_BYTES, HashFile, consistency, place_of
from strongroom.audit.verify import Evidence, evidence_of, read_keys, without_torn
from strongroom.errors import BackendUnavailableError, TamperedError
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.audit.checkpoint import Keeper, Signed
    from strongroom.audit.note import Checkpoint, Note, Verifier

__all__ = ["FileWitness", "HttpWitness", "Witness", "evidence_at", "witness_of"]

DEADLINE_SECONDS = 5.0
_COPY_BYTES = 1_048_576
_TAIL_BYTES = 65_536  # of a file of checkpoints: more than a hundred
_CONFLICT = 409
_OK = 200


class Witness(Protocol):
    """Somebody who keeps copies."""

    name: str

    def show(self, signed: Signed, keeper: Keeper) -> None:
        """
        Show it what was signed last.

        Raises:
            TamperedError: it has seen something that does not fit.
            BackendUnavailableError: it cannot be reached or written now.
        """
        ...


class FileWitness:
    """
    A file of checkpoints elsewhere, and beside it the public key (`.keys`) and the hashes (`.tree`).

    Args:
        path: of the file; its folder must be there, so that an unmounted disk is noticed.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path

    def show(self, signed: Signed, keeper: Keeper) -> None:
        try:
            self._show(signed, keeper)
        except OSError as error:
            raise BackendUnavailableError(
                f"the witness {self.name} cannot be written ({why(error)})", backend=self.name
            ) from None
        except ValueError:
            raise TamperedError(f"the witness {self.name} is damaged") from None

    def _show(self, signed: Signed, keeper: Keeper) -> None:
        last = self._last()
        new = signed.checkpoint
        seen = 0
        if last is not None:
            seen = last.size
            _check_seen(self.name, last, new, keeper)
            if seen == new.size:
                return
        else:
            _put(self.path.with_name(self.path.name + ".keys"), _public(keeper), 0)
        self._copy_hashes(keeper.tree, seen, new.size)
        write_private(self.path, signed.note.format().encode(), os.O_APPEND)

    def _last(self) -> Checkpoint | None:
        try:
            with open_to_read(self.path) as file:
                size = os.fstat(file.fileno()).st_size
                file.seek(max(0, size - _TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return None
        whole = text[: text.rfind("\n") + 1]
        # The first note in what was read may have been cut.
        start = whole.find("\nstrongroom/") if size > _TAIL_BYTES else -1
        notes = note.parse_notes(without_torn(whole[start + 1 :]))
        return note.parse_checkpoint(notes[-1]) if notes else None

    def _copy_hashes(self, tree: Path, seen: int, size: int) -> None:
        start, end = place_of(0, seen) * HASH_BYTES, place_of(0, size) * HASH_BYTES
        copy = self.path.with_name(self.path.name + ".tree")
        with suppress(FileNotFoundError), open_to_read(tree) as file:
            have = copy.stat().st_size if copy.exists() else 0
            at = min(start, have) if have >= start else have
            while at < end:
                data = os.pread(file.fileno(), min(_COPY_BYTES, end - at), at)
                if not data:
                    return
                _put(copy, data, at)
                at += len(data)


class HttpWitness:
    """
    A witness that checks for itself that each checkpoint goes on where the one before ended.

    Args:
        url: without `/add-checkpoint`.
        key: its verifier key; its answer must then be signed by it.
        token: sent as `Authorization: Bearer`.
    """

    def __init__(self, name: str, url: str, *, key: Verifier | None = None, token: str | None = None) -> None:
        from strongroom.vendors.transport import Transport, TransportOptions  # noqa: PLC0415 -- only who has one

        self.name = name
        self._key = key
        self._headers: Mapping[str, str | Secret[str]] = (
            {} if token is None else {"Authorization": Secret(f"Bearer {token}")}
        )
        seconds = timedelta(seconds=DEADLINE_SECONDS)
        self._transport = Transport(
            TransportOptions(
                place=name, url=url, timeout=seconds, total_timeout=seconds, max_body_bytes=65_536
            )
        )
        self._seen = 0

    def show(self, signed: Signed, keeper: Keeper) -> None:
        size = signed.checkpoint.size
        if self._seen == size:
            return
        status, body = self._ask(signed, keeper)
        if status == _CONFLICT:
            self._seen = self._size_in(body)
            if self._seen > size:
                raise TamperedError(
                    f"the witness {self.name} has seen {self._seen} records, and the log has {size}"
                )
            status, body = self._ask(signed, keeper)
        if status in (403, 404, 422):  # the key, the log, the proof
            raise TamperedError(
                f"the witness {self.name} refuses the checkpoint of {size} records ({status})"
            )
        if status != _OK:
            raise BackendUnavailableError(
                f"the witness {self.name} gave no answer ({status})", backend=self.name
            )
        self._take(signed.note, body, keeper)
        self._seen = size

    def _ask(self, signed: Signed, keeper: Keeper) -> tuple[int, bytes]:
        proof = _proof(keeper.tree, self._seen, signed.checkpoint.size)
        lines = [f"old {self._seen}\n", *(f"{base64.b64encode(each).decode()}\n" for each in proof)]
        reply = self._transport.request(
            "POST",
            "/add-checkpoint",
            headers={**self._headers, "Content-Type": "text/plain; charset=utf-8"},
            body=f"{''.join(lines)}\n{signed.note.format()}".encode(),
        )
        return reply.status, reply.body

    def _size_in(self, body: bytes) -> int:
        text = body.decode("ascii", "replace").strip()
        if not text.isdigit() or len(text) > 18:  # noqa: PLR2004 -- digits of the largest log
            raise BackendUnavailableError(
                f"the witness {self.name} answered what is no size", backend=self.name
            )
        return int(text)

    def _take(self, said: Note, body: bytes, keeper: Keeper) -> None:
        """Keep what it signed beside the key."""
        try:
            (found,) = note.parse_notes(f"{said.text}\n{body.decode()}")
        except ValueError:
            found = said._replace(signatures=())
        if self._key is not None and not self._key.has_signed(found):
            raise TamperedError(f"the witness {self.name} did not sign with its own key")
        if found.signatures:
            both = said._replace(signatures=(*said.signatures, *found.signatures))
            path = cosigned_path(keeper.key, self.name)
            draft = path.with_name(path.name + ".draft")
            _put(draft, both.format().encode(), 0)
            draft.replace(path)


def cosigned_path(key: Path, name: str) -> Path:
    """Give where what the witness *name* signed last is kept beside *key*."""
    return key.with_name(f"{key.name}.cosigned-{name}")


def _check_seen(name: str, seen: Checkpoint, new: Checkpoint, keeper: Keeper) -> None:
    if seen.origin != new.origin:
        raise TamperedError(f"the witness {name} keeps another log")
    if seen.size > new.size:
        raise TamperedError(f"the witness {name} has seen {seen.size} records, and the log has {new.size}")
    if seen.size == new.size:
        root = new.root
    else:
        with open_to_read(keeper.tree) as file:
            root = HashFile(file.fileno()).frontier(seen.size).root()
    if seen.root != root:
        raise TamperedError(f"the witness {name} has seen other records: the log is forked")


def _proof(tree: Path, old: int, new: int) -> Sequence[bytes]:
    try:
        with open_to_read(tree) as file:
            return consistency(HashFile(file.fileno()).hash, old, new)
    except (OSError, ValueError):
        raise TamperedError("the file of hashes beside the signing key is gone or damaged") from None


def _public(keeper: Keeper) -> bytes:
    return keeper.key.with_name(keeper.key.name + ".pub").read_bytes()


def _put(path: Path, data: bytes, at: int) -> None:
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        if os.pwrite(file, data, at) != len(data):
            os.ftruncate(file, at)
            raise OSError(errno.ENOSPC, "short write")
        os.ftruncate(file, at + len(data))
        os.fsync(file)
    finally:
        os.close(file)


def witness_of(found: Mapping[str, Any]) -> Witness:
    """Make a witness of its settings in plain JSON."""
    if found["kind"] == "file":
        return FileWitness(found["name"], Path(found["path"]))
    key = note.Verifier.parse(found["key"]) if found.get("key") else None
    return HttpWitness(found["name"], found["url"], key=key, token=found.get("token"))


def evidence_at(name: str, path: Path, keys: Sequence[Verifier]) -> Evidence:
    """
    Give what a file of copies holds, with the hashes beside it. Its own public key (`.keys`) is trusted as
    well: whoever keeps the file elsewhere keeps the key with it.

    Raises:
        OSError: it cannot be read.
    """
    own: Sequence[Verifier] = ()
    with suppress(ValueError):
        own = read_keys(path.with_name(path.name + ".keys"))
    return evidence_of(name, path, [*own, *keys], path.with_name(path.name + ".tree"))
