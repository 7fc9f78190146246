"""Shapes of the seal of a deployment: how it stands, and what opens it."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time

from strongroom.wire.shape import Asked, Given

__all__ = ["SealView", "SetSeal", "Unseal"]


class SealView(Given, kw_only=True):
    """
    How it stands with the seal of a deployment.

    Args:
        is_sealed: no key is loaded that opens its store.
        is_by_hand: somebody sealed it, so that it does not open by itself.
        takes_passphrase: it opens with a passphrase that is typed.
        since: when it was sealed, UTC.
        retry_after: seconds until it is tried again by itself.
    """

    is_sealed: bool
    is_by_hand: bool = False
    takes_passphrase: bool = False
    since: datetime | None = None
    retry_after: float | None = None


class SetSeal(Asked, kw_only=True):
    """
    Seal a deployment.

    Args:
        reason: for the record, up to 500 characters.
    """

    reason: str = ""


class Unseal(Asked, kw_only=True):
    """
    Open a deployment, or try to once more.

    Args:
        passphrase: that one of its wrappers takes.
        code: the single-use code of a login link, of somebody who may administer it.
    """

    passphrase: str | None = None
    code: str | None = None
