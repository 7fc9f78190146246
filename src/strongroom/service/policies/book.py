"""
The policies in force: read from the registry, joined with the shipped ones, compiled, and replaced the
moment they are no longer those.

Not for changing them (`__init__.py`), nor for deciding (`policy/cedar.py`).

Rules of this file:

1. What is in force is one object, replaced as a whole: nobody decides by half of a change.
2. Whatever cannot be read makes every decision a denial: it may forbid. The local owner on the host is
   not decided here, so he can put it right.
3. A grant is in force from the moment it was made until its end, by the wall clock, exactly: whoever asks
   for the policy at that moment gets the next one. A clock that is set back brings nothing back.
"""

from __future__ import annotations

import threading
from functools import cache, lru_cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import BackendUnavailableError, ConflictError, SealedError, StrongroomError
from strongroom.model.ref import Ref
from strongroom.policy import Action, Decision
from strongroom.policy.cedar import CedarPolicy, parse
from strongroom.policy.grant import Right, rule_of_right
from strongroom.service.policies.shape import (
    APPROVAL,
    GRANT,
    KINDS,
    POLICY,
    SWITCH,
    ApprovalBody,
    GrantBody,
    PolicyBody,
    SwitchBody,
    decoded,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from strongroom.policy import Actor, Facts
    from strongroom.policy.rule import Rule
    from strongroom.registry import Registry, Row, Snapshot

__all__ = ["SWITCHES", "TWO_FOR_CHANGES", "TWO_FOR_REVEALS", "Book", "Denying", "Document", "shipped"]

TWO_FOR_REVEALS, TWO_FOR_CHANGES = "two-person-reveal", "two-person-changes"
SWITCHES = (TWO_FOR_REVEALS, TWO_FOR_CHANGES)

_SHIPPED = ("admin", "local-owner", "op", "reader", "user", "viewer")
_MAX_KEPT = 8_388_608  # characters of documents whose rules are kept from one revision to the next


class Document(NamedTuple):
    """
    A policy as it stands: one or several statements under one id.

    Args:
        is_shipped: it comes with the product; it can be switched off and not changed.
        version: of the document, opaque; "0" of a shipped one nobody touched.
    """

    id: str
    text: str
    description: str
    is_enabled: bool
    is_shipped: bool
    version: str
    changed_at: datetime | None
    changed_by: str


class Denying:
    """
    The policy where policies cannot be told.

    Args:
        reason: why.
        revision: stands beside decisions.
        trouble: where it passes: it is told instead of a denial, which is final to whoever hears it.
    """

    needs_facts = False
    valid_until = None

    def __init__(self, reason: str, revision: str = "", *, trouble: StrongroomError | None = None) -> None:
        self.revision = revision
        self._decision = Decision(is_allowed=False, reason=reason, trouble=trouble)
        self.remembered = self.decide

    def decide(self, actor: Actor, action: Action, ref: Ref | None, facts: Facts | None = None) -> Decision:  # noqa: ARG002 -- the promise of Policy
        """Deny."""
        return self._decision

    def covers(self, actor: Actor, action: Action) -> bool:  # noqa: ARG002 -- as above
        """Deny."""
        return False

    def knows(self, actor: Actor, action: Action, ref: Ref | None) -> bool:  # noqa: ARG002 -- as above
        """Nobody is asked."""
        return True


@cache
def shipped(name: str) -> str:
    """Give the text of a policy that comes with the product."""
    return (files("strongroom.policy") / "shipped" / f"{name}.cedar").read_text("utf-8")


class Book:
    """
    The policies of one deployment.

    Threads: may be used from several threads at once.
    Consistency: a change by this process counts from the next `current`, one by another process within a
        second, the end of a grant from its very moment.

    Args:
        clock: wall clock, UTC.

    Attributes:
        clock: as given; for what is written. What is decided goes by `now`.
    """

    def __init__(self, registry: Registry, *, clock: Callable[[], datetime]) -> None:
        self.registry = registry
        self.deployment = registry.deployment
        self.clock = clock
        self._latest: datetime | None = None
        self._lock = threading.Lock()
        self._made_of: Snapshot | None = None
        self._parts: tuple[Mapping[str, Row], ...] = ()
        self._policy: CedarPolicy | Denying = Denying("no policies were read yet")
        self._parsed: dict[tuple[str, str], tuple[Rule, ...]] = {}
        self._kept = 0
        self._until: datetime | None = None

    # --- what is in force ----------------------------------------------------------------------------

    def current(self) -> CedarPolicy | Denying:
        """Give the policy that decides now: the same object until it is no longer the one."""
        try:
            snapshot = self.registry.snapshot()
        except StrongroomError as error:
            return _denying(error)
        return self._in_force(snapshot)

    def remembered(self) -> CedarPolicy | Denying:
        """Give the policy that decided last, while nobody can tell which one does (`Registry.remembered`)."""
        try:
            snapshot = self.registry.remembered()
        except StrongroomError as error:
            return _denying(error)
        return self._in_force(snapshot)

    def _in_force(self, snapshot: Snapshot) -> CedarPolicy | Denying:
        if snapshot is self._made_of and (self._until is None or self.now() < self._until):
            return self._policy
        return self._renewed(snapshot)

    def now(self) -> datetime:
        """Give the time, which never goes back: what ended stays ended though the clock is set back."""
        now = self.clock()
        if self._latest is None or now > self._latest:
            self._latest = now
        return self._latest

    def _renewed(self, snapshot: Snapshot) -> CedarPolicy | Denying:
        with self._lock:
            if self._made_of is not None and snapshot.revision < self._made_of.revision:
                snapshot = self._made_of  # another thread has seen more
            parts = tuple(snapshot.of(kind) for kind in KINDS)
            now = self.now()
            is_same = len(self._parts) == len(parts) and all(map(_is, parts, self._parts))
            if not is_same or (self._until is not None and now >= self._until):
                self._policy, self._until = self._compiled(snapshot, now)
                self._parts = parts
            self._made_of = snapshot
            return self._policy

    def _compiled(self, snapshot: Snapshot, now: datetime) -> tuple[CedarPolicy | Denying, datetime | None]:
        try:
            grants = [(row.id, decoded(row, GrantBody)) for row in snapshot.of(GRANT).values()]
            approvals = [decoded(row, ApprovalBody) for row in snapshot.of(APPROVAL).values()]
            rules = self._rules(self.documents(snapshot), switched(snapshot))
            lasting = [(id_, body) for id_, body in grants if now < body.ends_at]
            agreed = [body for body in approvals if is_agreed(body) and now < body.ends_at]
            ends = [*(body.ends_at for _, body in lasting), *(body.ends_at for body in agreed)]
            until = min(ends, default=None)
            policy = CedarPolicy(
                [*rules, *(rule_of_right(f"grant:{id_}", right_of(body)) for id_, body in lasting)],
                revision=revision_of(snapshot, now),
                deployment=self.deployment,
                valid_until=until,
                approved=frozenset(
                    (body.actor, body.action, Ref(body.kind, body.name, body.team))
                    for body in agreed
                    if body.kind is not None and body.name is not None
                ),
            )
        except StrongroomError as error:
            return _denying(error), None
        return policy, until

    def trial(self, documents: Iterable[Document], snapshot: Snapshot) -> CedarPolicy:
        """
        Give the policy that would be in force with *documents* instead of those there are.

        Raises:
            InvalidInputError: one is no policy, or two have statements of one id.
        """
        now = self.now()
        grants = ((row.id, decoded(row, GrantBody)) for row in snapshot.of(GRANT).values())
        return CedarPolicy(
            [
                *self._rules(documents, switched(snapshot)),
                *(
                    rule_of_right(f"grant:{id_}", right_of(body))
                    for id_, body in grants
                    if now < body.ends_at
                ),
            ],
            revision="trial",
            deployment=self.deployment,
        )

    def _rules(self, documents: Iterable[Document], switches: frozenset[str]) -> list[Rule]:
        texts = [(document.id, document.text) for document in documents if document.is_enabled]
        if TWO_FOR_REVEALS in switches:
            texts.append((TWO_FOR_REVEALS, shipped(TWO_FOR_REVEALS)))
        return [rule for id_, text in texts for rule in self.parsed(id_, text)]

    def parsed(self, id_: str, text: str) -> tuple[Rule, ...]:
        """
        Give the statements of a document.

        Raises:
            InvalidInputError: it is no Cedar.
        """
        found = self._parsed.get((id_, text))
        if found is None:
            found = parse(id_, text)
            self._kept += len(text)
            if self._kept > _MAX_KEPT:
                self._parsed.clear()
                self._kept = len(text)
            self._parsed[id_, text] = found
        return found

    # --- what there is ---------------------------------------------------------------------------------

    def documents(self, snapshot: Snapshot | None = None) -> list[Document]:
        """
        Give every document ordered by id, the shipped ones first.

        Raises:
            TamperedError, BackendUnavailableError, SealedError, MalformedEntryError: they cannot be told.
        """
        rows = (snapshot or self.registry.snapshot()).of(POLICY)
        own = sorted(set(rows) - set(_SHIPPED))
        return [
            *(_shipped_document(name, rows.get(name)) for name in _SHIPPED),
            *(_document(rows[name]) for name in own),
        ]


def _is(one: object, other: object) -> bool:
    return one is other


def _denying(error: StrongroomError) -> Denying:
    passes = isinstance(error, (BackendUnavailableError, SealedError))
    return Denying(f"policies cannot be told: {error.code}", trouble=error if passes else None)


def _shipped_document(name: str, row: Row | None) -> Document:
    text = shipped(name)
    body = None if row is None else decoded(row, PolicyBody)
    if body is not None and body.text is not None:
        # A document of that name from before it was shipped: it may forbid, so it must not be passed over.
        raise ConflictError(f"the policy {name} has the name of one that comes with this release")
    return Document(
        id=name,
        text=text,
        description=description_of(text),
        # The way back in must not be switched off by a row.
        is_enabled=body is None or body.is_enabled or name == "local-owner",
        is_shipped=True,
        version="0" if row is None else str(row.revision),
        changed_at=None if body is None else body.changed_at,
        changed_by="" if body is None else body.changed_by,
    )


def _document(row: Row) -> Document:
    body = decoded(row, PolicyBody)
    return Document(
        id=row.id,
        text=body.text or "",
        description=body.description,
        is_enabled=body.is_enabled,
        is_shipped=False,
        version=str(row.revision),
        changed_at=body.changed_at,
        changed_by=body.changed_by,
    )


@lru_cache(maxsize=64)
def description_of(text: str) -> str:
    """Give what the first `@description` of a text says, or ""."""
    return next((rule.description for rule in parse("document", text) if rule.description), "")


def switched(snapshot: Snapshot) -> frozenset[str]:
    """Give the names of the switches that are on."""
    return frozenset(row.id for row in snapshot.of(SWITCH).values() if decoded(row, SwitchBody).is_on)


def right_of(body: GrantBody) -> Right:
    """Give what a row grants."""
    return Right(body.actor, body.actions, body.kinds, body.names, body.team)


def is_agreed(body: ApprovalBody) -> bool:
    """Tell whether *body* is a reveal a second person agreed to."""
    return body.state == "approved" and body.action == Action.REVEAL.value


def revision_of(snapshot: Snapshot, now: datetime) -> str:
    """Give what tells this state of all policies from any other, the same in every process: 12 characters."""
    said = sha256()
    for kind in KINDS:
        for id_, row in sorted(snapshot.of(kind).items()):
            said.update(f"{kind}\0{id_}\0{row.revision}\0{_has_ended(row, now)}\n".encode())
    return said.hexdigest()[:12]


def _has_ended(row: Row, now: datetime) -> bool:
    if row.kind == GRANT:
        return decoded(row, GrantBody).ends_at <= now
    return row.kind == APPROVAL and decoded(row, ApprovalBody).ends_at <= now


def rows_of(snapshot: Snapshot, kind: str) -> Iterator[Row]:
    """Give the rows of one kind in the order of their ids."""
    found = snapshot.of(kind)
    return (found[id_] for id_ in sorted(found))
