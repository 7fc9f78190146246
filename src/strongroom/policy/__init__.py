"""
May they? Pure rules from (actor, action, ref) to a Decision with its reason.

Not for acting on the answer: `service/guard.py` is the only caller.

Rules of this file:

1. No I/O, no clock, no environment: the same question has the same answer.
2. Every Decision says why, and names the policies that decided.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol, runtime_checkable

from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.model.ref import Ref

__all__ = [
    "OVER_TCP",
    "Action",
    "Actor",
    "Assurance",
    "Decision",
    "Facts",
    "HostPolicy",
    "OwnerPolicy",
    "Policy",
    "Preparing",
    "Role",
    "Run",
    "Scope",
]


class Action(str, Enum):
    """What may be allowed or not; the value is the word in policies and audit records."""

    LIST = "list"
    DESCRIBE = "describe"
    READ = "read"
    REVEAL = "reveal"
    WRITE = "write"
    DELETE = "delete"
    ROTATE = "rotate"
    TEST = "test"
    ADMINISTER = "administer"
    BREAK_GLASS = "break_glass"  # to become an administrator for a while, in need


class Assurance(IntEnum):
    """How an identity was proven; a higher level implies the lower ones."""

    CLAIMED = 0
    HOST_USER = 1  # this host and this Unix user
    VERIFIED_RUN = 2
    SIGNED_TICKET = 3
    ISOLATED_PROCESS = 4

    @property
    def level(self) -> str:
        """Its name where an identity is shown: `L1`."""
        return f"L{int(self)}"

    @property
    def meaning(self) -> str:
        """What it proves, in words: `this host and its user`."""
        return _MEANINGS[self]


_MEANINGS = {
    Assurance.CLAIMED: "claimed",
    Assurance.HOST_USER: "a host and its user, or a credential",
    Assurance.VERIFIED_RUN: "a verified run",
    Assurance.SIGNED_TICKET: "a signed ticket",
    Assurance.ISOLATED_PROCESS: "a process of its own",
}


class Role(NamedTuple):
    """
    A role an actor has.

    Args:
        name: `admin`, `op`, `user`, `viewer` or one of the deployment's own; canonical.
        team: only for what this team owns; None for everything in the deployment.
    """

    name: str
    team: str | None = None


class Run(NamedTuple):
    """
    What a request says of the run that asks.

    Args:
        assurance: how *that* was proven; a request's own word is `CLAIMED`, whoever brings it.
        map_index, try_number: as Airflow counts them.
        bundle: the bundle the DAG came from.
        ti_id: Airflow's id of the task instance.
        bundle_version: which state of the bundle.
        team: whose run it is, as Airflow says.
        source: what kind of process asks: `task`, `parse`, `trigger`, `server` or `cli`.
        announced: the agent was told of it by its supervisor, and not by whoever asks.
        receipt: by which the server that verified it knows it again; of agents alone, and in no record.
        pending: nobody can tell now whether it is a verified run; as *receipt*.
    """

    assurance: Assurance
    dag_id: str | None = None
    task_id: str | None = None
    run_id: str | None = None
    map_index: int | None = None
    try_number: int | None = None
    bundle: str | None = None
    ti_id: str | None = None
    bundle_version: str | None = None
    team: str | None = None
    source: str | None = None
    announced: bool | None = None
    receipt: str | None = None
    pending: bool | None = None


class Scope(NamedTuple):
    """
    What a credential is good for at most, whatever policy would allow its holder. Empty means unlimited.

    Args:
        actions: words of `Action`.
        kinds: kinds of entries.
        names: patterns as in `match` of a backend.
        teams: teams; "" is the global names.
    """

    actions: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Actor:
    """
    Who acts.

    Args:
        id: stable text: `local:1000`, `person:anna`, `service:ci`, `agent:host-1`.
        assurance: how that identity was proven.
        roles: what it may take part in, in this deployment.
        scope: the bounds of the credential it came with.
        run: for whom it asks.
        source: where the request came from, an IP address; "" where there is none.
        user: for which user of its host an agent asks, as that host's kernel says: `local:1000`.
        as_of: the moment of what is known of who may, where nobody can tell since: he looks, and does nothing
            else (`service/guard.py`). None for what stands now.
    """

    id: str
    assurance: Assurance = Assurance.CLAIMED
    roles: tuple[Role, ...] = ()
    scope: Scope | None = None
    run: Run | None = None
    source: str = ""
    user: str = ""
    as_of: datetime | None = None


class Facts(NamedTuple):
    """
    What is public about an entry, for policies that ask for it.

    Args:
        tags: its tags.
        conn_type: of a connection.
        owner: as its metadata says.
    """

    tags: tuple[str, ...] = ()
    conn_type: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """
    Yes or no, and why.

    Args:
        reason: one clause for people; holds no value.
        policies: ids of the policies that decided.
        trouble: why nobody decided; nothing is allowed then, and it is this that is told, not a denial.
    """

    is_allowed: bool
    reason: str
    policies: tuple[str, ...] = ()
    trouble: StrongroomError | None = None


class Policy(Protocol):
    """
    Decide whether an actor may do something.

    Trust: the actor has been authenticated by whoever calls.
    Threads: may be called from several threads at once.
    Consistency: a change of policy is seen by the next decision.
    """

    @property
    def needs_facts(self) -> bool:
        """Whether what is public about an entry may change a decision, so that it must be handed in."""
        ...

    def decide(self, actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None) -> Decision:
        """
        Decide about *ref*, or about the room as a whole where it is None. Never raises.

        Without *facts* only what needs none may allow. It may wait for somebody else's answer where `knows`
        says no.
        """
        ...

    def knows(self, actor: Actor, action: Action, ref: Ref | None) -> bool:
        """Tell whether `decide` answers at once, so that a loop may ask it."""
        ...


@runtime_checkable
class Preparing(Protocol):
    """A policy that asks somebody, and can ask about many at once."""

    def prepare(self, actor: Actor, action: Action, refs: Sequence[Ref]) -> None:
        """Have the decisions on *refs* at hand where they can be had; waits. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class OwnerPolicy:
    """
    The policy of a room without server or agent: the operating system decides.

    Whoever may read the settings and the key may read the room. Such a process acts as the local
    owner, who may do everything; nobody else is known here, so everybody else may do nothing.

    Args:
        owner: the one actor this process acts as.
    """

    owner: Actor
    needs_facts: ClassVar[bool] = False

    def decide(self, actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None) -> Decision:  # noqa: ARG002 -- the promise of Policy
        """Allow the local owner everything, whatever run he says he is in."""
        if actor == self.owner or (actor.run is not None and replace(actor, run=None) == self.owner):
            return Decision(
                is_allowed=True,
                reason="local owner: whoever may read the settings and the key may read the room",
                policies=("local-owner",),
            )
        return Decision(is_allowed=False, reason="not the local owner", policies=("local-owner",))

    def covers(self, actor: Actor, action: Action) -> bool:  # noqa: ARG002 -- the promise of Covering
        """Tell whether *actor* may do that to every entry: the local owner may."""
        return actor == self.owner

    def knows(self, actor: Actor, action: Action, ref: Ref | None) -> bool:  # noqa: ARG002 -- the promise of Policy
        """Nobody is asked."""
        return True


