"""How a server is told to seal one of its deployments, or to open it; nothing of it needs a room."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.caller import Client, spelled
from strongroom.wire.seal import SealView, SetSeal, Unseal

if TYPE_CHECKING:
    from strongroom.caller import Credential, ServerAddress
    from strongroom.model.secret import Secret

__all__ = ["seal", "seal_state", "unseal"]


def seal_state(address: ServerAddress) -> SealView:
    """
    Tell whether the deployment at *address* is sealed; whoever asks is told.

    Raises:
        As `Client.get`.
    """
    client = Client(address)
    try:
        return client.get("/seal", SealView)
    finally:
        client.close()


def seal(address: ServerAddress, credential: Credential, *, reason: str = "") -> SealView:
    """
    Seal the deployment at *address*.

    Raises:
        AccessDeniedError: who asks may not.
        As `Client.post`.
    """
    client = Client(address, credential)
    try:
        return client.post("/seal", SealView, spelled(SetSeal(reason=reason)))
    finally:
        client.close()


def unseal(
    address: ServerAddress,
    credential: Credential | None,
    *,
    passphrase: Secret[str] | None = None,
    code: Secret[str] | None = None,
) -> SealView:
    """
    Open the deployment at *address* with a passphrase, a code, or as whoever asks; or try it once more.

    Raises:
        NotAuthenticatedError: the passphrase does not open it, or nobody was proven who may.
        SealedError: it stays sealed.
        RateLimitedError: too soon after the last try.
        As `Client.post`.
    """
    body = Unseal(
        passphrase=None if passphrase is None else passphrase.reveal(),
        code=None if code is None else code.reveal(),
    )
    client = Client(address, credential)
    try:
        return client.post("/unseal", SealView, spelled(body))
    finally:
        client.close()
