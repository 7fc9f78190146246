"""
What looks wrong in a connection, by what its type asks for: the rules of docs/lint.md.

Not for reading connections (`strongroom.service.lint`) or for what types look like (`strongroom.catalog`);
what looks wrong in a text by itself is found in `wording.py`.

Rules of this file:

1. A remark names fields and keys, never a value.
2. Few false alarms before completeness: of what nobody knows, nothing is said.
"""

from __future__ import annotations

from difflib import get_close_matches
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError
from strongroom.insight import wording
from strongroom.insight.credential import static_key
from strongroom.insight.remark import Remark
from strongroom.insight.sheet import Sheet
from strongroom.model.jsontext import decode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.catalog.field import Field
    from strongroom.catalog.kind import ConnectionType, Group, Way
    from strongroom.model.connection import Connection

__all__ = ["lint"]

_LIKE = 0.75  # how alike two keys are where the type reads no others
_VERY_LIKE = 0.87  # and where others are handed on, so that most of them are meant
_MAX_KEY = 60  # characters of a key that may be an option
_MAX_UNREAD = 100  # keys that are looked at: more are no options but a document
_READ_IN_URI = {("sqlite", "schema")}  # not in the form, but a part of the path all the same
_BOOLEANS = {"1": "true", "yes": "true", "on": "true", "0": "false", "no": "false", "off": "false"}


def lint(
    connection: Connection,
    kind: ConnectionType | None,
    *,
    nearest: tuple[str, ...] = (),
    has_references: bool = False,
    extends: bool = False,
) -> list[Remark]:
    """
    Give what looks wrong in *connection*, by rule.

    Args:
        connection: unresolved ones too, then say so.
        kind: its type; None where nobody knows it.
        nearest: types that may have been meant where *kind* is None.
        has_references: `${…}` in its values is resolved when it is read.
        extends: what it lacks comes from another connection.
    """
    sheet = Sheet(connection, kind, has_references=has_references, extends=extends)
    found = [*_type(sheet, nearest), *wording.remarks(sheet)]
    if kind is not None:
        found += _misspelt(sheet, kind)
        found += _unread(sheet, kind)
        found += _missing(sheet, kind)
        for path, field, value in sheet.fields:
            if sheet.is_known(value):
                found += _value(path, field, value)
        found += _old_spellings(sheet)
        found += _groups(sheet, kind)
        found += _plain_mail(sheet, kind)
    key = static_key(connection)
    if key is not None:
        what = f"{key.field} is a static key of {key.cloud}: it does not end, and works from anywhere"
        found.append(Remark("L16", "warning", key.field, what, key.steps))
    return sorted(found, key=lambda remark: int(remark.rule[1:]))


# --- the type and its fields -----------------------------------------------------------------------


def _type(sheet: Sheet, nearest: tuple[str, ...]) -> Iterator[Remark]:
    if sheet.kind is not None or sheet.extends or not sheet.is_known(sheet.conn_type):
        return
    if sheet.conn_type is None:
        yield Remark("L2", "warning", "conn_type", "it has no type", "say which hook is to read it")
    else:
        fix = (
            f"did you mean {' or '.join(nearest)}?" if nearest else "strongroom connections types lists them"
        )
        yield Remark("L2", "warning", "conn_type", "its type is none that we, or the Airflow here, know", fix)


def _misspelt(sheet: Sheet, kind: ConnectionType) -> Iterator[Remark]:
    names = tuple(one.name for one in kind.extras)
    unread = (key for key, read in sheet.read.items() if read is None)
    for key in islice(unread, _MAX_UNREAD):
        path, spelling = sheet.path_of(key), sheet.spelling(key)
        sibling = kind.extra_field(key)
        if sibling is not None:
            what = f"{path} is what other types read; {kind.name} reads extra.{sibling.name}"
            yield Remark("L3", "warning", path, what, f"call it {sibling.name}")
            continue
        likeness = _VERY_LIKE if kind.others else _LIKE
        near = _near(spelling, names, likeness) if len(spelling) <= _MAX_KEY else None
        if near is not None:
            what = f"{path} is no option of {kind.name}"
            yield Remark("L3", "warning", path, what, f"did you mean {near}?")
        elif not kind.others:
            fix = f"strongroom connections types {kind.name} lists its options"
            yield Remark("L3", "note", path, f"{path} is read by nothing in {kind.name}", fix)


@lru_cache(maxsize=4096)
def _near(key: str, names: tuple[str, ...], likeness: float) -> str | None:
    """Give the one of *names* that *key* was meant to be; case and `_`, `-`, `.` do not count."""
    by_squeezed = {_squeezed(name): name for name in reversed(names)}
    found = get_close_matches(_squeezed(key), by_squeezed, 1, likeness)
    return by_squeezed[found[0]] if found else None


def _squeezed(key: str) -> str:
    return key.lower().translate({ord(mark): None for mark in "_-."})


def _unread(sheet: Sheet, kind: ConnectionType) -> Iterator[Remark]:
    for name in kind.hidden:
        if name in sheet.standard and (kind.name, name) not in _READ_IN_URI:
            fix = "take it out, or put it where it belongs"
            if name == "password":
                fix = "take it out: a secret that nothing needs is only a risk"
            yield Remark("L4", "note", name, f"{name} is read by nothing in {kind.name}", fix)


