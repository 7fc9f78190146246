"""
How the form of a type is laid out: its fields in four sections, and which of them are shown at once. Pure.

Not for drawing it (`strongroom.server.ui`) nor for what a field is (`field.py`).

Rules of this file:

1. Every field of a type stands in exactly one place.
2. Of the ways of a group one is open: the one in use, or else the first, but for what few people need.
   Fields that several ways share stand before them.
3. What is set, required or dangerous is never folded away, nor is a handful.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from strongroom.catalog.field import Field
    from strongroom.catalog.kind import ConnectionType, Group

__all__ = ["SECTIONS", "Branch", "Placed", "Section", "SectionName", "layout"]

SectionName = Literal["where", "sign_in", "transport", "more"]
SECTIONS: tuple[SectionName, ...] = ("where", "sign_in", "transport", "more")

_SIGN_IN_GROUPS = ("sign in", "credentials", "token", "username", "kerberos", "s3 keys", "client")
_TRANSPORT_GROUPS = ("certificate", "host key", "proxy")
_STANDARD = {
    "host": "where",
    "port": "where",
    "schema": "where",
    "login": "sign_in",
    "password": "sign_in",
}
_TRANSPORT = ("ssl", "tls", "verify", "cert", "encrypt", "insecure", "https", "secure", "host_key", "proxy")
_SIGN_IN = ("auth", "token", "secret", "role", "kerberos", "key", "passphrase", "credential", "sasl", "scope")
_WHERE = (
    "host",
    "port",
    "region",
    "endpoint",
    "url",
    "account",
    "project",
    "database",
    "warehouse",
    "catalog",
    "servers",
    "namespace",
    "location",
    "workspace",
    "domain",
    "scheme",
    "path",
)
_NOT_WHERE = ("sqlalchemy", "proxy")
_FEW = 4  # fields that are not worth folding away


class Placed(NamedTuple):
    """
    One field and its path: `host`, or `extra.sslmode`.

    Args:
        path: of it.
        field: what the catalog says of it.
        is_folded: it may be folded away with the others like it.
    """

    path: str
    field: Field
    is_folded: bool = False


class Branch(NamedTuple):
    """
    One way of a group.

    Args:
        title: what the way is called.
        fields: that only it has; () for what the machine has by itself.
        is_open: it is the one in use, or none is and it is the first.
    """

    title: str
    fields: tuple[Placed, ...]
    is_open: bool


class Section(NamedTuple):
    """
    One section of a form.

    Args:
        name: of it.
        fields: those that belong to no way, the important ones first.
        ways: by the title of their group, its ways.
    """

    name: SectionName
    fields: tuple[Placed, ...]
    ways: Mapping[str, tuple[Branch, ...]]


def layout(kind: ConnectionType, used: Collection[str] = ()) -> tuple[Section, ...]:
    """
    Give the sections of the form of *kind*, those without a field left out.

    Args:
        kind: the type.
        used: the paths that hold something.
    """
    placed = _placed(kind, used)
    grouped = {
        group.title: (group, _section_of_group(group, placed))
        for group in kind.groups
        if group.kind == "exclusive"
    }
    in_ways = {
        path
        for group, _ in grouped.values()
        for branch in _branches(group, placed, used)
        for path in _paths(branch)
    }
    sections = []
    for name in SECTIONS:
        fields = tuple(
            one for path, one in placed.items() if path not in in_ways and _section(kind, one) == name
        )
        ways = {
            title: tuple(_branches(group, placed, used))
            for title, (group, place) in grouped.items()
            if place == name
        }
        fields = _unfolded(kind, name, fields)
        if fields or ways:
            sections.append(Section(name, fields, ways))
    return tuple(sections)


def _unfolded(kind: ConnectionType, name: SectionName, fields: tuple[Placed, ...]) -> tuple[Placed, ...]:
    """Fold nothing away where it is a handful; but what only ways share that are not the first."""
    later = {
        one
        for group in kind.groups
        if group.kind == "exclusive"
        for one in group.fields
        if one not in group.ways[0].fields
    }
    if name == "more" or sum(one.is_folded for one in fields) > _FEW:
        return fields
    return tuple(one._replace(is_folded=one.is_folded and one.field.name in later) for one in fields)


def _paths(branch: Branch) -> Iterator[str]:
    return (one.path for one in branch.fields)


def _placed(kind: ConnectionType, used: Collection[str]) -> dict[str, Placed]:
    found = {one.name: Placed(one.name, one) for one in kind.standard}
    for field in kind.extras:
        path = f"extra.{field.name}"
        matters = path in used or field.is_required or bool(field.dangerous)
        found[path] = Placed(path, field, is_folded=not matters)
    return found


def _branches(group: Group, placed: Mapping[str, Placed], used: Collection[str]) -> Iterator[Branch]:
    each = [_paths_in(way.fields, placed) for way in group.ways]
    shared = {
        path for path in {one for paths in each for one in paths} if sum(path in paths for paths in each) > 1
    }
    own = [[path for path in paths if path not in shared] for paths in each]
    # What few people need is open only where it is in use.
    first = -1 if _section_of_group(group, placed) == "more" else 0
    in_use = next((index for index, paths in enumerate(own) if any(path in used for path in paths)), first)
    for index, (way, paths) in enumerate(zip(group.ways, own, strict=True)):
        fields = tuple(placed[path]._replace(is_folded=False) for path in paths)
        yield Branch(way.title, fields, is_open=index == in_use)


def _paths_in(names: Collection[str], placed: Mapping[str, Placed]) -> list[str]:
    paths = [name if name in placed else f"extra.{name}" for name in names]
    return [path for path in paths if path in placed]


def _section_of_group(group: Group, placed: Mapping[str, Placed]) -> SectionName:
    title = group.title.lower()
    if any(word in title for word in _TRANSPORT_GROUPS):
        return "transport"
    if title.startswith(_SIGN_IN_GROUPS):
        return "sign_in"
    paths = _paths_in(sorted(group.fields), placed)
    return "where" if title in ("where", "database") or any(path in _STANDARD for path in paths) else "more"


def _section(kind: ConnectionType, one: Placed) -> SectionName:
    if one.path in _STANDARD:
        return "sign_in" if _STANDARD[one.path] == "sign_in" else "where"
    for group in kind.groups:
        if one.field.name in group.fields:
            found = _section_of_group(group, {one.path: one})
            if found != "more":
                return found
    return _by_name(one.field)


def _by_name(field: Field) -> SectionName:
    name = field.name.lower()
    if any(word in name for word in _TRANSPORT):
        return "transport"
    if field.is_secret or any(word in name for word in _SIGN_IN):
        return "sign_in"
    if field.is_required or (any(word in name for word in _WHERE) and not name.startswith(_NOT_WHERE)):
        return "where"
    return "more"
