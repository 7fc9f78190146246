"""`/seal`, `/unseal`: close a deployment, and open one whose key was not to be had."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError
from strongroom.model.secret import Secret
from strongroom.server.api.asked import bounded
from strongroom.server.auth import credential_of, identify
from strongroom.server.endpoint import Endpoint
from strongroom.service.sealing import Unsealing
from strongroom.wire.seal import SealView, SetSeal, Unseal

if TYPE_CHECKING:
    from strongroom.policy import Actor
    from strongroom.server.endpoint import Call
    from strongroom.service.house import Deployment

__all__ = ["ENDPOINTS"]

_MAX_PASSPHRASE = 4096  # characters


def seal(call: Call) -> SealView:
    """Tell how it stands; to whoever asks, since nobody can be known where it is sealed."""
    return _view(call)


def set_seal(call: Call) -> SealView:
    """Forget the keys and answer nothing more, as an administrator; in read-only mode too."""
    reason = bounded(call.take(SetSeal).reason, field="reason")
    call.house.seal(call.deployment, call.identity.actor, reason=reason)
    return _view(call)


def unseal(call: Call) -> SealView:
    """Open it with a passphrase, or as somebody who may administer it; or try it once more."""
    body = call.take(Unseal)
    if body.passphrase is not None and not 0 < len(body.passphrase) <= _MAX_PASSPHRASE:
        raise InvalidInputError(f"a passphrase has 1 to {_MAX_PASSPHRASE} characters", limit=_MAX_PASSPHRASE)
    passphrase = None if body.passphrase is None else Secret(body.passphrase)
    prove = None
    if body.code is not None:
        prove = partial(_by_code, call, body.code)
    elif "authorization" in call.headers:
        prove = partial(_by_token, call)
    call.house.unseal(call.deployment, Unsealing(passphrase, prove, call.source))
    return _view(call)


def _by_code(call: Call, code: str, place: Deployment) -> Actor:
    identity = place.access.login_with_code(code, source=call.source).identity
    place.access.logout(identity)  # it was to prove somebody, and for nothing else
    return identity.actor


def _by_token(call: Call, place: Deployment) -> Actor:
    # A cookie proves nobody here: a browser sends it along with what another site asks for.
    credential = credential_of({"authorization": call.headers["authorization"]}, "", allows_basic=False)
    return identify(place.access, credential, source=call.source).actor


def _view(call: Call) -> SealView:
    found = call.house.seals.state(call.deployment)
    return SealView(
        is_sealed=found.is_sealed,
        is_by_hand=found.is_by_hand,
        takes_passphrase=found.takes_passphrase,
        since=found.since,
        retry_after=None if found.retry_after is None else found.retry_after.total_seconds(),
    )


ENDPOINTS = (
    Endpoint(
        "GET",
        "/seal",
        seal,
        "Show whether the deployment is sealed",
        "server",
        gives=SealView,
        is_public=True,
        when_sealed=True,
        cost=0.0,
    ),
    Endpoint("POST", "/seal", set_seal, "Seal the deployment", "server", takes=SetSeal, gives=SealView),
    Endpoint(
        "POST",
        "/unseal",
        unseal,
        "Open the deployment, or try to once more",
        "server",
        takes=Unseal,
        gives=SealView,
        is_public=True,
        when_sealed=True,
    ),
)
