"""
The manifest of a backup: what is in it, signed by who made it.

It is a signed note (`audit/note.py`): a line that says what it is, the name of the log whose key signed, and
one line of canonical JSON. It stands in the clear, so that a backup is proven without its identity: how many
rows, which keys, which deployments and how long their records are is told by it; no name of an entry is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from strongroom.audit import note
from strongroom.errors import InvalidInputError, TamperedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.audit.note import Note, Verifier

__all__ = ["FORMAT", "Key", "Manifest", "Place", "Table", "parse_manifest", "signer_of"]

FORMAT = 1
_MARK = "strongroom/backup/v1"
_START = "strongroom/backup/v"
_REVISION = re.compile(r"[0-9a-z]{1,32}", re.ASCII)
_HEX = re.compile(r"(?:[0-9a-f]{2})+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """
    What a table holds.

    Args:
        columns: in the order its rows have them.
        rows: how many.
        digest: SHA-256 over what `store/record.covered` gives of each, in the order of their keys.
    """

    columns: tuple[str, ...]
    rows: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key of the store, as its row tells it."""

    id: str
    deployment: str
    team: str
    number: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """
    Where the record of a deployment stood right before its rows were read.

    Args:
        size: records; every change that is not in the backup is among those that follow.
        checkpoint: a signed note over the first of them; "" where nothing was signed.
    """

    deployment: str
    size: int
    checkpoint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """
    What a backup is.

    Args:
        id: 16 random bytes, bound into every chunk; hexadecimal, as all bytes here.
        store: the id of its store.
        at: when its rows were read, as `Record.at`.
        release: of Strongroom.
        schema: the revision of its tables.
        sequence: of the newest change.
        recipients: who can open it.
        header: SHA-256 of the header.
        chunks: SHA-256 of each chunk as it is sealed, in order.
    """

    id: str
    store: str
    at: str
    release: str
    schema: str
    sequence: int
    recipients: tuple[str, ...]
    records: tuple[Place, ...]
    keys: tuple[Key, ...]
    tables: Mapping[str, Table]
    header: str
    chunks: tuple[str, ...]

    @property
    def deployments(self) -> tuple[str, ...]:
        """Whose rows it holds, in order."""
        return tuple(sorted({key.deployment for key in self.keys}))

    def record_of(self, deployment: str) -> Place | None:
        """Give where the record of *deployment* stood; None where its log could not be read."""
        return next((place for place in self.records if place.deployment == deployment), None)

    def format(self, origin: str) -> str:
        """Give the text that the key of the log *origin* signs."""
        members = {"format": FORMAT, **asdict(self)}
        line = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return f"{_MARK}\n{origin}\n{line}\n"


def parse_manifest(data: bytes) -> tuple[Note, Manifest]:
    """
    Read a manifest; proves nothing.

    Raises:
        InvalidInputError: a newer release made it.
        TamperedError: it is none.
    """
    try:
        (found,) = note.parse_notes(data.decode())
        mark, _, line, *rest = found.text.split("\n")
    except ValueError:
        raise _damaged() from None
    if mark != _MARK and mark.startswith(_START):
        raise newer()
    if mark != _MARK or rest != [""]:
        raise _damaged()
    try:
        return found, _manifest(json.loads(line))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise _damaged() from None


def signer_of(found: Note, keys: Sequence[Verifier]) -> str | None:
    """Give the name of the one of *keys* that signed, None where none of them did."""
    return next((key.name for key in keys if key.has_signed(found)), None)


def newer() -> InvalidInputError:
    """Give the error of a backup that a newer release made."""
    return InvalidInputError(
        "the backup was made by a newer release of Strongroom than this one; nothing was changed",
        hint="upgrade this installation",
    )


def _damaged() -> TamperedError:
    return TamperedError("the manifest of the backup is damaged", hint="take another copy of the file")


def _manifest(said: Mapping[str, Any]) -> Manifest:
    if said["format"] != FORMAT:
        raise newer()
    return Manifest(
        id=_hex(said["id"]),
        store=_hex(said["store"]),
        at=_text(said["at"]),
        release=_text(said["release"]),
        schema=_revision(said["schema"]),
        sequence=_number(said["sequence"]),
        recipients=tuple(map(_text, said["recipients"])),
        records=tuple(
            Place(
                deployment=_text(each["deployment"]),
                size=_number(each["size"]),
                checkpoint=_text(each["checkpoint"]),
            )
            for each in said["records"]
        ),
        keys=tuple(_key(each) for each in said["keys"]),
        tables={_text(name): _table(each) for name, each in said["tables"].items()},
        header=_hex(said["header"]),
        chunks=tuple(map(_hex, said["chunks"])),
    )


def _key(said: Mapping[str, Any]) -> Key:
    return Key(
        id=_hex(said["id"]),
        deployment=_text(said["deployment"]),
        team=_text(said["team"]),
        number=_number(said["number"]),
        state=_text(said["state"]),
    )


def _table(said: Mapping[str, Any]) -> Table:
    return Table(
        columns=tuple(map(_text, said["columns"])), rows=_number(said["rows"]), digest=_hex(said["digest"])
    )


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError
    return value


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError
    return value


def _hex(value: object) -> str:
    text = _text(value)
    if not _HEX.fullmatch(text):
        raise TypeError
    return text


def _revision(value: object) -> str:
    text = _text(value)
    if not _REVISION.fullmatch(text):
        raise TypeError
    return text
