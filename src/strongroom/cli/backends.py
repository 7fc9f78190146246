"""`strongroom backends`: what stands where in the chain, and how each is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import typer

from strongroom.cli import backends_setup
from strongroom.cli.app import command, noun
from strongroom.cli.output import Column, Row, show_rows
from strongroom.cli.session import Session
from strongroom.model.ref import KINDS

app = noun(
    "backends",
    """
    Show the backends of the chain, how they are, and set one up.

    Example:
      $ strongroom backends list
      $ strongroom backends check
      $ strongroom backends setup vault --print
    """,
)

_UNAVAILABLE = 6  # the exit code of BackendUnavailableError
_COLUMNS = (
    Column("order", "#", is_number=True),
    Column("name", "NAME", styles={"": "bold"}),
    Column("kind", "KIND"),
    Column("abilities", "ABILITIES", 1),
    Column("match", "ONLY NAMES", 2),
    Column("kinds", "ONLY KINDS", 3),
    Column("on_unavailable", "WHEN DOWN", 4),
)
_VERBS = ("read", "list", "write")


def _may(row: Row) -> str:
    """Say in words what a backend may: `read, list?, not write`."""
    found = cast("Mapping[str, str]", row["may"])
    said = {"yes": "{}", "no": "not {}", "unknown": "{}?"}
    return ", ".join(said[found[verb]].format(verb) for verb in _VERBS if verb in found)


_CHECKED = (
    Column("name", "NAME", styles={"": "bold"}),
    Column("status", "STATUS", styles={"ready": "green", "error": "bold red", "unknown": "yellow"}),
    Column(
        "reachable",
        "ANSWERS",
        2,
        styles={"no": "bold red"},
        show=lambda row: "?" if row["reachable"] is None else "yes" if row["reachable"] else "no",
    ),
    Column("identity", "AS", 1),
    Column("may", "MAY", 1, show=_may),
    Column("milliseconds", "MS", 1, is_number=True),
    Column("message", "MESSAGE"),
)


@command(app, "list")
def list_(context: typer.Context) -> None:
    """
    List the backends in the order they are asked.

    Example:
      $ strongroom backends list
    """
    session: Session = context.obj
    with session.room() as room:
        rows = [
            {
                "order": row.order,
                "name": row.name,
                "kind": row.kind,
                "abilities": row.abilities,
                "match": row.match,
                "kinds": () if set(row.kinds) == set(KINDS) else row.kinds,
                "on_unavailable": row.on_unavailable,
            }
            for row in room.backends.list()
        ]
    show_rows(session, _COLUMNS, [rows])


@command(app, "check")
def check(context: typer.Context) -> None:
    """
    Ask each backend whether it answers, who we are to it, and what we may.

    Nothing is written to find out: what can only be told by writing is unknown ("write?"). A failure
    names the permission or the setting to change. What cannot be made as it is configured stands last.
    Ends with 6 if any of them is in error.

    Example:
      $ strongroom backends check
      $ strongroom backends check -o json
    """
    from strongroom.service.backends import Checked, unmade  # noqa: PLC0415 -- `--help` does without

    session: Session = context.obj
    failed: list[Checked] = []
    with session.room(on_trouble=lambda name, error: failed.append(unmade(name, error))) as room:
        checked = [*room.backends.check(), *failed]
    rows = [
        {
            "name": found.name,
            "status": found.health.status,
            "reachable": found.health.is_reachable,
            "identity": found.health.identity,
            "may": dict(found.health.may),
            "milliseconds": round(found.milliseconds, 1),
            "message": found.health.message,
        }
        for found in checked
    ]
    show_rows(session, _CHECKED, [rows])
    if any(found.health.status == "error" for found in checked):
        raise typer.Exit(_UNAVAILABLE)


backends_setup.attach(app)
