"""
What a file that somebody drops holds: connections, variables, or both, whatever form it is in. Pure.

Not for writing any of it (`transfer.py`), nor for a file whose form and kind were said (`model/document.py`).

Rules of this file:

1. The text tells what it is; the name of the file only helps where the text may be two things.
2. A line of a `.env` that cannot be read is left out and told by its number; the others are read.
3. Nothing that is told of a file repeats any of it but names of entries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from strongroom.errors import InvalidInputError
from strongroom.model.astro import is_settings, settings_entries
from strongroom.model.document import decode, parse
from strongroom.model.environment import PREFIXES, parse_environment
from strongroom.transfer.forms import read_any

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.model.connection import Dialect
    from strongroom.model.document import Form
    from strongroom.model.ref import Kind
    from strongroom.service.transfer import Source

__all__ = ["MAX_FILE_BYTES", "Brought", "Fault", "Piece", "sort_out"]

T = TypeVar("T")

MAX_FILE_BYTES = 8_388_608  # 8 MiB: what a request may hold
_KINDS: tuple[Kind, ...] = ("connection", "variable")
_MAX_FAULTS = 50
_MAX_REREAD = 4_194_304  # characters that are read once more for the sake of lines that cannot be read
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.\-_]*://\S")
_CONNECTION_KEYS = frozenset({"conn_type", "uri", "conn_uri", "conn_id"})


class Piece(NamedTuple):
    """
    The entries of one kind in a file.

    Args:
        kind: of them.
        source: what `Transfer` imports them from.
        form: of the source.
        names: of the entries, as the file has them.
        is_doubtful: they may be the settings of something else.
    """

    kind: Kind
    source: Source
    form: Form
    names: tuple[str, ...]
    is_doubtful: bool = False

    def __repr__(self) -> str:
        return f"Piece(kind={self.kind!r}, {len(self.names)} names)"


class Fault(NamedTuple):
    """
    What could not be read.

    Args:
        line: its number, from 1; 0 for the file as a whole.
        what: why, in words that hold nothing of it.
        hint: what to do, or "".
    """

    line: int
    what: str
    hint: str = ""


class Brought(NamedTuple):
    """
    One file, sorted out.

    Args:
        name: of the file.
        form: as people call it.
        pieces: what it holds; () where nothing could be read.
        faults: what could not.
    """

    name: str
    form: str
    pieces: tuple[Piece, ...]
    faults: tuple[Fault, ...] = ()


def sort_out(name: str, data: bytes, dialect: Dialect = "core") -> Brought:
    """
    Tell what the file *name* with the content *data* holds.

    Args:
        name: of the file; "" where a text was pasted.
        data: at most `MAX_FILE_BYTES`.
        dialect: which of Airflow's two readings connections follow.
    """
    try:
        return _sorted(name, _text(data), dialect)
    except InvalidInputError as error:
        line = 0 if error.offset is None else data[: error.offset].count(b"\n") + 1
        return Brought(name, "", (), (Fault(line, str(error), error.hint or ""),))


def _text(data: bytes) -> str:
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInputError(f"it has more than {MAX_FILE_BYTES} bytes", limit=MAX_FILE_BYTES)
    text = decode(data.removeprefix(b"\xef\xbb\xbf"))
    if not text.strip():
        raise InvalidInputError("it is empty")
    return text


def _sorted(name: str, text: str, dialect: Dialect) -> Brought:
    if any(prefix in text for prefix in PREFIXES.values()):
        found = _environment(name, text)
        if found.pieces or found.faults:
            return found
    stripped = text.lstrip()
    if stripped.startswith(("{", "[")):
        return _document(name, text, "json", dialect)
    if _looks_like_env(name, text):
        return _dotenv(name, text, dialect)
    if name.lower().endswith((".yaml", ".yml")):
        return _document(name, text, "yaml", dialect)
    return _any(name, text, dialect)


def _looks_like_env(name: str, text: str) -> bool:
    if name.lower().endswith(".env") or name.lower().startswith(".env"):
        return True
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    is_pair = re.compile(r"\s*(?:export\s+)?[A-Za-z_][A-Za-z0-9_.\-]*=")
    return len(lines) > 1 and all(is_pair.match(line) for line in lines) and "_" in text


def _environment(name: str, text: str) -> Brought:
    pieces, faults = [], list[Fault]()
    for kind in _KINDS:
        try:
            own, found = _readable(text, faults, partial(parse_environment, kind=kind))
        except InvalidInputError as error:
            faults.append(Fault(0, str(error), error.hint or ""))
            continue
        if found is not None and found.values:
            pieces.append(Piece(kind, own, "env", tuple(found.values)))
    return Brought(name, "env", tuple(pieces), tuple(dict.fromkeys(faults)))


def _readable(text: str, faults: list[Fault], read: Callable[[str], T]) -> tuple[str, T]:
    """Read *text*, leaving out the lines that cannot be read."""
    tries = min(_MAX_FAULTS, 2 + _MAX_REREAD // max(1, len(text)))
    for _ in range(tries):
        try:
            return text, read(text)
        except InvalidInputError as error:
            if error.offset is None:
                raise
            line = text.count("\n", 0, error.offset)
            faults.append(Fault(line + 1, str(error), error.hint or ""))
            lines = text.split("\n")
            lines[line] = "#"
            text = "\n".join(lines)
    raise InvalidInputError(f"more than {tries - 1} lines cannot be read")


def _dotenv(name: str, text: str, dialect: Dialect) -> Brought:
    """Sort out a `.env` whose names are not Airflow's: an export, or another program's settings."""
    faults: list[Fault] = []
    _, raw = _readable(text, faults, lambda given: parse(given, "env"))
    connections = {key: value for key, value in raw.items() if _is_connection(value)}
    others = {key: value for key, value in raw.items() if key not in connections}
    pieces = [Piece("connection", connections, "json", tuple(connections))] if connections else []
    if others:
        is_doubtful = bool(connections) or all(key.isupper() for key in others)
        pieces.append(Piece("variable", others, "json", tuple(others), is_doubtful=is_doubtful))
    if not connections:
        try:
            read = read_any(text, dialect=dialect)
        except InvalidInputError:
            pass
        else:
            named = {key or _stem(name): one for key, one in read.connections.items()}
            pieces.insert(0, Piece("connection", named, "json", tuple(named)))
    return Brought(name, "env", tuple(pieces), tuple(faults))


def _document(name: str, text: str, form: Form, dialect: Dialect) -> Brought:
    """Sort out JSON or YAML: an export of Airflow's, settings of Astro's, or one connection."""
    try:
        raw = parse(text, form)
    except InvalidInputError:
        if text.lstrip().startswith("["):
            raise
        try:
            return _any(name, text, dialect)
        except InvalidInputError:
            pass
        raise
    if form == "yaml" and is_settings(raw):
        each = {kind: settings_entries(raw, kind) for kind in _KINDS}
        pieces = [Piece(kind, text, "yaml", tuple(found)) for kind, found in each.items() if found]
        return Brought(name, "settings", tuple(pieces))
    if _is_connection(raw) or not all(
        isinstance(one, (str, dict, int, float, list, type(None))) for one in raw.values()
    ):
        return _any(name, text, dialect)
    connections = {key: value for key, value in raw.items() if _is_connection(value)}
    variables = {key: value for key, value in raw.items() if key not in connections}
    if not connections and _is_of_a_vendor(text, dialect):
        return _any(name, text, dialect)
    pieces = [
        Piece(kind, found, form, tuple(found))
        for kind, found in zip(_KINDS, (connections, variables), strict=True)
        if found
    ]
    return Brought(name, form, tuple(pieces))


def _is_of_a_vendor(text: str, dialect: Dialect) -> bool:
    try:
        return read_any(text, dialect=dialect).form not in ("airflow-json", "env")
    except InvalidInputError:
        return False


def _is_connection(value: object) -> bool:
    if isinstance(value, Mapping):
        return bool(_CONNECTION_KEYS & set(value))
    if not isinstance(value, str):
        return False
    text = value.strip()
    return _SCHEME.match(text) is not None or (text.startswith("{") and '"conn_type"' in text)


def _any(name: str, text: str, dialect: Dialect) -> Brought:
    """Sort out what a vendor's page or a tool's file says."""
    read = read_any(text, dialect=dialect)
    named = {key or _stem(name): one for key, one in read.connections.items()}
    faults = tuple(Fault(0, one) for one in read.warnings)
    return Brought(name, read.form, (Piece("connection", named, "json", tuple(named)),), faults)


def _stem(name: str) -> str:
    """Give a name for a connection that has none in its file."""
    stem = re.sub(r"[^a-z0-9_]+", "_", name.lower().lstrip(".").partition(".")[0]).strip("_")
    return stem or "connection"
