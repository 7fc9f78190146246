"""
Who is that? From a token, a session, a code or a password to an identity, or a refusal.

Rules of this file:

1. Every refusal says the same, whatever was wrong, and costs the same, whoever it would have been.
2. A session begins with a new random id, and ends with logout, its person's new password, another role,
   being disabled or deleted: the row is gone, and with it every process stops believing within a second.
3. Beginning a session is decided on the rows as they stand when it is written: a password that was changed
   meanwhile, or a code that was used, begins none.
4. `authenticate` writes nothing: when a credential was last used is kept in memory and written now and then.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace as replaced
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from hmac import compare_digest
from secrets import token_bytes
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from strongroom.audit import Event
from strongroom.errors import (
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
    RateLimitedError,
    StrongroomError,
)
from strongroom.model import principal
from strongroom.model.pairing import challenge_of
from strongroom.model.principal import AGENT as AGENT_PREFIX
from strongroom.model.principal import LOCAL
from strongroom.model.principal import PERSON as PERSON_PREFIX
from strongroom.policy import Actor, Assurance, Role
from strongroom.registry import Change, Snapshot
from strongroom.service.access import token as tokens
from strongroom.service.access.desk import Done
from strongroom.service.access.refusals import NOBODY, Refusals
from strongroom.service.access.shape import (
    AGENT,
    BREAK_GLASS,
    CODE,
    INVITATION,
    LOGIN,
    PERSON,
    ROLE,
    SERVICE,
    SESSION,
    TOKEN,
    Agent,
    Code,
    Glass,
    Invitation,
    LastLogin,
    Membership,
    Person,
    Service,
    Session,
    Token,
    body_of,
    decoded,
    encoded,
)
from strongroom.service.access.throttle import Attempts, Turns
from strongroom.service.access.workload import is_signed
from strongroom.vendors.jwt import TokenError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from strongroom.model.secret import Secret
    from strongroom.policy import Scope
    from strongroom.registry import Registry, Row
    from strongroom.service.access.password import Passwords
    from strongroom.service.access.workload import Proof, Workloads
    from strongroom.service.guard import Recorder

__all__ = ["Begun", "Demands", "Gate", "Identity", "Lifetimes", "Login", "refused", "roles_of", "sessions_of"]

_SEEN_SESSION, _SEEN_TOKEN = (
    timedelta(seconds=60),
    timedelta(seconds=300),
)  # between two writes of "last used"
_BASIC_SECONDS = 300.0  # a password that was proven is not stretched again for this long
_MOST_BASIC = 1_000
_MOST_HELD = 100_000
_MOST_SOURCES = 16  # of one credential, remembered
_MOST_SESSIONS = 100  # of one actor; one more ends the one used longest ago
_SWEEP_SECONDS = 60.0
_KEPT_EXPIRED = timedelta(days=30)  # a token that expired is still listed for this long
_MISS_SECONDS = 0.02  # between two looks for a token that is not known yet
ADMIN = "admin"
_REFUSED = "no valid identity came with this request"
_NOBODY = "?"  # no name
_NEVER = datetime.min.replace(tzinfo=timezone.utc)
_WRONG = "the name or the password is wrong"
_NO_CODE = "this login code is not valid any more"


class Identity(NamedTuple):
    """
    Who was authenticated, and how.

    Args:
        actor: with roles, scope and source, and no run.
        how: "token", "session" or "basic"; "jwt" for what somebody else signed.
        id: of the token or session, public; "" for a name and password.
        expires: when the credential ends at the latest, None where it does not.
        since: when the session's person proved who he is, or the token was issued.
        glass: the person broke the glass: an administrator until it ends, whatever roles he has.
    """

    actor: Actor
    how: str
    id: str
    expires: datetime | None
    since: datetime
    glass: Glass | None = None


class Login(NamedTuple):
    """A session that began. Its *token* is shown this once."""

    token: Secret[str]
    identity: Identity


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


class _Held:
    """What is known of one credential for as long as nothing of it changes."""

    __slots__ = (
        "actor",
        "again",
        "expires",
        "glass",
        "how",
        "id",
        "identities",
        "idle",
        "key",
        "seen",
        "since",
    )

    def __init__(  # noqa: PLR0913 -- one field each
        self,
        key: tuple[str, str],
        actor: Actor,
        *,
        how: str,
        since: datetime,
        seen: datetime,
        expires: datetime | None,
        idle: timedelta | None = None,
        glass: Glass | None = None,
        again: datetime | None = None,
        id: str | None = None,  # noqa: A002 -- as of `Identity`
    ) -> None:
        self.key = key
        self.actor = actor
        self.how = how
        self.id = key[1] if id is None else id
        self.since = since
        self.seen = seen
        self.expires = expires
        self.idle = idle
        self.glass = glass
        self.again = again if glass is None else glass.expires  # when it is to be looked at again
        self.identities: dict[str, Identity] = {}

    def identity(self, source: str) -> Identity:
        actor = replaced(self.actor, source=source)
        found = Identity(actor, self.how, self.id, self.expires, self.since, self.glass)
        if len(self.identities) < _MOST_SOURCES:
            self.identities[source] = found
        return found


class _Memo:
    """What was made of one snapshot; the next one takes over what its rows did not change."""

    __slots__ = ("held", "kinds", "roles", "snapshot")

    def __init__(self, snapshot: Snapshot, before: _Memo | None) -> None:
        self.snapshot = snapshot
        self.roles: Mapping[str, tuple[Role, ...]]
        self.kinds = tuple(
            snapshot.of(kind) for kind in (TOKEN, SESSION, PERSON, SERVICE, AGENT, BREAK_GLASS, ROLE)
        )
        same = [one is other for one, other in zip(self.kinds, before.kinds, strict=True)] if before else []
        self.held: dict[bytes, _Held] = before.held if before and all(same) else {}
        self.roles = before.roles if before and same[-1] else roles_of(snapshot)


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
        self.attempts = Attempts(registry, clock)
        self.refusals = Refusals(recorder, clock)
        self._turns = Turns()
        self._memo = _Memo(Snapshot(-1, {}), None)
        self._seen: dict[tuple[str, str], tuple[datetime, str]] = {}
        self._kept: dict[tuple[str, str], datetime] = {}
        self._decoy = encoded(Person(created_at=clock(), created_by="", verifier=passwords.decoy))
        self._basic_key = token_bytes(32)
        self._basic: dict[bytes, tuple[Row, float]] = {}
        self._lock = Lock()
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

    def authenticate(self, token: str, *, source: str, waits: bool = True) -> Identity:
        """
        Give whose *token* this is: a token's or a session's. A look into a table; for what somebody else
        signed the first time, and now and then, a question to him.

        Args:
            token: as it came.
            source: the address it came from.
            waits: False refuses what would take a question, which counts for nothing.

        Raises:
            NotAuthenticatedError: nobody's, or nobody's any more.
            TamperedError: the rows of who may were changed by hand: nobody is believed.
            BackendUnavailableError: the store gave no answer for a second; or whoever signed it gives none.
        """
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        snapshot = self.registry.snapshot()
        memo = self._memo
        if memo.snapshot is not snapshot:
            self._memo = memo = _Memo(snapshot, memo)
        held = memo.held.get(digest) or self._held(memo, digest, token, source, waits=waits)
        now = self.clock()
        if held.again is not None and now >= held.again:
            memo.held.pop(digest, None)
            held = self._held(memo, digest, token, source, waits=waits)
        if held.expires is not None and now >= held.expires:
            raise self.refusal(held.actor.id, source, "it has expired")
        if held.idle is not None and now - held.seen >= held.idle:
            raise self.refusal(held.actor.id, source, "it was not used for too long")
        held.seen = now
        self._seen[held.key] = (now, source)
        return held.identities.get(source) or held.identity(source)

    def _current(self) -> _Memo:
        snapshot, memo = self.registry.snapshot(), self._memo
        if memo.snapshot is not snapshot:
            self._memo = memo = _Memo(snapshot, memo)
        return memo

    def _held(self, memo: _Memo, digest: bytes, token: str, source: str, *, waits: bool) -> _Held:
        """Find a credential that was not asked for since the rows last changed."""
        if is_signed(token):
            held = self._held_workload(memo, digest, token, source, waits=waits)
            if len(memo.held) < _MOST_HELD:
                memo.held[digest] = held
            return held
        found = self._found(memo, digest)
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

    def _found(self, memo: _Memo, digest: bytes) -> _Held | None:
        row_id = tokens.id_of(digest)
        row = memo.snapshot.of(SESSION).get(row_id)
        if row is not None:
            return self._held_session(row, decoded(row, Session), digest, memo)
        row = memo.snapshot.of(TOKEN).get(row_id)
        return None if row is None else self._held_token(row, decoded(row, Token), digest, memo)

    def _held_session(self, row: Row, session: Session, digest: bytes, memo: _Memo) -> _Held | None:
        if not compare_digest(session.digest, digest) or not _is_standing(memo.snapshot, session.actor):
            return None
        key = (SESSION, row.id)
        glass = glass_of(memo.snapshot, session.actor, self.clock())
        actor = _actor(session.actor, memo.roles, _scope_of(memo.snapshot, session.actor))
        return _Held(
            key,
            actor if glass is None else replaced(actor, roles=with_glass(actor.roles)),
            how="session",
            since=session.proven or session.begun,
            seen=max(session.seen, self._seen.get(key, (session.seen, ""))[0]),
            expires=session.expires,
            idle=timedelta(seconds=session.idle_seconds),
            glass=glass,
        )

    def _held_token(self, row: Row, token: Token, digest: bytes, memo: _Memo) -> _Held | None:
        if not compare_digest(token.digest, digest) or is_disabled(memo.snapshot, token.name):
            return None
        actor = _actor(principal.SERVICE + token.name, memo.roles, token.scope)
        return _Held(
            (TOKEN, row.id),
            actor,
            how="token",
            since=token.created_at,
            seen=token.created_at,
            expires=token.expires,
        )

    def _held_workload(self, memo: _Memo, digest: bytes, token: str, source: str, *, waits: bool) -> _Held:
        """Give which service a token is that somebody else signed."""
        if not waits:
            raise refused()
        if self.workloads is None:
            raise self.refusal(NOBODY, source, "a signed token, and no issuer is named in the settings")
        try:
            proof = self.workloads.prove(token)
        except TokenError as error:
            raise self.refusal(NOBODY, source, f"a signed token: {error.reason}") from None
        actor = _actor(principal.SERVICE + proof.service, memo.roles)
        if is_disabled(memo.snapshot, proof.service):
            raise self.refusal(actor.id, source, "a service that is disabled")
        self._greet(digest, proof, source)
        return _Held(
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
        fingerprint = self._fingerprint(name, password)
        row, ends = self._basic.get(fingerprint, (None, 0.0))
        memo = self._current()
        if row is None or monotonic() >= ends or memo.snapshot.of(PERSON).get(row.id) != row:
            row = self._proven(name, password, source)
            with self._lock:
                while len(self._basic) >= _MOST_BASIC:
                    del self._basic[next(iter(self._basic))]
                self._basic[fingerprint] = (row, monotonic() + _BASIC_SECONDS)
        actor = replaced(_actor(PERSON_PREFIX + row.id, memo.roles), source=source)
        return Identity(actor, "basic", "", None, self.clock())

    def _fingerprint(self, name: str, password: Secret[str]) -> bytes:
        typed = name.encode("utf-8", "surrogatepass")
        text = password.reveal().encode("utf-8", "surrogatepass")
        return sha256(self._basic_key + len(typed).to_bytes(8, "big") + typed + text).digest()

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
        row = self._proven(name, password, source)
        last = LastLogin(at=self.clock(), source=source)
        changes = [
            *self._renewed(row, password),
            *self._ended(name, source),
            Change(LOGIN, row.id, encoded(last)),
        ]
        begun = Begun(PERSON_PREFIX + row.id, "password", source, replaces, [row], changes)
        try:
            return self.begin(begun)
        except ConflictError:
            # The person was changed, or logged in elsewhere, between proof and session: proof is void.
            raise self.refusal(PERSON_PREFIX + row.id, source, "changed meanwhile", _WRONG) from None

    def _check_takes_passwords(self, source: str) -> None:
        """Refuse whatever name and password it is, before anything is looked at."""
        if not self.demands.takes_passwords:
            self.refusals.add(NOBODY, source, "a password, where none is taken")
            raise NotAuthenticatedError(
                "passwords are not taken here",
                hint="log in with the identity provider: strongroom login --oidc",
            )

    def _proven(self, name: str, password: Secret[str], source: str) -> Row:
        """Give the row of the person *name*, whose *password* it is."""
        account = self.attempts.key_of(name)
        snapshot = self.registry.snapshot()
        canonical = _canonical(name) or _NOBODY
        row = snapshot.of(PERSON).get(canonical)
        # Everything below is done alike for who is not there, down to the parsing of a row.
        who = (PERSON_PREFIX + canonical, NOBODY)[row is None]
        body = self._decoy if row is None else row.body
        try:
            self.attempts.take(account, source)
        except RateLimitedError:
            self.refusals.add(who, source, "too many attempts")
            raise
        try:
            with self._turns.turn(source):
                person = body_of(body, Person, PERSON)
                is_proven = self.passwords.proves(canonical, password, person.verifier)
        except RateLimitedError:
            self.attempts.give_back(account, source)
            self.refusals.add(NOBODY, source, "too many logins at once")
            raise
        if row is None or person.is_disabled or not is_proven:
            with suppress(BackendUnavailableError):  # the count stands in memory
                self.attempts.failed(account, source)
            raise self.refusal(who, source, "wrong name or password, or disabled", _WRONG)
        self.attempts.succeeded(account, source)
        return row

    def _renewed(self, row: Row, password: Secret[str]) -> list[Change]:
        """Give the change that stretches anew what is under an old key or cost."""
        person = decoded(row, Person)
        if person.verifier is None or self.passwords.is_current(person.verifier):
            return []
        try:
            verifier = self.passwords.verifier(row.id, password)
        except InvalidInputError:  # refused as a new one today; it is his all the same
            return []
        return [Change(PERSON, row.id, encoded(msgspec.structs.replace(person, verifier=verifier)))]

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
        if not _is_standing(self.registry.snapshot(), said.actor):
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
        actor = _actor(begun.actor, roles_of(snapshot), _scope_of(snapshot, begun.actor))
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

    def last_heard(self, service: str) -> tuple[datetime | None, str]:
        """Give when and from where a service last showed what others signed, as far as this process knows."""
        return self._seen.get((SERVICE, service), (None, ""))

    def last_use(self, row: Row, body: Session | Token) -> tuple[datetime | None, str]:
        """Give when and from where a credential was last used, as far as this process knows."""
        at, source = self._seen.get((row.kind, row.id), (None, ""))
        if at is None or (body.seen is not None and body.seen > at):
            return body.seen, body.source
        return at, source

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
        row = self._proven(actor.removeprefix(PERSON_PREFIX), old, identity.actor.source)
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
        changes = list(self._touched(snapshot))
        if monotonic() >= self._sweep_at:
            self._sweep_at = monotonic() + _SWEEP_SECONDS
            self._forget_signed()
            changes += self._swept(snapshot)
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

    def _touched(self, snapshot: Snapshot) -> Iterable[Change]:
        shapes: tuple[tuple[str, type[Session | Token], timedelta], ...] = (
            (SESSION, Session, _SEEN_SESSION),
            (TOKEN, Token, _SEEN_TOKEN),
        )
        for kind, shape, interval in shapes:
            for key in [key for key in list(self._seen) if key[0] == kind]:
                at, source = self._seen[key]
                row = snapshot.of(kind).get(key[1])
                if row is None:
                    del self._seen[key]
                    self._kept.pop(key, None)
                elif key not in self._kept or at - self._kept[key] >= interval:
                    body = decoded(row, shape)
                    self._kept[key] = body.seen or _NEVER
                    if at - self._kept[key] >= interval:
                        yield Change(kind, row.id, encoded(_used(body, at, source)), row.revision)

    def _swept(self, snapshot: Snapshot) -> list[Change]:
        now = self.clock()
        gone = [
            row
            for row in snapshot.of(SESSION).values()
            if _is_over(decoded(row, Session), now) and self._seen.get((SESSION, row.id), (now, ""))[0] <= now
        ]
        gone += [row for row in snapshot.of(CODE).values() if decoded(row, Code).expires <= now]
        gone += [row for row in snapshot.of(INVITATION).values() if decoded(row, Invitation).expires <= now]
        gone += [row for row in snapshot.of(BREAK_GLASS).values() if decoded(row, Glass).expires <= now]
        changes = [Change(row.kind, row.id, None, row.revision) for row in gone]
        for row in snapshot.of(TOKEN).values():
            expires = decoded(row, Token).expires
            if expires is not None and expires + _KEPT_EXPIRED <= now:
                changes += token_gone(snapshot, row)
        return [*changes, *self.attempts.forget(snapshot)]


def refused() -> NotAuthenticatedError:
    """Give the error of a credential that is nobody's, whatever the reason."""
    return NotAuthenticatedError(_REFUSED, hint="log in, or send a token: Authorization: Bearer srm_…")


