"""`strongroom connections types`: what connection types there are and what each asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command
from strongroom.cli.output import Column, show_record, show_rows, write
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError
from strongroom.service.kinds import Kinds

if TYPE_CHECKING:
    from strongroom.catalog.field import Field
    from strongroom.catalog.kind import ConnectionType

__all__ = ["facts_of", "kinds_of", "register"]

_COLUMNS = (
    Column("name", "TYPE", styles={"": "bold"}),
    Column("title", "TITLE"),
    Column("family", "FAMILY", 1, styles={"": "dim"}),
)
_FIELD_COLUMNS = (
    Column("place", "FIELD", styles={"": "bold"}),
    Column("label", "LABEL"),
    Column("kind", "TYPE", 1),
    Column("default", "DEFAULT", 1),
    Column("about", "ABOUT", 2),
)
_LABELS = {"name": "type", "title": "title", "family": "family", "default_id": "default id", "docs": "docs"}


def kinds_of(session: Session) -> Kinds:
    """Give the connection types of this session: ours, and those of the Airflow on its search path."""
    return Kinds(session.environ, cache=session.settings().store.path.parent / "cache")


def register(app: typer.Typer) -> None:
    """Declare the command on the app of `connections`."""
    command(app, "types")(types)


def types(
    context: typer.Context,
    *,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="One type in full.", show_default=False)
    ] = None,
    family: Annotated[str | None, typer.Option(metavar="FAMILY", help="Only this family.")] = None,
) -> None:
    """
    List the connection types, or show one with its fields.

    An Airflow on the search path adds what its providers know besides. `***` marks what is never shown.

    Example:
      $ strongroom connections types
      $ strongroom connections types postgres
      $ strongroom connections types --family azure --output json
    """
    session: Session = context.obj
    kinds = kinds_of(session)
    if name is not None:
        if family is not None:
            raise InvalidInputError("a type and a family exclude one another")
        _show(session, kinds.find(name))
    else:
        _list(session, kinds, family)
    if kinds.problem:
        terminal.warn(f"only our own types are known: {kinds.problem}", session)


def _list(session: Session, kinds: Kinds, family: str | None) -> None:
    found = kinds.list()
    families = list(dict.fromkeys(kind.family for kind in found))
    if family is not None and family not in families:
        raise InvalidInputError("there is no such family", hint=f"there are {', '.join(families)}")
    rows = [facts_of(kind) for kind in found if family in (None, kind.family)]
    show_rows(session, _COLUMNS, [rows])


def _show(session: Session, kind: ConnectionType) -> None:
    facts = facts_of(kind)
    show_record(session, facts, labels=_LABELS)
    if session.output != "table":
        return
    write("")
    show_rows(session, _FIELD_COLUMNS, [[_line(field) for field in (*facts["standard"], *facts["extras"])]])
    for group in facts["groups"]:
        write("")
        write(f"{group['title']}: {'one of' if group['kind'] == 'exclusive' else 'together'}")
        for way in group["ways"]:
            fields = ", ".join(way["fields"]) or "nothing to say"
            write(f"  {way['title']}  ({fields})" if group["kind"] == "exclusive" else f"  {fields}")
    if kind.others:
        write("")
        write(f"other keys of extra: {kind.others}")


def _line(field: dict[str, Any]) -> dict[str, object]:
    """Give a field as a line of a table: what matters of it, in words."""
    marks = [
        "*** " * field["is_secret"] + field["type"],
        "required" * field["is_required"],
        "deprecated" * field["is_deprecated"],
    ]
    also = ", ".join(field["aliases"])
    choices = " | ".join(field["choices"])
    told = (choices, field["help"], f"Also read: {also}." if also else "")
    return {
        "place": field["path"],
        "label": field["label"],
        "kind": ", ".join(mark for mark in marks if mark),
        "default": "" if field["default"] is None else str(field["default"]),
        "about": ". ".join(part.removesuffix(".") for part in told if part),
    }


def facts_of(kind: ConnectionType) -> dict[str, Any]:
    """Give a type in plain JSON types, whole."""
    return {
        "name": kind.name,
        "title": kind.title,
        "family": kind.family,
        "icon": kind.icon,
        "docs": kind.docs,
        "default_id": kind.default_id,
        "standard": [_facts_of_field(field, field.name) for field in kind.standard],
        "hidden": list(kind.hidden),
        "extras": [_facts_of_field(field, f"extra.{field.name}") for field in kind.extras],
        "groups": [
            {
                "title": group.title,
                "kind": group.kind,
                "ways": [{"title": way.title, "fields": list(way.fields)} for way in group.ways],
            }
            for group in kind.groups
        ],
        "others": kind.others,
    }


def _facts_of_field(field: Field, path: str) -> dict[str, Any]:
    return {"path": path, **{key: _plain(value) for key, value in field.as_dict().items()}}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