OVER_TCP = "local:tcp"
"""Whoever asks an agent over its loopback address; the kernel does not tell who that is."""
_ON_HOST = frozenset({Action.LIST, Action.DESCRIBE, Action.READ})
_MAY_CONNECT = Decision(
    is_allowed=True, reason="whoever may connect to this agent may read", policies=("host-user",)
)
_IS_OWNER = Decision(
    is_allowed=True,
    reason="root and the agent's own user may write what the agent can",
    policies=("host-user",),
)
_MAY_NOT_WRITE = Decision(
    is_allowed=False,
    reason="only root and the agent's own user may write; agent.policy or a server allows it to others",
    policies=("host-user",),
)
_MAY_NOT = Decision(is_allowed=False, reason="an agent reads and writes only", policies=("host-user",))
_STRANGER = Decision(is_allowed=False, reason="not a user of this host", policies=("host-user",))


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """
    The policy of an agent that has none from a server or a file: who may connect may read.

    The operating system decides: the agent's socket is answered to its own user, to root and to those named
    in the settings, and nobody else has an identity here. Who sets `agent.tcp` lets in whoever knows its
    token. It allows reading and what reading tells anyhow; writing only to those who could write past the
    agent, too.

    Args:
        owners: root and the agent's own user, as `local:0`.
    """

    owners: frozenset[str] = frozenset()
    needs_facts: ClassVar[bool] = False

    def decide(self, actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None) -> Decision:  # noqa: ARG002 -- the promise of Policy
        """Allow a Unix user of this host to read, and whoever knew the token of the loopback address."""
        is_user = actor.assurance >= Assurance.HOST_USER and actor.id.startswith("local:")
        if not is_user and actor.id != OVER_TCP:
            return _STRANGER
        if action is Action.WRITE:
            return _IS_OWNER if is_user and actor.id in self.owners else _MAY_NOT_WRITE
        return _MAY_CONNECT if action in _ON_HOST else _MAY_NOT

    def knows(self, actor: Actor, action: Action, ref: Ref | None) -> bool:  # noqa: ARG002 -- as above
        """Nobody is asked."""
        return True
