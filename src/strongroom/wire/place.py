"""Shapes of the place itself: deployments, backends, changes, settings, mode."""

# ruff: noqa: RUF012 -- msgspec gives every object an empty default of its own

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time
from typing import Any, Literal

from strongroom.wire.shape import UNSET, Asked, Given, Kind, UnsetType

__all__ = [
    "BackendRow",
    "Backends",
    "ChangeQuery",
    "ChangeRow",
    "CheckedBackend",
    "CheckedBackends",
    "ConfigView",
    "DeploymentRow",
    "DeploymentView",
    "Deployments",
    "FollowQuery",
    "ModeView",
    "PolicyNotice",
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


class BackendRow(Given, kw_only=True):
    """
    One backend of the chain.

    Args:
        order: place in the chain, from 1.
        abilities: any of read, write, list, versions, check.
        match: patterns of the names it is asked for; empty for all.
        kinds: kinds it is asked for; empty for all.
    """

    order: int
    name: str
    kind: str
    abilities: list[str]
    match: list[str]
    kinds: list[str]
    on_unavailable: str


class Backends(Given, kw_only=True):
    """The chain, in the order asked."""

    backends: list[BackendRow]


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
