"""
Who is that? From a token, a session, a code or a password to an identity, or a refusal.

Rules of this file:

1. Every refusal says the same, whatever was wrong, and costs the same, whoever it would have been.
2. A session begins with a new random id, and ends with logout, its person's new password, another role,
   being disabled or deleted: the row is gone, and with it every process stops believing within a second.
3. Beginning a session is decided on the rows as they stand when it is written: a password that was changed
   meanwhile, or a code that was used, begins none.
4. `authenticate` writes nothing: when a credential was last used is kept in memory and written now and then.
5. Who only looks at a page goes on for a bounded time while the store gives no answer (`recognise`,
   `remembering.py`). Nobody else does.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace as replaced
from datetime import datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from strongroom.audit import Event
from strongroom.errors import (
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.model import principal
from strongroom.model.pairing import challenge_of
from strongroom.model.principal import PERSON as PERSON_PREFIX
from strongroom.policy import Assurance
from strongroom.registry import Change, Snapshot
from strongroom.service.access import token as tokens
from strongroom.service.access.begun import Begun
from strongroom.service.access.desk import Done
from strongroom.service.access.ending import codes_of, sessions_of
from strongroom.service.access.identity import Held, Identity, Login, Memo
from strongroom.service.access.proving import WRONG, Proving
from strongroom.service.access.refusals import NOBODY, Refusals
from strongroom.service.access.remembering import Remembering
from strongroom.service.access.shape import (
    BREAK_GLASS,
    CODE,
    LOGIN,
    PERSON,
    SERVICE,
    SESSION,
    TOKEN,
    Code,
    LastLogin,
    Person,
    Session,
    Token,
    decoded,
    encoded,
)
from strongroom.service.access.standing import (
    actor_of,
    glass_of,
    is_disabled,
    is_standing,
    roles_of,
    scope_of,
    with_glass,
)
from strongroom.service.access.uses import Uses
from strongroom.service.access.workload import is_signed
from strongroom.vendors.jwt import TokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from strongroom.model.secret import Secret
    from strongroom.policy import Actor
    from strongroom.registry import Registry, Row
    from strongroom.service.access.password import Passwords
    from strongroom.service.access.workload import Proof, Workloads
    from strongroom.service.guard import Recorder

__all__ = ["Demands", "Gate", "Lifetimes", "refused"]

_MOST_HELD = 100_000
_SWEEP_SECONDS = 60.0
_MISS_SECONDS = 0.02  # between two looks for a token that is not known yet
_REFUSED = "no valid identity came with this request"
_NO_CODE = "this login code is not valid any more"


class Lifetimes(NamedTuple):
    """
    How long things last.

    Args:
        idle: a session without use.
        absolute: a session however it is used.
        code: a login code, and an enrolment code.
        agent: a session of an agent, used or not.
    """

    idle: timedelta = timedelta(minutes=30)
    absolute: timedelta = timedelta(hours=12)
    code: timedelta = timedelta(minutes=10)
    agent: timedelta = timedelta(minutes=15)


class Demands(NamedTuple):
    """
    What is asked of people (`settings.access.AccessSettings`).

    Args:
        takes_passwords: they may begin a session with a password.
        fresh: for how long a proof of who somebody is counts for what needs a fresh one.
        glass: for how long an administrator's role is taken in need at most.
    """

    takes_passwords: bool = True
    fresh: timedelta = timedelta(minutes=5)
    glass: timedelta = timedelta(hours=4)


class Gate:
    """
    Tell who asks, for one deployment.

    Threads: safe.
    Consistency: what another process on the host changed counts within a second.
    """

    def __init__(  # noqa: PLR0913 -- what stands behind a gate
        self,
        registry: Registry,
        recorder: Recorder,
        passwords: Passwords,
        *,
        clock: Callable[[], datetime],
        lifetimes: Lifetimes,
        workloads: Workloads | None = None,
        demands: Demands | None = None,
    ) -> None:
        self.registry = registry
        self.recorder = recorder
        self.passwords = passwords
        self.clock = clock
        self.lifetimes = lifetimes
        self.demands = demands or Demands()
        self.workloads = workloads
        self.refusals = Refusals(recorder, clock)
        self.uses = Uses()
        self._remembering = Remembering(self)
        self._proving = Proving(registry, passwords, self.refusals, clock)
        self.attempts = self._proving.attempts
        self._memo = Memo(Snapshot(-1, {}), None)
        self._missed_at = 0.0
        self._greeted: dict[bytes, datetime] = {}  # by digest: when a signed token that is on record ends
        self._sweep_at = monotonic() + _SWEEP_SECONDS
        registry.every_look(self.tick)
        registry.on_close(self.close)

    @property
    def services(self) -> Mapping[str, tuple[str, ...]]:
        """Whom tokens of others prove, `service:etl`, and the names of these others."""
        return {} if self.workloads is None else self.workloads.services

    # --- credentials ---------------------------------------------------------------------------

    def authenticate(self, token: str, *, source: str, waits: bool = True, is_use: bool = True) -> Identity:
        """
        Give whose *token* this is: a token's or a session's. A look into a table; for what somebody else
        signed the first time, and now and then, a question to him.

        Args:
            token: as it came.
            source: the address it came from.
            waits: False refuses what would take a question, to the store or to whoever signed it, and
                whatever is to be refused; which counts for nothing: ask again where waiting hurts nobody.
            is_use: False leaves when it was last used as it is: nobody did anything.

        Raises:
            NotAuthenticatedError: nobody's, or nobody's any more.
            TamperedError: the rows of who may were changed by hand: nobody is believed.
            BackendUnavailableError: the store gave no answer for a second; or whoever signed it gives none.
        """
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        if not waits and not self.registry.is_fresh:
            raise refused()
        snapshot = self.registry.snapshot()
        memo = self._memo
        if memo.snapshot is not snapshot:
            self._memo = memo = Memo(snapshot, memo)
        held = memo.held.get(digest) or self._held(memo, digest, token, source, waits=waits)
        now = self.clock()
        if held.again is not None and now >= held.again:
            memo.held.pop(digest, None)
            held = self._held(memo, digest, token, source, waits=waits)
        reason = _over(held, now)
        if reason:
            raise self.refusal(held.actor.id, source, reason) if waits else refused()
        if is_use:
            held.seen = now
            self.uses.seen[held.key] = (now, source)
        return held.identities.get(source) or held.identity(source)

    def check_lasts(self, held: Held, now: datetime, source: str) -> None:
        """
        Refuse a credential whose time is up.

        Raises:
            NotAuthenticatedError: it has expired, or was not used for too long.
        """
        reason = _over(held, now)
        if reason:
            raise self.refusal(held.actor.id, source, reason)

    def recognise(self, token: str, *, source: str, is_use: bool = True, asks: bool = False) -> Identity:
        """
        Give whose session *token* is to a page that is looked at: as `authenticate`, and while the store
        gives no answer by what is remembered, which the actor says (`Actor.as_of`). Blocks while that is put
        on record.

        Args:
            token: of a session of a person's, that was used here while the store answered.
            source: as `authenticate`.
            is_use: likewise.
            asks: ask the store once more though it was silent a moment ago.

        Raises:
            NotAuthenticatedError, TamperedError: as `authenticate`.
            BackendUnavailableError: the store gives no answer, and nobody is remembered by this token.
            NotRecordedError: it cannot be put on record that the session goes on.
        """
        if asks or self.registry.silence is None:
            try:
                if self.registry.silence is not None:
                    self.registry.look()
                return self.authenticate(token, source=source, is_use=is_use)
            except BackendUnavailableError:
                if self.registry.silence is None:
                    raise
        return self._remembering.identity(token, source=source, is_use=is_use)

    def _current(self) -> Memo:
        snapshot, memo = self.registry.snapshot(), self._memo
        if memo.snapshot is not snapshot:
            self._memo = memo = Memo(snapshot, memo)
        return memo

    def _held(self, memo: Memo, digest: bytes, token: str, source: str, *, waits: bool) -> Held:
        """Find a credential that was not asked for since the rows last changed."""
        if is_signed(token):
            held = self._held_workload(memo, digest, token, source, waits=waits)
            if len(memo.held) < _MOST_HELD:
                memo.held[digest] = held
            return held
        found = self._found(memo, digest)
        if found is None and not waits:
            raise refused()
        now = monotonic()
        if found is None and now >= self._missed_at and tokens.is_wellformed(token):
            # Issued by another process a moment ago: whoever was given it need not wait for the bell.
            self._missed_at = now + _MISS_SECONDS
            self.registry.look()
            memo = self._current()
            found = self._found(memo, digest)
        if found is None:
            raise self.refusal(NOBODY, source, "an unknown or ended token or session")
        # Kept beside the very rows it was found in: another thread may have gone on to newer ones.
        if len(memo.held) < _MOST_HELD:
            memo.held[digest] = found
        return found

    def _found(self, memo: Memo, digest: bytes) -> Held | None:
        row_id = tokens.id_of(digest)
        row = memo.snapshot.of(SESSION).get(row_id)
        if row is not None:
            return self._held_session(row, decoded(row, Session), digest, memo)
        row = memo.snapshot.of(TOKEN).get(row_id)
        return None if row is None else self._held_token(row, decoded(row, Token), digest, memo)

    def _held_session(self, row: Row, session: Session, digest: bytes, memo: Memo) -> Held | None:
        if not compare_digest(session.digest, digest) or not is_standing(memo.snapshot, session.actor):
            return None
        key = (SESSION, row.id)
        glass = glass_of(memo.snapshot, session.actor, self.clock())
        actor = actor_of(session.actor, memo.roles, scope_of(memo.snapshot, session.actor))
        return Held(
            key,
            actor if glass is None else replaced(actor, roles=with_glass(actor.roles)),
            how="session",
            since=session.proven or session.begun,
            seen=max(session.seen, self.uses.seen.get(key, (session.seen, ""))[0]),
            expires=session.expires,
            idle=timedelta(seconds=session.idle_seconds),
            glass=glass,
        )

    def _held_token(self, row: Row, token: Token, digest: bytes, memo: Memo) -> Held | None:
        if not compare_digest(token.digest, digest) or is_disabled(memo.snapshot, token.name):
            return None
        actor = actor_of(principal.SERVICE + token.name, memo.roles, token.scope)
        return Held(
            (TOKEN, row.id),
            actor,
            how="token",
            since=token.created_at,
            seen=token.created_at,
            expires=token.expires,
        )

    def _held_workload(self, memo: Memo, digest: bytes, token: str, source: str, *, waits: bool) -> Held:
        """Give which service a token is that somebody else signed."""
        if not waits:
            raise refused()
        if self.workloads is None:
            raise self.refusal(NOBODY, source, "a signed token, and no issuer is named in the settings")
        try:
            proof = self.workloads.prove(token)
        except TokenError as error:
            raise self.refusal(NOBODY, source, f"a signed token: {error.reason}") from None
        memo = self._current()  # whoever signed it may have taken seconds to answer
        actor = actor_of(principal.SERVICE + proof.service, memo.roles)
        if is_disabled(memo.snapshot, proof.service):
            raise self.refusal(actor.id, source, "a service that is disabled")
        self._greet(digest, proof, source)
        return Held(
            (SERVICE, proof.service),
            replaced(actor, assurance=proof.assurance, run=proof.run),
            how="jwt",
            since=self.clock(),
            seen=self.clock(),
            expires=proof.expires,
            again=proof.again,
            id=tokens.id_of(digest),
        )

    def _greet(self, digest: bytes, proof: Proof, source: str) -> None:
        """Put the first use of a signed token on record."""
        if digest in self._greeted:
            return
        reason = f"signed token of {proof.issuer}, {proof.subject}{_from(source)}"
        self.record(principal.SERVICE + proof.service, "done", reason, assurance=proof.assurance)
        self._greeted[digest] = proof.expires

    def basic(self, name: str, password: Secret[str], *, source: str) -> Identity:
        """
        Give who *name* and *password* are: a person and his password, or any name and a token.

        Blocks while argon2id works; a password that was proven a moment ago is not stretched again.

        Raises:
            NotAuthenticatedError: nobody.
            RateLimitedError: too many wrong ones, or too many at once.
            TamperedError, BackendUnavailableError: as `authenticate`.
        """
        if tokens.is_wellformed(password.reveal()):
            return self.authenticate(password.reveal(), source=source)._replace(how="basic")
        self._check_takes_passwords(source)
        memo = self._current()
        row = self._proving.lately(name, password, source=source, snapshot=memo.snapshot)
        actor = replaced(actor_of(PERSON_PREFIX + row.id, memo.roles), source=source)
        return Identity(actor, "basic", "", None, self.clock())

    # --- beginning a session -------------------------------------------------------------------

    def login(self, name: str, password: Secret[str], *, source: str, replaces: str | None = None) -> Login:
        """
        Begin a session with a name and a password. Blocks while argon2id works.

        Args:
            name: in any spelling of it.
            password: as it was typed.
            source: the address it came from.
            replaces: the token of a session that came with the request; it ends.

        Raises:
            NotAuthenticatedError: the name or the password is wrong, or the person is disabled.
            RateLimitedError: too many wrong ones, or too many at once.
            NotRecordedError: the login cannot be recorded, so there is none.
            TamperedError, BackendUnavailableError: as `authenticate`.
        """
        self._check_takes_passwords(source)
        row = self._proving.proven(name, password, source)
        last = LastLogin(at=self.clock(), source=source)
        changes = [
            *self._proving.renewed(row, password),
            *self._ended(name, source),
            Change(LOGIN, row.id, encoded(last)),
        ]
        begun = Begun(PERSON_PREFIX + row.id, "password", source, replaces, [row], changes)
        try:
            return self.begin(begun)
        except ConflictError:
            # The person was changed, or logged in elsewhere, between proof and session: proof is void.
            raise self.refusal(PERSON_PREFIX + row.id, source, "changed meanwhile", WRONG) from None

    def _check_takes_passwords(self, source: str) -> None:
        """Refuse whatever name and password it is, before anything is looked at."""
        if not self.demands.takes_passwords:
            self.refusals.add(NOBODY, source, "a password, where none is taken")
            raise NotAuthenticatedError(
                "passwords are not taken here",
                hint="log in with the identity provider: strongroom login --oidc",
            )

    def _ended(self, name: str, source: str) -> list[Change]:
        return self.attempts.ended(self.registry.snapshot(), self.attempts.key_of(name), source)

    def login_with_code(
        self, code: str, *, source: str, replaces: str | None = None, verifier: str = ""
    ) -> Login:
        """
        Begin a session with a single-use code. However often and however many at once use it, one does.

        Args:
            code: blanks and line ends in it are passed over.
            source: as `login`.
            replaces: as `login`.
            verifier: of the program that asked for the code (RFC 7636); "" where nobody did.

        Raises:
            NotAuthenticatedError: it is none, was used, or its time is up.
            RateLimitedError: too many wrong ones.
            NotRecordedError, TamperedError, BackendUnavailableError: as `login`.
        """
        self.attempts.take("", source)
        digest = tokens.digest_of("".join(code.split()))
        row = self._code(digest)
        if row is None:
            raise self.refusal(NOBODY, source, "an unknown or used login code", _NO_CODE)
        said = decoded(row, Code)
        if not compare_digest(said.digest, digest) or self.clock() >= said.expires:
            raise self.refusal(said.actor, source, "a login code whose time is up", _NO_CODE)
        if not compare_digest(said.challenge, challenge_of(verifier)):
            raise self.refusal(said.actor, source, "a login code that another program asked for", _NO_CODE)
        person = self.registry.snapshot().of(PERSON).get(said.actor.removeprefix(PERSON_PREFIX))
        if not is_standing(self.registry.snapshot(), said.actor):
            raise self.refusal(said.actor, source, "a login code of nobody", _NO_CODE)
        rows = [row] if person is None else [row, person]
        gone = [Change(CODE, row.id, None)]
        begun = Begun(said.actor, said.how, source, replaces, rows, gone, said.proven, said.provider_session)
        try:
            login = self.begin(begun)
        except ConflictError:
            raise self.refusal(said.actor, source, "an unknown or used login code", _NO_CODE) from None
        self.attempts.give_back("", source)
        return login

    def _code(self, digest: bytes) -> Row | None:
        row_id = tokens.id_of(digest)
        found = self.registry.snapshot().of(CODE).get(row_id)
        if found is None:
            self.registry.look()  # made by another process a moment ago
            found = self.registry.snapshot().of(CODE).get(row_id)
        return found

    def begin(self, begun: Begun) -> Login:
        """
        Begin a session of whom was proven.

        Raises:
            ConflictError: a row it was to begin with has changed.
            NotRecordedError, TamperedError, BackendUnavailableError: as `login`.
        """
        now, (lasts, idle) = self.clock(), self._lifetimes_of(begun.how)
        token = tokens.draw(tokens.SESSION)
        digest = tokens.digest_of(token.reveal())
        session = Session(
            digest=digest,
            actor=begun.actor,
            how=begun.how,
            source=begun.source,
            begun=now,
            expires=now + lasts,
            idle_seconds=int(idle.total_seconds()),
            seen=now,
            proven=begun.proven,
            provider_session=begun.provider_session,
        )
        row_id = tokens.id_of(digest)
        self.registry.change(lambda snapshot: begun.changes_in(snapshot, row_id, session))
        try:
            self.record(begun.actor, "done", f"{begun.how}, session {row_id}{_from(begun.source)}")
        except BaseException:
            with suppress(StrongroomError):
                self.registry.delete(SESSION, row_id)
            raise
        snapshot = self.registry.snapshot()
        actor = actor_of(begun.actor, roles_of(snapshot), scope_of(snapshot, begun.actor))
        since = begun.proven or now
        identity = Identity(replaced(actor, source=begun.source), "session", row_id, session.expires, since)
        return Login(token, identity)

    def _lifetimes_of(self, how: str) -> tuple[timedelta, timedelta]:
        """Give how long a session lasts, and how long without use."""
        if how in ("key", "certificate"):
            return self.lifetimes.agent, self.lifetimes.agent
        return self.lifetimes.absolute, self.lifetimes.idle

    def logout(self, identity: Identity) -> str:
        """
        End the session *identity* came with, and give what it was begun with; a token ends nothing, and
        gives "".

        Raises:
            NotRecordedError, TamperedError, BackendUnavailableError: as `login`.
        """
        row = self.registry.snapshot().of(SESSION).get(identity.id)
        if identity.how != "session" or row is None or not self.registry.delete(SESSION, identity.id):
            return ""
        self.record(
            identity.actor.id, "done", f"session {identity.id}{_from(identity.actor.source)}", "logout"
        )
        return decoded(row, Session).how

    def end_own(self, actor: Actor, session: str) -> Done:
        """
        End a session of *actor*'s own, for which he needs no leave.

        Raises:
            As `logout`.
        """
        self.registry.delete(SESSION, session)
        self.record(actor.id, "done", f"session {session}{_from(actor.source)}", "logout")
        return Done(str(self.registry.snapshot().revision))

    def change_password(self, identity: Identity, old: Secret[str], new: Secret[str]) -> None:
        """
        Let a person change his own password; all his sessions end, this one too.

        Raises:
            InvalidInputError: *identity* is no person, or *new* is no good password.
            NotAuthenticatedError: *old* is wrong.
            RateLimitedError, NotRecordedError, TamperedError, BackendUnavailableError: as `login`.
        """
        actor = identity.actor.id
        if not actor.startswith(PERSON_PREFIX):
            raise InvalidInputError("only a person has a password", hint="log in as the person it is of")
        row = self._proving.proven(actor.removeprefix(PERSON_PREFIX), old, identity.actor.source)
        verifier = self.passwords.verifier(row.id, new)
        fresh = encoded(msgspec.structs.replace(decoded(row, Person), verifier=verifier))
        reason = f"own password{_from(identity.actor.source)}"
        self.record(actor, "begun", reason, "password")
        try:
            self.registry.change(
                lambda snapshot: [
                    Change(PERSON, row.id, fresh, row.revision),
                    *sessions_of(snapshot, actor),
                    *codes_of(snapshot, actor),
                ]
            )
        except BaseException:
            self.record(actor, "failed", reason, "password")
            raise
        self.record(actor, "done", reason, "password")

    # --- refusing and recording ----------------------------------------------------------------

    def refusal(self, actor: str, source: str, reason: str, message: str = _REFUSED) -> NotAuthenticatedError:
        """
        Gather the record of a refusal and give its error, which tells the caller nothing of *reason*.

        Args:
            actor: as of `Refusals.add`.
            source: likewise.
            reason: likewise.
            message: what the caller is told.
        """
        self.refusals.add(actor, source, reason)
        return refused() if message == _REFUSED else NotAuthenticatedError(message)

    def record(
        self,
        actor: str,
        outcome: str,
        reason: str,
        action: str = "login",
        *,
        assurance: Assurance = Assurance.HOST_USER,
    ) -> None:
        """Record what *actor* did at the gate. Raises NotRecordedError."""
        self.recorder.append(
            Event(actor=actor, assurance=int(assurance), action=action, outcome=outcome, reason=reason)
        )

    # --- now and then --------------------------------------------------------------------------

    def tick(self) -> None:
        """
        Record refusals, write what was last used when, and drop what has ended; the watcher calls it.

        Raises:
            NotRecordedError, BackendUnavailableError, TamperedError: as their names say; nothing is lost.
        """
        self.refusals.record()
        snapshot = self.registry.snapshot()
        changes = list(self.uses.touched(snapshot))
        if monotonic() >= self._sweep_at:
            self._sweep_at = monotonic() + _SWEEP_SECONDS
            self._forget_signed()
            changes += self.uses.swept(snapshot, self.clock())
            changes += self.attempts.forget(snapshot)
        if changes:
            # Each expects the row it saw: what ended meanwhile is not brought back.
            with suppress(ConflictError):
                self.registry.put_many(changes)
                self._tell_of_glass(changes)

    def _tell_of_glass(self, changes: Iterable[Change]) -> None:
        """Record who is no administrator by break-glass any more, because its time is up."""
        for change in changes:
            if change.kind == BREAK_GLASS:
                self.record(PERSON_PREFIX + change.id, "done", "its time is up", BREAK_GLASS)

    def _forget_signed(self) -> None:
        """Drop signed tokens that have ended: unlike ours, there is no end to how many there are."""
        now, held = self.clock(), self._memo.held
        for digest in [digest for digest, ends in list(self._greeted.items()) if ends <= now]:
            self._greeted.pop(digest, None)
            held.pop(digest, None)

    def close(self) -> None:
        """Record what was gathered. Safe to call twice."""
        if self.workloads is not None:
            self.workloads.close()
        self.refusals.record(is_last=True)


def _over(held: Held, now: datetime) -> str:
    """Tell why the time of a credential is up; "" where it is not."""
    if held.expires is not None and now >= held.expires:
        return "it has expired"
    if held.idle is not None and now - held.seen >= held.idle:
        return "it was not used for too long"
    return ""


def refused() -> NotAuthenticatedError:
    """Give the error of a credential that is nobody's, whatever the reason."""
    return NotAuthenticatedError(_REFUSED, hint="log in, or send a token: Authorization: Bearer srm_…")


def _from(source: str) -> str:
    return f", from {source}" if source else ""
