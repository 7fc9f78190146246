"""
Who there is, and how each proves it: people, tokens, roles, sessions.

Not for what anybody may (`service/policies.py`, `policy/`).

How it hangs together: `gate.py` tells who asks and begins sessions, `enrolment.py` those of agents; the
nouns (`people.py`, `issuing.py`, `agents.py`, `roles.py`, `sessions.py`) change the rows as one actor,
through the guard; all of it stands on `registry/`, which nobody changes unseen.
"""

from __future__ import annotations

from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from strongroom.errors import AccessDeniedError
from strongroom.model.principal import LOCAL, canonical
from strongroom.model.principal import PERSON as PERSON_PREFIX
from strongroom.registry import Change
from strongroom.service.access import token as tokens
from strongroom.service.access.agents import AgentRow, Agents, InvitationRow, Invited
from strongroom.service.access.break_glass import BreakGlass, GlassRow
from strongroom.service.access.desk import Desk, Done, standing
from strongroom.service.access.enrolment import Enrolment
from strongroom.service.access.gate import Demands, Gate, Lifetimes
from strongroom.service.access.groups import GroupRow, Groups, HeldRow
from strongroom.service.access.identity import Identity, Login
from strongroom.service.access.issuing import Issued, TokenRow, Tokens
from strongroom.service.access.password import RECOMMENDED, Cost, Passwords
from strongroom.service.access.people import People, PersonRow
from strongroom.service.access.roles import MembershipRow, Roles
from strongroom.service.access.services import ServiceRow, Services
from strongroom.service.access.sessions import SessionRow, Sessions
from strongroom.service.access.shape import BREAK_GLASS, CODE, INVITATION, PERSON, SESSION, Code, encoded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from strongroom.model.secret import Secret
    from strongroom.policy import Actor
    from strongroom.registry import Registry, Snapshot
    from strongroom.service.access.oidc import OidcLogin
    from strongroom.service.access.password import Stretch
    from strongroom.service.access.workload import Workloads
    from strongroom.service.guard import Guard

__all__ = [
    "Access",
    "AgentRow",
    "Agents",
    "BreakGlass",
    "Cost",
    "Demands",
    "Done",
    "GlassRow",
    "GroupRow",
    "Groups",
    "HeldRow",
    "Identity",
    "InvitationRow",
    "Invited",
    "Issued",
    "Lifetimes",
    "Login",
    "MembershipRow",
    "People",
    "PersonRow",
    "Roles",
    "ServiceRow",
    "Services",
    "SessionRow",
    "Sessions",
    "TokenRow",
    "Tokens",
    "open_access",
]


def open_access(  # noqa: PLR0913 -- what stands behind a gate
    registry: Registry,
    guard: Guard,
    actor: Actor,
    *,
    clock: Callable[[], datetime],
    stretch: Stretch,
    check: Callable[[bytes, bytes, bytes], None],
    lifetimes: Lifetimes | None = None,
    demands: Demands | None = None,
    cost: Cost = RECOMMENDED,
    oidc: Callable[[Gate], OidcLogin] | None = None,
    workloads: Workloads | None = None,
    certificates: Mapping[str, str] = MappingProxyType({}),
) -> Access:
    """
    Make the access of one deployment. Its registry's watcher, where it runs, keeps it up to date.

    Args:
        registry: the rows; closed by whoever opened them, after this.
        guard: of the deployment.
        actor: whom the nouns act as; `as_actor` gives others.
        clock: wall clock, UTC.
        stretch: `crypto.wrapping.stretch`.
        check: checks a signature of Ed25519: (public key, signature, message).
        lifetimes: of sessions and codes; the usual ones if unsaid.
        demands: of people; the usual ones if unsaid.
        cost: of one guess of a password.
        oidc: makes logins by an identity provider; None where there is none.
        workloads: by whose tokens services are known beside our own; None for nobody's.
        certificates: the names in TLS client certificates, to the agent each is.
    """
    passwords = Passwords(registry.seal, registry.deployment, stretch, cost=cost)
    gate = Gate(
        registry,
        guard.recorder,
        passwords,
        clock=clock,
        lifetimes=lifetimes or Lifetimes(),
        demands=demands,
        workloads=workloads,
    )
    logins = None if oidc is None else oidc(gate)
    if logins is not None:
        registry.on_close(logins.close)
    return Access(gate, guard, actor, Enrolment(gate, check, certificates), logins)


