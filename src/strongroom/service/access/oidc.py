"""
People by the word of an identity provider: a login begins here, goes by way of a browser, and ends here.

Not for whether the provider's word is true (`vendors/oidc.py`), nor for who that is here (`linking.py`).

Rules of this file:

1. What a login needs on its way back stands in a ticket, which the browser that began it keeps in a cookie
   and which is authenticated by the key of the deployment: whoever comes back with another state, another
   browser's ticket, or too late, is nobody. Nothing is written before somebody was proven.
2. A ticket is good once in a process; that the provider's code is good once holds everywhere.
3. A program gets no session from a browser but a code for one, good once, for two minutes, and only with
   what its challenge was made of (RFC 7636, RFC 8252).
4. Whoever has to prove himself again has done so at the provider after he was sent there, not before.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections import OrderedDict
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from hmac import compare_digest
from re import ASCII, fullmatch
from secrets import token_bytes
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from strongroom.errors import ConflictError, InvalidInputError, NotAuthenticatedError, TamperedError
from strongroom.model.principal import PERSON as PREFIX
from strongroom.model.secret import Secret
from strongroom.registry import Change
from strongroom.service.access import token as tokens
from strongroom.service.access.begun import Begun
from strongroom.service.access.ending import codes_of, memberships_of, sessions_of
from strongroom.service.access.linking import UnknownPersonError, link, subject_id
from strongroom.service.access.refusals import NOBODY
from strongroom.service.access.shape import (
    CODE,
    LOGIN,
    SESSION,
    SUBJECT,
    Code,
    LastLogin,
    Session,
    Subject,
    decoded,
    encoded,
)

if TYPE_CHECKING:
    from strongroom.registry import Snapshot
    from strongroom.service.access.gate import Gate
    from strongroom.service.access.identity import Login
    from strongroom.service.access.linking import Linked, Rules
    from strongroom.vendors.oidc import Authorization, OidcProvider, Proof

__all__ = ["Handed", "OidcLogin", "Program", "Returned", "Sent"]

_TICKET = timedelta(minutes=10)  # for a person at the provider
_HANDED = timedelta(minutes=2)  # for a program to use its code
_LEEWAY = timedelta(seconds=10)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=timezone.utc)  # when somebody was proven, where nobody says
_MAX_TICKET = 4_096  # characters
_MOST_USED = 10_000  # tickets and notices that are remembered as used
_MOST_TRIES = 3  # of one login while rows change beside it
_MAC_OF = "oidc_login"
_CHALLENGE = r"[A-Za-z0-9_-]{43}"
_LOW_PORT, _HIGH_PORT = 1_024, 65_535
_NOT_OURS = "this login was not begun in this browser, or it took too long"
_HINT = "begin again: strongroom login --oidc, or the login page"


class Program(NamedTuple):
    """
    A program that waits for a login.

    Args:
        challenge: S256 of what it will show for the code (RFC 7636).
        port: of 127.0.0.1, where it waits for the browser; None where a person brings the code.
    """

    challenge: str
    port: int | None = None


class Sent(NamedTuple):
    """
    A browser is to go to the provider.

    Args:
        address: where.
        ticket: to be kept by that browser alone, and to come back with it.
        lasts: for how long it is good.
    """

    address: str
    ticket: Secret[str]
    lasts: timedelta


class Returned(NamedTuple):
    """
    What a browser came back from the provider with, none of it believed.

    Args:
        ticket: that it kept; None for none.
        state, code, error, issuer: of the address.
        source: where it came from.
        replaces: the token of a session that came with it; it ends.
    """

    ticket: str | None
    state: str
    code: str
    error: str
    issuer: str | None
    source: str
    replaces: str | None = None

    def __repr__(self) -> str:
        return f"Returned(source={self.source!r})"


class Handed(NamedTuple):
    """
    A code for a program, which begins one session.

    Args:
        code: good for two minutes.
        actor: as whom.
        program: that asked for it.
    """

    code: Secret[str]
    actor: str
    program: Program


class _Ticket(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """
    What a login needs on its way back.

    Args:
        key: 32 random bytes; state, nonce and PKCE's verifier are made of it.
        begun: when.
        redirect_uri: where the provider was told to send the browser.
        again: its person has to prove himself anew.
        challenge, port: of a program.
    """

    key: bytes
    begun: datetime
    redirect_uri: str
    again: bool = False
    challenge: str = ""
    port: int | None = None

    def made(self, of: bytes) -> str:
        """Give what is made of the key for one purpose: 43 characters."""
        return urlsafe_b64encode(sha256(of + b"\0" + self.key).digest()).decode().rstrip("=")


class OidcLogin:
    """
    Log people in by one provider, for one deployment.

    Threads: safe.

    Args:
        gate: begins sessions.
        provider: says who somebody is.
        rules: say who that is here.
        fresh: for how long a proof is fresh.

    Attributes:
        public_url: where browsers reach the server.
        rules: as given.
    """

    def __init__(
        self, gate: Gate, provider: OidcProvider, rules: Rules, *, public_url: str, fresh: timedelta
    ) -> None:
        self.public_url = public_url
        self._gate = gate
        self._provider = provider
        self.rules = rules
        self._fresh = fresh
        self._used: OrderedDict[str, datetime] = OrderedDict()
        self._lock = Lock()

    # --- the way there -------------------------------------------------------------------------

    def begin(self, redirect_uri: str, *, program: Program | None = None, again: bool = False) -> Sent:
        """
        Begin a login.

        Args:
            redirect_uri: where the provider sends the browser back, registered there to the letter.
            program: that waits for it; None for the browser itself.
            again: the person proves who he is anew, however lately he did.

        Raises:
            InvalidInputError: the program's challenge or port is none.
            BackendUnavailableError, BackendConfigError: as `OidcProvider.address`.
            SealedError: the key is not to be had.
        """
        challenge, port = ("", None) if program is None else _checked(program)
        ticket = _Ticket(
            key=token_bytes(32),
            begun=self._gate.clock(),
            redirect_uri=redirect_uri,
            again=again,
            challenge=challenge,
            port=port,
        )
        address = self._provider.address(self._asked(ticket))
        return Sent(address, Secret(self._sealed(ticket)), _TICKET)

    def _asked(self, ticket: _Ticket) -> Authorization:
        from strongroom.vendors.oidc import Authorization  # noqa: PLC0415 -- only who is configured for it

        longest = self._fresh if ticket.again else self._gate.lifetimes.absolute
        return Authorization(
            redirect_uri=ticket.redirect_uri,
            state=ticket.made(b"state"),
            nonce=ticket.made(b"nonce"),
            verifier=Secret(ticket.made(b"pkce")),
            max_age=int(longest.total_seconds()),
            again=ticket.again,
        )

    def _sealed(self, ticket: _Ticket) -> str:
        body = msgspec.json.encode(ticket)
        mac = self._gate.registry.seal.mac_row(_MAC_OF, (self._gate.registry.deployment, body))
        return f"{_text(body)}.{_text(mac)}"

    # --- the way back --------------------------------------------------------------------------

    def finish(self, returned: Returned) -> Login | Handed:
        """
        End a login: begin a session, or give a code to the program that asked for one.

        Raises:
            NotAuthenticatedError: nobody was proven, or nobody that is somebody here.
            RateLimitedError: too many tries.
            NotRecordedError: the login cannot be recorded, so there is none.
            BackendUnavailableError, BackendConfigError: as `OidcProvider.prove`.
            TamperedError: the rows of who may were changed by hand.
        """
        gate, source = self._gate, returned.source
        gate.attempts.take("", source)
        ticket = self._opened(returned)
        if returned.error:
            gate.refusals.add(NOBODY, source, "the identity provider let nobody in")
            raise self._provider.refused(returned.error)
        proof = self._proof(ticket, returned)
        login = self._ended(ticket, proof, returned)
        gate.attempts.give_back("", source)
        return login

    def _opened(self, returned: Returned) -> _Ticket:
        """Give the ticket a browser came back with, once."""
        ticket = self._unsealed(returned.ticket or "")
        now = self._gate.clock()
        if ticket is None or not -_LEEWAY <= now - ticket.begun < _TICKET:
            raise self._refused(NOBODY, returned.source, "a login that was not begun here", _NOT_OURS)
        if not compare_digest(ticket.made(b"state").encode(), returned.state.encode("utf-8", "replace")):
            raise self._refused(NOBODY, returned.source, "a login with another state", _NOT_OURS)
        if not self._use(ticket.made(b"used"), ticket.begun + _TICKET):
            raise self._refused(NOBODY, returned.source, "a login that was used before", _NOT_OURS)
        return ticket

    def _unsealed(self, text: str) -> _Ticket | None:
        body, mark, mac = text.partition(".")
        if not mark or len(text) > _MAX_TICKET:
            return None
        try:
            found, proof = _bytes(body), _bytes(mac)
            columns = (self._gate.registry.deployment, found)
            self._gate.registry.seal.check_row(_MAC_OF, columns, proof)
            return msgspec.json.decode(found, type=_Ticket)
        except (Base64Error, ValueError, TamperedError, msgspec.MsgspecError):
            return None

    def _use(self, what: str, until: datetime) -> bool:
        """Remember that something good once was used; False where it was before."""
        now = self._gate.clock()
        with self._lock:
            while self._used and (len(self._used) >= _MOST_USED or next(iter(self._used.values())) <= now):
                self._used.popitem(last=False)
            if what in self._used:
                return False
            self._used[what] = until
            return True

    def _proof(self, ticket: _Ticket, returned: Returned) -> Proof:
        try:
            self._provider.check_issuer(returned.issuer)
            proof = self._provider.prove(returned.code, self._asked(ticket))
        except NotAuthenticatedError as error:
            reason = getattr(error, "reason", "a code or an ID token that proves nobody")
            failure = self._refused(NOBODY, returned.source, reason, str(error))
        else:
            self._check_fresh(ticket, proof, returned.source)
            return proof
        raise failure

    def _check_fresh(self, ticket: _Ticket, proof: Proof, source: str) -> None:
        """Refuse who did not prove himself as lately as he was asked to (Core 1.0 §3.1.2.1)."""
        proven = proof.proven_at
        if proven is None and not ticket.again:
            return  # then he is let in, and nothing that needs a fresh proof is
        earliest = ticket.begun if ticket.again else self._gate.clock() - self._gate.lifetimes.absolute
        # The provider counts whole seconds, by its own clock.
        if proven is None or proven < earliest - _LEEWAY:
            raise self._refused(
                NOBODY,
                source,
                "a proof that is not as fresh as was asked for",
                "the identity provider did not ask again who you are",
            )

    def _ended(self, ticket: _Ticket, proof: Proof, returned: Returned) -> Login | Handed:
        for _ in range(_MOST_TRIES):
            with suppress(ConflictError):  # somebody of this name was changed beside: look again
                linked = self._linked(proof, returned.source)
                if ticket.challenge:
                    return self._handed(ticket, proof, linked, returned)
                return self._gate.begin(self._begun(proof, linked, returned))
        raise self._refused(NOBODY, returned.source, "changed meanwhile", _NOT_OURS)

    def _linked(self, proof: Proof, source: str) -> Linked:
        try:
            return link(self._gate.registry.snapshot(), proof, self.rules, now=self._gate.clock())
        except UnknownPersonError as unknown:
            self._gate.refusals.add(unknown.actor, source, unknown.reason)
            if unknown.has_left:
                # What he has open goes on, and may nothing: his groups are known to be gone.
                who = unknown.actor
                self._gate.registry.change(lambda now: memberships_of(now, who, by_group=True))
            raise

    def _begun(self, proof: Proof, linked: Linked, returned: Returned) -> Begun:
        last = LastLogin(at=self._gate.clock(), source=returned.source)
        return Begun(
            PREFIX + linked.name,
            "oidc",
            returned.source,
            returned.replaces,
            linked.rows,
            [*linked.changes, Change(LOGIN, linked.name, encoded(last))],
            proof.proven_at or _LONG_AGO,
            proof.session,
        )

    def _handed(self, ticket: _Ticket, proof: Proof, linked: Linked, returned: Returned) -> Handed:
        """Write who he is from now on, and a code for the program that waits."""
        gate, code, actor = self._gate, tokens.draw(tokens.CODE), PREFIX + linked.name
        digest, now = tokens.digest_of(code.reveal()), gate.clock()
        body = Code(
            digest=digest,
            actor=actor,
            created_by=actor,
            expires=now + _HANDED,
            challenge=ticket.challenge,
            how="oidc",
            proven=proof.proven_at or _LONG_AGO,
            provider_session=proof.session,
        )
        changes = [
            *linked.changes,
            Change(LOGIN, linked.name, encoded(LastLogin(at=now, source=returned.source))),
        ]

        def decide(snapshot: Snapshot) -> list[Change]:
            for row in linked.rows:
                if snapshot.of(row.kind).get(row.id) != row:
                    raise ConflictError("what the login was to begin with has changed")
            return [*changes, Change(CODE, tokens.id_of(digest), encoded(body))]

        gate.registry.change(decide)
        gate.record(actor, "done", f"oidc, a code for a program{_from(returned.source)}")
        return Handed(code, actor, Program(ticket.challenge, ticket.port))

    # --- logging out ---------------------------------------------------------------------------

    def logout_address(self, after: str) -> str | None:
        """Give where a browser ends its session at the provider, too; None where there is no such place."""
        return self._provider.logout_address(after)

    def logged_out(self, token: str, *, source: str) -> int:
        """
        End the sessions of whom the provider says has logged out there, and give how many.

        Args:
            token: the provider's notice (Back-Channel Logout 1.0).
            source: the address it came from.

        Raises:
            NotAuthenticatedError: it is none of that provider's, or came before.
            NotRecordedError, TamperedError, BackendUnavailableError: as `finish`.
        """
        self._gate.attempts.take("", source)
        notice = self._provider.logged_out(token)
        used = f"notice {notice.token_id}"
        if not self._use(used, notice.ends + _LEEWAY):
            raise NotAuthenticatedError("this notice of a logout came before")
        ended: list[Change] = []

        def decide(snapshot: Snapshot) -> list[Change]:
            ended[:] = _ended_by(snapshot, subject_id(self._provider.issuer, notice.subject), notice.session)
            return ended

        try:
            self._gate.registry.change(decide)
        except BaseException:
            with self._lock:
                self._used.pop(used, None)  # nothing was done: the provider may send it again
            raise
        count = sum(change.kind == SESSION for change in ended)
        self._gate.record(NOBODY, "done", f"{count} sessions, by the provider{_from(source)}", "logout")
        self._gate.attempts.give_back("", source)
        return count

    def close(self) -> None:
        """Let go of connections to the provider."""
        self._provider.close()

    def _refused(self, actor: str, source: str, reason: str, message: str) -> NotAuthenticatedError:
        self._gate.refusals.add(actor, source, reason)
        return NotAuthenticatedError(message, hint=_HINT)


def _checked(program: Program) -> Program:
    """Refuse a challenge or port that is none."""
    if not fullmatch(_CHALLENGE, program.challenge, ASCII):
        raise InvalidInputError(
            "the challenge of a program is 43 letters of base64url", hint="S256 of RFC 7636"
        )
    if program.port is not None and not _LOW_PORT <= program.port <= _HIGH_PORT:
        raise InvalidInputError(f"a program waits on a port from {_LOW_PORT} to {_HIGH_PORT}")
    return program


def _ended_by(snapshot: Snapshot, subject: str, session: str) -> list[Change]:
    """
    Give what ends the sessions of a notice, and the codes programs wait to begin one with: those of that one
    session at the provider, and of whom it names those of none that it told of; without one all of his.
    """
    row = snapshot.of(SUBJECT).get(subject)
    actor = None if row is None else PREFIX + decoded(row, Subject).name
    if not session:
        return [] if actor is None else [*sessions_of(snapshot, actor), *codes_of(snapshot, actor)]
    shapes: tuple[tuple[str, type[Session | Code]], ...] = ((SESSION, Session), (CODE, Code))
    found = ((one, decoded(one, shape)) for kind, shape in shapes for one in snapshot.of(kind).values())
    return [
        Change(one.kind, one.id, None)
        for one, body in found
        if body.how == "oidc"
        and (body.provider_session == session or (not body.provider_session and body.actor == actor))
    ]


def _from(source: str) -> str:
    return f", from {source}" if source else ""


def _text(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