def _used(body: Session | Token, at: datetime, source: str) -> Session | Token:
    """Give a body that says when its credential was last used; a session's source is where it was begun."""
    if isinstance(body, Token):
        return msgspec.structs.replace(body, seen=at, source=source)
    return msgspec.structs.replace(body, seen=at)


class Begun(NamedTuple):
    """
    A session about to begin.

    Args:
        rows: that must stand unchanged for it.
        changes: done with it.
        proven, provider_session: as of `shape.Session`.
    """

    actor: str
    how: Literal["password", "code", "key", "certificate", "oidc"]
    source: str
    replaces: str | None
    rows: list[Row]
    changes: list[Change]
    proven: datetime | None = None
    provider_session: str = ""

    def changes_in(self, snapshot: Snapshot, row_id: str, session: Session) -> list[Change]:
        """Give everything to write, in the moment of writing."""
        for row in self.rows:
            if snapshot.of(row.kind).get(row.id) != row:
                raise ConflictError("what the session was to begin with has changed")
        ended = [] if self.replaces is None else _replaced(snapshot, self.replaces)
        mine = [
            row for row in _of(snapshot, SESSION, self.actor) if decoded(row, Session).actor == self.actor
        ]
        mine.sort(key=lambda row: decoded(row, Session).seen)
        surplus = [Change(SESSION, row.id, None) for row in mine[: max(0, len(mine) - _MOST_SESSIONS + 1)]]
        return [*surplus, *ended, *self.changes, Change(SESSION, row_id, encoded(session))]