class Access:
    """
    Who there is in one deployment, as one actor; and the gate, which is the same for all.

    Threads: safe.

    Attributes:
        actor: who acts in the nouns.
        people, tokens, services, agents, roles, groups, sessions: the nouns.
        authenticate, recognise, basic, login, login_with_code, logout, change_password: the gate's; see
            there.
        demands: what is asked of people.
        lifetimes: how long sessions and codes last.
        enrolment: begins agents, and sessions of theirs.
        oidc: logs people in by an identity provider; None where there is none.
    """

    def __init__(
        self, gate: Gate, guard: Guard, actor: Actor, enrolment: Enrolment, oidc: OidcLogin | None = None
    ) -> None:
        self.actor = actor
        self.demands = gate.demands
        self.lifetimes = gate.lifetimes
        self.enrolment = enrolment
        self.oidc = oidc
        self._gate = gate
        self._guard = guard
        self._desk = Desk(gate, guard, actor)
        # The gate's own methods and not wrappers of them: the first stands on every request's way.
        self.authenticate = gate.authenticate
        self.recognise = gate.recognise
        self.basic = gate.basic
        self.login = gate.login
        self.login_with_code = gate.login_with_code
        self.logout = gate.logout
        self.change_password = gate.change_password

    @property
    def is_silent(self) -> bool:
        """Whether the store gave no answer when it was last looked at."""
        return self._gate.registry.silence is not None

    @property
    def is_fresh(self) -> bool:
        """Whether `authenticate` knows what stands without waiting for the store."""
        return self._gate.registry.is_fresh

    @property
    def is_prompt(self) -> bool:
        """Whether `authenticate` waits for no store: `is_fresh`, or it says at once that it is silent."""
        return self._gate.registry.is_prompt

    @property
    def memory(self) -> timedelta:
        """How long a session goes on to look at pages while the store gives no answer."""
        return self._gate.registry.memory

    def as_actor(self, actor: Actor) -> Access:
        """Give the same as *actor*, who has been authenticated."""
        return (
            self if actor == self.actor else Access(self._gate, self._guard, actor, self.enrolment, self.oidc)
        )

    @cached_property
    def people(self) -> People:
        """Who may log in."""
        return People(self._desk)

    @cached_property
    def tokens(self) -> Tokens:
        """What services prove themselves with."""
        return Tokens(self._desk)

    @cached_property
    def agents(self) -> Agents:
        """The hosts that ask for their processes."""
        return Agents(self._desk)

    @cached_property
    def services(self) -> Services:
        """The programs that ask, and who vouches for them."""
        return Services(self._desk)

    @cached_property
    def roles(self) -> Roles:
        """Who is a member of what."""
        return Roles(self._desk)

    @cached_property
    def groups(self) -> Groups:
        """What the identity provider's groups give."""
        return Groups(self._desk, None if self.oidc is None else self.oidc.rules)

    @cached_property
    def break_glass(self) -> BreakGlass:
        """Who is an administrator in need."""
        return BreakGlass(self._desk)

    @cached_property
    def sessions(self) -> Sessions:
        """Who is logged in."""
        return Sessions(self._desk)

    def login_link(self, person: str | None = None) -> Secret[str]:
        """
        Make a code that begins one session within ten minutes.

        Args:
            person: as whom; None for the local owner who acts, and for him alone.

        Raises:
            AccessDeniedError: policy says no; or *person* is unsaid and no local owner acts.
            NotFoundError: there is no such person.
            As `People.add`.
        """
        if person is None and not self.actor.id.startswith(LOCAL):
            raise AccessDeniedError("only the local owner makes a login link for himself", reason="not local")
        name = None if person is None else canonical(person)
        actor = self.actor.id if name is None else PERSON_PREFIX + name
        code, now = tokens.draw(tokens.CODE), self._desk.now()
        digest = tokens.digest_of(code.reveal())
        body = Code(
            digest=digest, actor=actor, created_by=self.actor.id, expires=now + self._gate.lifetimes.code
        )

        def decide(snapshot: Snapshot) -> list[Change]:
            if name is not None:
                standing(snapshot, PERSON, name, f"person {name}")
            return [Change(CODE, tokens.id_of(digest), encoded(body), 0)]

        self._desk.change(decide, reason=f"make a login link for {actor}")
        return code

    # --- when somebody was at the rows -------------------------------------------------------------

    def problems(self) -> list[str]:
        """
        Tell what is wrong with the rows of who may, a clause each; empty where nothing is.

        Raises:
            AccessDeniedError: policy says no.
            BackendUnavailableError, SealedError: as their names say.
        """
        self._desk.require()
        return self._gate.registry.problems()

    def accept(self) -> list[str]:
        """
        Take the rows as they stand for right, on the host: what is not authentic is dropped, every session,
        login code, invitation and broken glass ends, and the acts go on. Gives what was wrong.

        Raises:
            AccessDeniedError: somebody else than the local owner acts.
            As `People.add`.
        """
        if not self.actor.id.startswith(LOCAL) or self.actor.source:
            raise AccessDeniedError("only the local owner, on the host, accepts them", reason="not local")
        return self._desk.act(
            lambda: self._gate.registry.accept(dropping=(SESSION, CODE, INVITATION, BREAK_GLASS)),
            reason="accept the rows of who may",
        )
