"""
Step-up: what a person in a session may do only if he proved lately who he is.

A session lasts hours, and a screen is left alone for minutes: what shows a secret, changes who may or touches
keys asks for a proof of the last minutes (`access.step_up_seconds`). Whoever comes with a name and password
has just given it; programs have no screen, and are bounded by the scope of their tokens.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from strongroom.errors import NotAuthenticatedError
from strongroom.model.principal import LOCAL, PERSON
from strongroom.model.secret import Secret
from strongroom.server.auth import cookie_of
from strongroom.wire.failure import StepUpError

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call
    from strongroom.service.access import Demands, Identity, Login

__all__ = ["PROOF", "PROOF_CODE", "code_in", "is_fresh", "prove", "require_proof", "stale"]

PROOF = "proof_password"
"""The field of a form in which a person proves anew who he is."""
PROOF_CODE = "proof_code"
"""The like, for the code of a link."""
_MAX_PASSWORD = 4096  # characters


def require_proof(call: Call) -> None:
    """
    Refuse a person whose proof is too old.

    Raises:
        StepUpError: it is.
    """
    demands = call.place.access.demands
    if not is_fresh(call.identity, demands, datetime.now(timezone.utc)):
        raise stale(demands)


def prove(call: Call, *, anew: bool = False) -> None:
    """
    Refuse a person whose proof is too old, unless a new one came with the form: his password, or the code of
    a link that signs him in. His session begins anew then.

    Args:
        call: the request, with its form.
        anew: a new one is asked for however old that of the session is.

    Raises:
        StepUpError: it is too old, and no proof came, or a wrong one.
        RateLimitedError: too many wrong ones.
    """
    password, code = call.form.text(PROOF, most=_MAX_PASSWORD), call.form.text(PROOF_CODE, most=_MAX_PASSWORD)
    call.form = call.form.without(PROOF, PROOF_CODE)
    access = call.place.access
    if not anew and is_fresh(call.identity, access.demands, datetime.now(timezone.utc)):
        return
    if not (password or code) or not call.session:
        raise stale(access.demands)
    begun = _begun(call, password, code)
    if begun is None:
        raise StepUpError(
            "that proves nobody, or somebody else", reason="password" if password else "code", hint=None
        )
    call.is_proven = True
    call.identify(begun.identity)
    call.session = begun.token.reveal()
    call.cookies.append(cookie_of(call, begun))


def _begun(call: Call, password: str, code: str) -> Login | None:
    """Begin the session that follows; None where the proof is wrong, or somebody else's."""
    access, actor = call.place.access, call.identity.actor.id
    with suppress(NotAuthenticatedError):
        if password:
            if not actor.startswith(PERSON):
                return None
            name = actor.removeprefix(PERSON)
            return access.login(name, Secret(password), source=call.source, replaces=call.session)
        begun = access.login_with_code(code_in(code), source=call.source)
        if begun.identity.actor.id == actor:
            access.logout(call.identity)  # the one that goes on is the new one
            return begun
        access.logout(begun.identity)
    return None


def code_in(text: str) -> str:
    """Give the code in what was pasted: the code, or the address of the link that holds it."""
    return "".join(text.rpartition("code=")[2].split())


def is_fresh(identity: Identity, demands: Demands, now: datetime) -> bool:
    """Tell whether *identity* was proven lately enough; whatever is no person in a session always is."""
    if identity.how != "session" or not identity.actor.id.startswith((PERSON, LOCAL)):
        return True
    return timedelta() <= now - identity.since <= demands.fresh


def stale(demands: Demands) -> StepUpError:
    """Give the error of a proof that is too old."""
    seconds = round(demands.fresh.total_seconds())
    minutes, rest = divmod(seconds, 60)
    span = f"{minutes} minutes" if minutes > 1 and not rest else f"{seconds} seconds"
    return StepUpError(
        f"this needs an identity proven within the last {span}",
        reason="step-up",
        hint="log in again: strongroom login, or the login page",
    )
