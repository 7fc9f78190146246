"""Shapes of the place itself: deployments, backends, changes, settings, mode."""

# ruff: noqa: RUF012 -- msgspec gives every object an empty default of its own

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time
from typing import Annotated, Any, Literal

from msgspec import Meta

from strongroom.wire.shape import UNSET, Asked, Given, Kind, PageLimit, UnsetType

__all__ = [
    "AdjustBackend",
    "ArrangeBackends",
    "BackendFigures",
    "BackendRow",
    "Backends",
    "ChangeQuery",
    "ChangeRow",
    "CheckedBackend",
    "CheckedBackends",
    "CompareQuery",
    "Compared",
    "ComparedCell",
    "ComparedLine",
    "ConfigView",
    "DeploymentRow",
    "DeploymentView",
    "Deployments",
    "FollowQuery",
    "MinuteRow",
    "ModeView",
    "PauseBackend",
    "PauseRow",
    "PolicyNotice",
    "Series",
    "SeriesQuery",
    "SetMode",
]


class DeploymentRow(Given, kw_only=True):
    """
    A deployment the actor may see.

    Args:
        chain: its backends in the order asked.
        is_first: the one `/v1` addresses.
    """

    name: str
    is_first: bool
    chain: list[str]
    is_read_only: bool


class DeploymentView(DeploymentRow, kw_only=True):
    """
    A deployment in numbers, of what the actor may list.

    Args:
        teams: whose entries he may see some of.
        connections: names of connections, of every team and none.
        variables: names of variables.
    """

    teams: list[str]
    connections: int
    variables: int


class Deployments(Given, kw_only=True):
    """The deployments this server serves, as far as the actor may know of them."""

    deployments: list[DeploymentRow]


class PauseRow(Given, kw_only=True):
    """
    A backend that is paused for a drill: until then it gives no answer, as one that is down.

    Args:
        by: who began it.
        reason: why he said he does.
    """

    backend: str
    since: datetime
    until: datetime
    by: str
    reason: str


class BackendFigures(Given, kw_only=True):
    """
    How often this server asked a backend since it began, and what came of it.

    Args:
        asked: names.
        outcomes: how many of those came to what: `found`, `absent`, `denied`, `unavailable`, `invalid`.
        median_ms: of the last 512 answers, the middle one.
        slowest_ms: what 99 in 100 of them stay under.
        answered_seconds: since its last answer; null where it never gave one.
        silent_seconds: since it began to be unavailable; null while it answers.
    """

    asked: int
    outcomes: dict[str, int] = {}
    median_ms: float | None = None
    slowest_ms: float | None = None
    answered_seconds: float | None = None
    silent_seconds: float | None = None


class BackendRow(Given, kw_only=True):
    """
    One backend of the chain.

    Args:
        order: place in the chain, from 1.
        abilities: any of read, write, list, versions, check.
        match: patterns of the names it is asked for; empty for all.
        kinds: kinds it is asked for; empty for all.
        team_fallback: asked for the global name where the team has none.
        references: references in what it holds are resolved.
        is_read_only: never written, whatever it could.
        timeout_seconds: for one answer.
        is_local: it does not leave the server's machine.
        is_adjusted: the server says something else of it than its settings.
        pause: the drill it is paused for.
        figures: of this server.
    """

    order: int
    name: str
    kind: str
    abilities: list[str]
    match: list[str]
    kinds: list[str]
    on_unavailable: str
    team_fallback: bool = True
    references: bool = False
    is_read_only: bool = False
    timeout_seconds: float = 3.0
    is_local: bool = False
    is_adjusted: bool = False
    pause: PauseRow | None = None
    figures: BackendFigures | None = None


class Backends(Given, kw_only=True):
    """
    The chain, in the order asked.

    Args:
        managed: by whom it is put in order: the settings `file`, or the `server`.
        version: of what the server says of it; "0" where that is nothing.
        changed_at, changed_by: of the last change of that.
    """

    backends: list[BackendRow]
    managed: Literal["file", "server"] = "file"
    version: str = "0"
    changed_at: datetime | None = None
    changed_by: str | None = None


class ArrangeBackends(Asked, kw_only=True):
    """
    The order to ask backends in.

    Args:
        names: every backend of the settings, once.
        reason: why; kept in the record.
    """

    names: list[str]
    reason: str = ""


class AdjustBackend(Asked, kw_only=True):
    """
    What the server says of a backend in place of its settings. What is unsaid, or null, is as those say.

    Args:
        match: patterns of the names it is asked for; empty for all.
        kinds: kinds it is asked for; empty for all.
        on_unavailable: what an outage of it does.
        team_fallback: ask for the global name where the team has none.
        timeout_seconds: for one answer; 0.05 to 3600.
        reason: why; kept in the record.
    """

    match: list[str] | None = None
    kinds: list[Kind] | None = None
    on_unavailable: Literal["stale", "stop", "next"] | None = None
    team_fallback: bool | None = None
    timeout_seconds: float | None = None
    reason: str = ""


class PauseBackend(Asked, kw_only=True):
    """
    For how long a backend is to give no answer.

    Args:
        seconds: 10 to 3600; it answers again by itself.
        reason: why; others see it.
    """

    seconds: float
    reason: str