def _missing(sheet: Sheet, kind: ConnectionType) -> Iterator[Remark]:
    if sheet.extends:
        return
    read = {field.name for path, field, _ in sheet.fields if path.startswith("extra.")}
    for field in kind.standard:
        if field.is_required and field.name not in sheet.standard:
            yield Remark("L5", "warning", field.name, f"{kind.name} needs {field.name} ({field.label})")
    for field in kind.extras:
        if field.is_required and field.name not in read:
            path = f"extra.{field.name}"
            yield Remark("L5", "warning", path, f"{kind.name} needs {path} ({field.label})")


def _old_spellings(sheet: Sheet) -> Iterator[Remark]:
    for key, read in sheet.read.items():
        if read is not None and sheet.spelling(key) != key:
            path = sheet.path_of(key)
            yield Remark(
                "L12", "note", path, f"{path} is the spelling of old forms", f"call it {sheet.spelling(key)}"
            )


# --- single values ---------------------------------------------------------------------------------


def _value(path: str, field: Field, value: object) -> Iterator[Remark]:
    if field.is_deprecated:
        yield Remark("L12", "note", path, f"{path} is deprecated", field.help)
    if field.danger and _word(field, value) in field.dangerous:
        yield Remark("L13", "warning", path, f"{path} as it is: {field.danger}", _safer(path, field))
    if not field.fits(value) and not _is_path(field, value) and not _is_document(field, value):
        is_text = field.type in ("text", "file", "multiline") and isinstance(value, (int, float))
        yield Remark("L6", "note" if is_text else "warning", path, f"{path} is {_wanted(field)}")
    elif field.type == "json" and isinstance(value, str) and not _is_json(value):
        yield Remark("L6", "warning", path, f"{path} is text that is no JSON object or list")


def _word(field: Field, value: object) -> str:
    word = str(value).lower() if isinstance(value, (str, int)) else ""
    return _BOOLEANS.get(word, word) if field.type == "boolean" else word


def _safer(path: str, field: Field) -> str:
    if field.type == "boolean":
        return f"leave it out, or say {'false' if 'true' in field.dangerous else 'true'}"
    better = [word for word in field.choices if word.lower() not in field.dangerous]
    return f"better {better[-1]}" if better else f"leave {path} out"


def _wanted(field: Field) -> str:
    if field.type == "choice":
        return f"none of {', '.join(field.choices)}"
    return {
        "integer": "no whole number",
        "number": "no number",
        "boolean": "neither true nor false",
        "json": "no JSON object or list",
    }.get(field.type, "no text")


def _is_path(field: Field, value: object) -> bool:
    """Tell whether a yes or no is a file's path, where the hook takes that too."""
    return field.type == "boolean" and "path" in field.help and isinstance(value, str) and "/" in value


def _is_document(field: Field, value: object) -> bool:
    """Tell whether a text of many lines, such as a key file, is written as the object it holds."""
    return field.type == "multiline" and isinstance(value, dict)


def _is_json(text: str) -> bool:
    try:
        return isinstance(decode(text, what="it"), (dict, list))
    except InvalidInputError:
        return False


# --- values together -------------------------------------------------------------------------------


def _groups(sheet: Sheet, kind: ConnectionType) -> Iterator[Remark]:
    if not kind.groups:
        return
    said = {field.name: path for path, field, value in sheet.fields if _counts(field, value)}
    for group in kind.groups:
        if group.kind == "exclusive":
            yield from _exclusive(group, kind, said)
        elif not sheet.extends:
            yield from _together(group, said)


def _counts(field: Field, value: object) -> bool:
    """Tell whether *value* chooses a way: `false`, and what counts anyway, do not."""
    return value != field.default and _word(field, value) != "false"


def _exclusive(group: Group, kind: ConnectionType, said: dict[str, str]) -> Iterator[Remark]:
    filled = [way for way in group.ways if any(name in said for name in _choosing(way, group))]
    covered = frozenset(name for way in filled for name in way.fields)
    fields = (*kind.standard, *kind.extras)
    choosing = {field.name for field in fields if field.is_secret or field.type == "boolean"}
    # A secret or a yes that several ways share, and none of those that were chosen has, chooses another one.
    stray = [name for name in group.fields & choosing if filled and name in said and name not in covered]
    if len(filled) + bool(stray) < 2:  # noqa: PLR2004 -- two contradict each other
        return
    names = [
        next(name for name in way.fields if name in said and name in _choosing(way, group)) for way in filled
    ]
    paths = sorted(said[name] for name in (*names, *stray))
    what = f"{' and '.join(paths)} exclude one another ({group.title})"
    yield Remark("L14", "warning", paths[0], what, "keep one of them")


def _choosing(way: Way, group: Group) -> frozenset[str]:
    """Give the fields that choose this way: those that no other has; a name alone proves nothing."""
    others = (name for other in group.ways if other is not way for name in other.fields)
    own = frozenset(way.fields).difference(others)
    return own - {"login"} or own


def _together(group: Group, said: dict[str, str]) -> Iterator[Remark]:
    (way,) = group.ways
    missing = [name for name in way.fields if name not in said]
    if missing and len(missing) < len(way.fields):
        there = next(said[name] for name in way.fields if name in said)
        what = f"{there} goes together with {' and '.join(missing)} ({group.title})"
        yield Remark("L15", "warning", there, what, "give all of them, or none")


def _plain_mail(sheet: Sheet, kind: ConnectionType) -> Iterator[Remark]:
    """Either way of TLS may be turned off, but not both."""
    off = [str(sheet.extra.get(name)).lower() == "true" for name in ("disable_ssl", "disable_tls")]
    if kind.name == "smtp" and all(off):
        what = "extra.disable_ssl and extra.disable_tls: passwords and mails go over the network in clear"
        yield Remark("L13", "warning", "extra.disable_tls", what, "leave one of them out")