def glass_of(snapshot: Snapshot, actor: str, now: datetime) -> Glass | None:
    """Give that *actor* broke the glass, if he did and it has not ended."""
    row = snapshot.of(BREAK_GLASS).get(actor.removeprefix(PERSON_PREFIX))
    if row is None or not actor.startswith(PERSON_PREFIX):
        return None
    glass = decoded(row, Glass)
    return glass if now < glass.expires else None


def with_glass(roles: tuple[Role, ...]) -> tuple[Role, ...]:
    """Give *roles* and an administrator's."""
    return tuple(sorted({*roles, Role(ADMIN)}, key=_order))


def _canonical(name: str) -> str | None:
    try:
        return principal.canonical(name.strip())
    except InvalidInputError:
        return None


def _actor(actor: str, roles: Mapping[str, tuple[Role, ...]], scope: Scope | None = None) -> Actor:
    return Actor(actor, Assurance.HOST_USER, roles=roles.get(actor, ()), scope=scope)


def _is_standing(snapshot: Snapshot, actor: str) -> bool:
    """Tell whether there is such a person, not disabled, or such an agent; the local owner always stands."""
    if actor.startswith(LOCAL):
        return True
    if actor.startswith(AGENT_PREFIX):
        return actor.removeprefix(AGENT_PREFIX) in snapshot.of(AGENT)
    row = snapshot.of(PERSON).get(actor.removeprefix(PERSON_PREFIX))
    return actor.startswith(PERSON_PREFIX) and row is not None and not decoded(row, Person).is_disabled


