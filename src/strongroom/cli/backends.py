"""`strongroom backends`: what stands where in the chain, how each is, and drills."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, cast

import typer

from strongroom.cli import backends_setup
from strongroom.cli.app import command, noun
from strongroom.cli.entry import public_text
from strongroom.cli.output import Column, Row, sentence, show_rows
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError
from strongroom.model.ref import KINDS

app = noun(
    "backends",
    """
    Show the backends of the chain and put them in order.

    Example:
      $ strongroom backends list
      $ strongroom backends check
      $ strongroom backends setup vault --print
      $ strongroom backends pause vault --for 5m --reason "fire drill"
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
    Column("paused_until", "PAUSED UNTIL", 1, styles={"": "yellow"}),
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
                "paused_until": None if row.pause is None else row.pause.until,
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


_NAME = Annotated[str, typer.Argument(metavar="NAME", help="As the chain calls it.", show_default=False)]
_REASON = Annotated[str, typer.Option(metavar="TEXT", callback=public_text, help="Why; kept in the record.")]
_VERSION = Annotated[
    str | None, typer.Option("--expected-version", metavar="VERSION", help="Only over this version.")
]


@command(app, "order")
def order(
    context: typer.Context,
    names: Annotated[
        list[str], typer.Argument(metavar="NAME…", help="Every backend, the first to ask first.")
    ],
    *,
    reason: _REASON = "",
    expected_version: _VERSION = None,
) -> None:
    """
    Have the backends asked in another order, in every server.

    Only where the settings leave it to the server (managed = "server"); servers heed it within a second.

    Example:
      $ strongroom backends order env native vault
    """
    session: Session = context.obj
    with session.room() as room:
        room.backends.arrange(names, expected=expected_version, reason=reason)
        found = [row.name for row in room.backends.list()]
    sentence(session, f"asked in this order: {', '.join(found)}", {"chain": found})


@command(app, "set")
def set_(
    context: typer.Context,
    name: _NAME,
    *,
    match: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help='Ask it only for names like this; "" for all; repeatable.'),
    ] = None,
    kind: Annotated[
        list[str] | None, typer.Option(metavar="KIND", help='Ask it only for this; "" for all; repeatable.')
    ] = None,
    when_down: Annotated[
        str | None, typer.Option(metavar="WHAT", help="stale, stop or next.", show_default=False)
    ] = None,
    team_fallback: Annotated[
        bool | None,
        typer.Option(help="Ask for the global name where a team has none.", show_default=False),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option(metavar="SECONDS", help="For one answer.", show_default=False)
    ] = None,
    reason: _REASON = "",
    expected_version: _VERSION = None,
) -> None:
    """
    Say when a backend is asked, and how long it is waited for.

    What is not given is as the settings say; without any option all is. Only where the settings leave it to
    the server (managed = "server"). Where a backend is and who we are to it stays in the settings.

    Example:
      $ strongroom backends set vault --when-down next --timeout 1.5
      $ strongroom backends set vault
    """
    from strongroom.service.backends import Said  # noqa: PLC0415 -- `--help` does without

    session: Session = context.obj
    said = Said(
        match=_given(match),
        kinds=cast("Any", _given(kind)),
        on_unavailable=cast("Any", when_down),
        team_fallback=team_fallback,
        timeout_seconds=None if timeout is None else _number(timeout),
    )
    said.check()
    with session.room() as room:
        found = room.backends.adjust(name, said, expected=expected_version, reason=reason)
    words = "as its settings say" if said.is_empty else "otherwise than its settings say"
    sentence(session, f"{name} is asked {words}", {"backend": name, "version": found.version})


@command(app, "pause")
def pause(
    context: typer.Context,
    name: _NAME,
    *,
    lasting: Annotated[
        str, typer.Option("--for", metavar="SPAN", help="As 30s, 5m or 1h; at most 1h.")
    ] = "5m",
    reason: Annotated[
        str,
        typer.Option(metavar="TEXT", callback=public_text, help="Why; others see it, and it is recorded."),
    ],
) -> None:
    """
    Have a backend give no answer for a while, for a drill.

    Every server of the deployment takes it for down: what on_unavailable and cache.stale_if_error say comes
    to pass. What the cache holds of it is asked for anew, so that it shows at once. It answers again by
    itself, or earlier with resume. A process that reads without a server is not held to it.

    Example:
      $ strongroom backends pause vault --for 5m --reason "fire drill"
    """
    session: Session = context.obj
    with session.room() as room:
        found = room.backends.pause(name, _span(lasting), reason=reason)
    facts = {
        "backend": name,
        "since": found.since,
        "until": found.until,
        "by": found.by,
        "reason": found.reason,
    }
    sentence(session, f"{name} gives no answer until {found.until:%Y-%m-%dT%H:%M:%SZ}", facts)


@command(app, "resume")
def resume(context: typer.Context, name: _NAME) -> None:
    """
    Let a backend that is paused answer again.

    Example:
      $ strongroom backends resume vault
    """
    session: Session = context.obj
    with session.room() as room:
        room.backends.resume(name)
    sentence(session, f"{name} answers again", {"backend": name, "pause": None})


_SPAN = re.compile(r"([0-9]{1,4})([smh])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours"}


def _span(text: str) -> timedelta:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise InvalidInputError("--for must be a span of time", hint="as 30s, 5m or 1h")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _given(values: list[str] | None) -> tuple[str, ...] | None:
    """Give what was said, () for the one empty word that stands for all."""
    return None if not values else () if values == [""] else tuple(values)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        pass
    raise InvalidInputError("--timeout must be a number of seconds")


backends_setup.attach(app)