class CheckedBackend(Given, kw_only=True):
    """
    How one backend is.

    Args:
        message: what is wrong and what to change, down to the permission or setting.
        milliseconds: until it had told.
        ends: what it needs and when that ends, by what it is.
        renewed: those of `ends` that it puts off by itself.
        identity: whom the store takes the server for; "" where it does not say.
        is_reachable: whether the store answered; null where that is not known.
        may: whether it may `read`, `list` and `write`.
    """

    name: str
    status: Literal["ready", "error", "unknown"]
    message: str
    milliseconds: float
    ends: dict[str, datetime]
    renewed: list[str]
    identity: str = ""
    is_reachable: bool | None = None
    may: dict[str, Literal["yes", "no", "unknown"]] = {}


class CheckedBackends(Given, kw_only=True):
    """How each backend is, in the chain's order."""

    backends: list[CheckedBackend]


class SeriesQuery(Asked, kw_only=True):
    """
    How far back.

    Args:
        minutes: of the last 24 hours.
    """

    minutes: Annotated[int, Meta(ge=1, le=1440)] = 1440


class MinuteRow(Given, kw_only=True):
    """
    What was read in one minute.

    Args:
        at: its beginning.
        cache: answers out of memory.
        backend: answers that a backend was asked for.
        stale: older answers that stood in for a backend that gave none.
        refused: reads that policy refused.
    """

    at: datetime
    cache: int
    backend: int
    stale: int
    refused: int


class Series(Given, kw_only=True):
    """
    Reads by the minute, as this server counted them.

    Args:
        since: when counting began, or the oldest minute where that is later.
        until: when this was looked at.
        minutes: in order; the last one goes on. One in which nobody looked is missing, and is no zero.
    """

    since: datetime
    until: datetime
    minutes: list[MinuteRow]


class CompareQuery(Asked, kw_only=True):
    """
    Which deployments beside each other.

    Args:
        between: their names, joined by commas, first the one that the others are compared with.
        only: `all` lines, those that are `differing`, or those that are `missing` somewhere.
        begin: lines before the first.
        limit: lines at most; no page has more than 200.
    """

    between: str
    only: Literal["all", "differing", "missing"] = "all"
    begin: int = 0
    limit: PageLimit = 100


class ComparedCell(Given, kw_only=True):
    """
    One entry in one deployment.

    Args:
        state: `unknown` while it has not been compared, `untold` where it may not be described to who asks.
        letter: of its content: the same letter in one line is the same, A what the first deployment holds.
        fields: in what it differs from the first, by name.
    """

    state: Literal["same", "differs", "missing", "unknown", "untold", "unreadable"]
    letter: str
    fields: list[str]
    version: str | None


class ComparedLine(Given, kw_only=True):
    """One entry, with a cell for each deployment."""

    kind: Kind
    name: str
    team: str | None
    conn_type: str | None
    cells: list[ComparedCell]


class Compared(Given, kw_only=True):
    """
    One page of a comparison; no value, and no mark of one.

    Args:
        deployments: their names, in the order of the cells.
        entries: how many names each has.
        same: how many of the first one's each holds with the same content.
        total: lines of all pages.
        counts: lines by what `only` may ask for.
        compared: how many entries have been compared so far, and of how many.
    """

    deployments: list[str]
    entries: list[int]
    same: list[int]
    lines: list[ComparedLine]
    total: int
    counts: dict[str, int]
    compared: list[int]


class ChangeQuery(Asked, kw_only=True):
    """
    From where to follow changes.

    Args:
        after: the `id` of the last event seen; `Last-Event-ID` says the same. Unsaid, only what comes.
    """

    after: str | None = None


class FollowQuery(ChangeQuery, kw_only=True):
    """
    From where to follow which changes at an agent.

    Args:
        ref: only these, each a kind and a name: `variable/region`; unsaid, all the agent hears of.
        team: whose; unsaid, the global ones. Counts for `ref` alone.
    """

    ref: list[str] = []
    team: str | None = None


class ChangeRow(Given, kw_only=True):
    """
    That an entry changed: the `data` of an event `change`, whose `id` is opaque.

    An event `gap` has none: changes before it were forgotten, so everything is to be read again.

    Args:
        version: the one that stands now; None after a deletion.
    """

    kind: Kind
    name: str
    team: str | None
    version: str | None


class PolicyNotice(Given, kw_only=True):
    """
    What decides about whoever listens: the `data` of an event `policy`, which has no `id`. It is told at the
    beginning, when it is another, and every two seconds as a sign of life.

    Args:
        revision: of policies, grants, and his own roles; opaque, compared for equality.
    """

    revision: str


class ConfigView(Given, kw_only=True):
    """
    The settings in force, from a list of what may be shown; anything else reads `***`.

    Args:
        settings: as in strongroom.toml.
    """

    settings: dict[str, Any]


class ModeView(Given, kw_only=True):
    """How the server runs now."""

    is_read_only: bool
    log_level: Literal["debug", "info", "warning", "error"]


class SetMode(Asked, kw_only=True):
    """What to change of it; unsaid members stay."""

    is_read_only: bool | UnsetType = UNSET
    log_level: Literal["debug", "info", "warning", "error"] | UnsetType = UNSET
    reason: str = ""