def _scope_of(snapshot: Snapshot, actor: str) -> Scope | None:
    """Give the bounds an agent was invited with; nobody else's session has any."""
    if not actor.startswith(AGENT_PREFIX):
        return None
    row = snapshot.of(AGENT).get(actor.removeprefix(AGENT_PREFIX))
    return None if row is None else decoded(row, Agent).scope


def _is_over(session: Session, now: datetime) -> bool:
    return (
        session.expires <= now
        or session.seen + timedelta(seconds=session.idle_seconds) + _SEEN_SESSION <= now
    )


def _replaced(snapshot: Snapshot, token: str) -> list[Change]:
    digest = tokens.digest_of(token)
    row = snapshot.of(SESSION).get(tokens.id_of(digest))
    if row is None or not compare_digest(decoded(row, Session).digest, digest):
        return []
    return [Change(SESSION, row.id, None)]


def _from(source: str) -> str:
    return f", from {source}" if source else ""


def roles_of(snapshot: Snapshot) -> dict[str, tuple[Role, ...]]:
    """Give every actor's roles, in order."""
    found: dict[str, set[Role]] = {}
    for row in snapshot.of(ROLE).values():
        member = decoded(row, Membership)
        # One that was granted and comes with a group too is one.
        found.setdefault(member.actor, set()).add(Role(member.role, member.team))
    return {actor: tuple(sorted(roles, key=_order)) for actor, roles in found.items()}


