"""
What is said to an OpenID provider and what it proves, as values.

Not for speaking to one (`oidc.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from strongroom.model.secret import Secret

__all__ = ["Authorization", "LoggedOut", "Proof", "ProviderOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderOptions:
    """
    One provider and how it knows us.

    Args:
        issuer: to the letter.
        client_id: ours.
        client_secret: gives it anew each time it is used; None for a public client.
        client_auth: `basic` or `post`.
        scopes: what is asked for.
        wanted: claims to look for in `userinfo` where the ID token has none of that name.
        algorithms: signatures that are taken.
        leeway: two clocks may differ by.
        timeout: for one wait on the provider.
        ca: the authority of its certificate; the system's if None.
    """

    issuer: str
    client_id: str
    client_secret: Callable[[], Secret[str]] | None = field(default=None, repr=False)
    client_auth: str = "basic"
    scopes: tuple[str, ...] = ("openid",)
    wanted: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ("RS256",)
    leeway: timedelta = timedelta(seconds=10)
    timeout: timedelta = timedelta(seconds=5)
    ca: Path | None = None


class Authorization(NamedTuple):
    """
    A question for the provider, by way of a browser.

    Args:
        redirect_uri: where it sends the browser back, registered there to the letter.
        state: comes back as it is.
        nonce: comes back in the ID token.
        verifier: PKCE's; only its digest is sent.
        max_age: seconds since its user last proved who he is, at most; longer ago, he does it again.
        again: he proves it again in any case.
    """

    redirect_uri: str
    state: str
    nonce: str
    verifier: Secret[str]
    max_age: int
    again: bool = False


class Proof(NamedTuple):
    """
    Who a provider says came back.

    Args:
        issuer, subject: who it is, for ever.
        claims: what else is said of him.
        proven_at: when he proved it there; None where the provider does not say.
        session: how the provider calls his session there; "" where it does not.
    """

    issuer: str
    subject: str
    claims: Mapping[str, Any]
    proven_at: datetime | None
    session: str

    def __repr__(self) -> str:
        return f"Proof({self.issuer!r})"  # what is said of him is his


class LoggedOut(NamedTuple):
    """
    Who logged out at the provider.

    Args:
        subject: of every session, or "" where *session* says which.
        session: as of `Proof`.
        token_id: of the notice: one is good once.
        ends: when the notice ends.
    """

    subject: str
    session: str
    token_id: str
    ends: datetime
