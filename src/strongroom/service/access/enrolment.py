"""
Agents at the gate: a code and a key begin one, a signature begins a session of it.

Rules of this file:

1. Who enrols shows that he has the key, by signing the code with it. A code enrols once, however often
   and however many at once use it.
2. A login is signed over its time, and each must be later than the last one that succeeded, in whatever
   process of the server that was: one that was heard on the way begins nothing a second time.
3. Nobody who has not the key learns anything, not even whether there is such an agent.
4. A certificate proves an agent by a name in it that the settings give to that agent, to the letter, and only
   one that was admitted: who revokes the agent need not wait for the certificate to end.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from hmac import compare_digest
from types import MappingProxyType
from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, InvalidInputError, TamperedError
from strongroom.model.enrolment import FINGERPRINT_BYTES, KEY_BYTES, SIGNATURE_BYTES, enrolment
from strongroom.model.principal import AGENT as PREFIX
from strongroom.model.principal import canonical
from strongroom.registry import Change
from strongroom.service.access import token as tokens
from strongroom.service.access.begun import Begun
from strongroom.service.access.refusals import NOBODY
from strongroom.service.access.roles import granted
from strongroom.service.access.shape import (
    AGENT,
    AGENT_LOGIN,
    INVITATION,
    Agent,
    AgentLogin,
    Invitation,
    decoded,
    encoded,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from strongroom.model.enrolment import Claim
    from strongroom.registry import Row, Snapshot
    from strongroom.service.access.gate import Gate
    from strongroom.service.access.identity import Login

    Check = Callable[[bytes, bytes, bytes], None]

__all__ = ["Enrolment"]

_MOST_SKEW = timedelta(minutes=2)  # between the clock of a host and ours
_NO_CODE = "this enrolment code is not valid any more"
_REFUSED = "no agent is known by this name, key and host"
_NO_CERTIFICATE = "no client certificate came with this connection"
_NO_AGENT = "this certificate is of no agent"
_TRIES = 3
_DECOY = bytes(KEY_BYTES)  # no key anybody has; checked where there is no agent


class Enrolment:
    """
    Enrol agents of one deployment, and log them in. Threads: safe.

    Args:
        check: `crypto._primitives.ed25519_check`.
        certificates: the names in certificates (SAN), to the name of the agent each is.
    """

    def __init__(
        self, gate: Gate, check: Check, certificates: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._gate = gate
        self._certificates = certificates
        self._registry = gate.registry
        self._check = check

    def enrol(self, code: str, *, public: bytes, fingerprint: bytes, signature: bytes, source: str) -> str:
        """
        Make an agent, and give its name.

        Args:
            code: of an invitation; blanks and line ends in it are passed over.
            public: the key it will prove itself with.
            fingerprint: of its host.
            signature: by that key over `model.enrolment.enrolment`.
            source: the address it came from.

        Raises:
            NotAuthenticatedError: the code is none, was used, or its time is up; or the key signed nothing.
            InvalidInputError: key, fingerprint or signature is not as long as one.
            RateLimitedError: too many wrong ones.
            NotRecordedError: it cannot be recorded, so there is no agent.
            TamperedError, BackendUnavailableError: as `Gate.authenticate`.
        """
        _check_sizes(public, fingerprint, signature)
        gate, text = self._gate, "".join(code.split())
        gate.attempts.take("", source)
        row = self._invitation(text)
        if row is None:
            raise gate.refusal(NOBODY, source, "an unknown or used enrolment code", _NO_CODE)
        said = decoded(row, Invitation)
        actor = PREFIX + said.name
        if gate.clock() >= said.expires:
            raise gate.refusal(actor, source, "an enrolment code whose time is up", _NO_CODE)
        if not self._is_signed(public, signature, enrolment(text, public, fingerprint)):
            raise gate.refusal(actor, source, "an enrolment without the key it names", _NO_CODE)
        try:
            self._make(row, said, public, fingerprint, source)
        except ConflictError:
            raise gate.refusal(actor, source, "an unknown or used enrolment code", _NO_CODE) from None
        gate.attempts.give_back("", source)
        return said.name

    def _invitation(self, text: str) -> Row | None:
        digest = tokens.digest_of(text)
        row_id = tokens.id_of(digest)
        if row_id not in self._registry.snapshot().of(INVITATION):
            self._registry.look()  # made by another process a moment ago
        row = self._registry.snapshot().of(INVITATION).get(row_id)
        if row is None or not compare_digest(decoded(row, Invitation).digest, digest):
            return None
        return row

    def _make(self, row: Row, said: Invitation, public: bytes, fingerprint: bytes, source: str) -> None:
        now, actor = self._gate.clock(), PREFIX + said.name
        body = Agent(
            public=public,
            fingerprint=fingerprint,
            created_at=now,
            created_by=said.created_by,
            source=source,
            scope=said.scope,
            comment=said.comment,
        )
        roles = [granted(role, actor, by=said.created_by, now=now) for role in said.roles]

        def decide(snapshot: Snapshot) -> list[Change]:
            if snapshot.of(INVITATION).get(row.id) != row:
                raise ConflictError("the invitation was used meanwhile")
            return [Change(INVITATION, row.id, None), Change(AGENT, said.name, encoded(body), 0), *roles]

        # Before and after, as every change of who may: a code that is used up shows as begun at least.
        reason = f"host {fingerprint[:8].hex()}, invited by {said.created_by}{_from(source)}"
        self._gate.record(actor, "begun", reason, "enrol")
        try:
            self._registry.change(decide)
        except BaseException:
            self._gate.record(actor, "failed", reason, "enrol")
            raise
        self._gate.record(actor, "done", reason, "enrol")

    def login(self, claim: Claim, signature: bytes, *, source: str) -> Login:
        """
        Begin a session of an agent.

        Args:
            claim: what it says.
            signature: by its key over it.
            source: the address it came from.

        Raises:
            NotAuthenticatedError: it is no agent's, of another host, from another time, or was used before.
            InvalidInputError: fingerprint or signature is not as long as one.
            NotRecordedError: the login cannot be recorded, so there is none.
            TamperedError, BackendUnavailableError: as `Gate.authenticate`.
        """
        _check_sizes(_DECOY, claim.fingerprint, signature)
        row = self._proven(claim, signature, source)
        actor, now = PREFIX + row.id, self._gate.clock()
        skew = now.timestamp() - claim.at / 1_000_000
        if abs(skew) > _MOST_SKEW.total_seconds():
            # Told to who has the key: nothing else would ever let that host in.
            words = "behind" if skew > 0 else "ahead of"
            raise self._gate.refusal(
                actor,
                source,
                "a login from another time",
                f"the clock of this host is {words} the server's by {abs(skew):.0f} s",
            )
        last = self._registry.snapshot().of(AGENT_LOGIN).get(row.id)
        if last is not None and claim.at <= decoded(last, AgentLogin).claimed:
            raise self._gate.refusal(actor, source, "a login that was used before", _REFUSED)
        body = AgentLogin(claimed=claim.at, at=now, source=source)
        change = Change(AGENT_LOGIN, row.id, encoded(body), 0 if last is None else last.revision)
        try:
            return self._gate.begin(Begun(actor, "key", source, None, [row], [change]))
        except ConflictError:
            raise self._gate.refusal(actor, source, "a login that was used before", _REFUSED) from None

    def login_with_certificate(self, names: Sequence[str], *, source: str) -> Login:
        """
        Begin a session of the agent a TLS client certificate is of.

        Args:
            names: of the certificate, which TLS has checked; empty where none was shown.
            source: the address it came from.

        Raises:
            NotAuthenticatedError: they are no one agent's, or it was not admitted, or is revoked.
            NotRecordedError, TamperedError, BackendUnavailableError: as `login`.
        """
        if not names:
            raise self._gate.refusal(NOBODY, source, "a login without a certificate", _NO_CERTIFICATE)
        found = {self._certificates[name] for name in names if name in self._certificates}
        if len(found) != 1:
            raise self._gate.refusal(NOBODY, source, "a certificate of no one agent", _NO_AGENT)
        (name,) = found
        for _ in range(_TRIES):
            row = self._found(name)
            if row is None:
                break
            last = self._registry.snapshot().of(AGENT_LOGIN).get(name)
            claimed = 0 if last is None else decoded(last, AgentLogin).claimed
            body = AgentLogin(claimed=claimed, at=self._gate.clock(), source=source)
            change = Change(AGENT_LOGIN, name, encoded(body), 0 if last is None else last.revision)
            with suppress(ConflictError):  # another login of it at the same moment, or its end
                return self._gate.begin(Begun(PREFIX + name, "certificate", source, None, [row], [change]))
        raise self._gate.refusal(
            PREFIX + name, source, "a certificate of an agent that is not there", _NO_AGENT
        )

    def _proven(self, claim: Claim, signature: bytes, source: str) -> Row:
        """Give the row of the agent whose key signed *claim*, on its host."""
        row = self._found(claim.name)
        body = None if row is None else decoded(row, Agent)
        key = _DECOY if body is None or not body.public else body.public
        # Checked alike for who is not there.
        is_signed = self._is_signed(key, signature, claim.signed(self._registry.deployment))
        if row is None or body is None or not body.public or not is_signed:
            who = NOBODY if row is None else PREFIX + row.id
            raise self._gate.refusal(who, source, "an unknown agent, or a wrong key", _REFUSED)
        if not compare_digest(body.fingerprint, claim.fingerprint):
            raise self._gate.refusal(
                PREFIX + row.id,
                source,
                "the key of an agent, used on another host",
                "this key was enrolled on another host",
            )
        return row

    def _found(self, name: str) -> Row | None:
        try:
            if canonical(name) != name:
                return None
        except InvalidInputError:
            return None
        row = self._registry.snapshot().of(AGENT).get(name)
        if row is None:
            self._registry.look()  # enrolled through another process a moment ago
            row = self._registry.snapshot().of(AGENT).get(name)
        return row

    def _is_signed(self, public: bytes, signature: bytes, message: bytes) -> bool:
        try:
            self._check(public, signature, message)
        except TamperedError:
            return False
        return True


def _check_sizes(public: bytes, fingerprint: bytes, signature: bytes) -> None:
    for data, size, what in (
        (public, KEY_BYTES, "public_key"),
        (fingerprint, FINGERPRINT_BYTES, "fingerprint"),
        (signature, SIGNATURE_BYTES, "signature"),
    ):
        if len(data) != size:
            raise InvalidInputError(f"{what} has {size} bytes", limit=size if len(data) > size else None)


def _from(source: str) -> str:
    return f", from {source}" if source else ""