def _order(role: Role) -> tuple[str, str]:
    return role.name, role.team or ""


def _of(snapshot: Snapshot, kind: str, actor: str) -> list[Row]:
    """Give the rows of *kind* that name *actor*, and perhaps a few more: cheaper than reading each."""
    # No actor's id holds what JSON escapes.
    wanted = b'"actor":"' + actor.encode() + b'"'
    return [row for row in snapshot.of(kind).values() if wanted in row.body]


def sessions_of(snapshot: Snapshot, actor: str) -> list[Change]:
    """Give the changes that end every session of *actor*."""
    return [
        Change(SESSION, row.id, None)
        for row in _of(snapshot, SESSION, actor)
        if decoded(row, Session).actor == actor
    ]


def codes_of(snapshot: Snapshot, actor: str) -> list[Change]:
    """Give the changes that end every login code of *actor*."""
    return [
        Change(CODE, row.id, None) for row in _of(snapshot, CODE, actor) if decoded(row, Code).actor == actor
    ]


def memberships_of(snapshot: Snapshot, actor: str, *, by_group: bool = False) -> list[Change]:
    """Give the changes that take every role from *actor*; *by_group*, those alone that came with a group."""
    members = [(row.id, decoded(row, Membership)) for row in _of(snapshot, ROLE, actor)]
    return [
        Change(ROLE, row_id, None)
        for row_id, member in members
        if member.actor == actor and (member.by_group or not by_group)
    ]


def is_disabled(snapshot: Snapshot, service: str) -> bool:
    """Tell whether nothing may prove the service of that name."""
    row = snapshot.of(SERVICE).get(service)
    return row is not None and decoded(row, Service).is_disabled


def token_gone(snapshot: Snapshot, row: Row) -> list[Change]:
    """Give the changes that take a token away, and its service with its roles; a disabled one stays."""
    name = decoded(row, Token).name
    kept = encoded(Service(is_disabled=True)) if is_disabled(snapshot, name) else None
    return [
        Change(TOKEN, row.id, None),
        Change(SERVICE, name, kept),
        *memberships_of(snapshot, principal.SERVICE + name),
    ]
