"""
One session with Vault or OpenBao for a whole process: asking with the token there is.

Not for what stands at a path (`backends/vault.py`), for the token and its renewal (`vault_token.py`), for how
one logs in (`vault_login.py`) or for how bytes travel (`transport.py`).

Rules of this file:

1. A question is asked with the token there is: nothing is looked up before it. Only after a refusal the
   token itself is looked up; one that is dead is replaced once, and the question asked once more.
2. Secrets stand in a body as Secret until its bytes are made.
"""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING

from strongroom.errors import NotAuthenticatedError
from strongroom.model.secret import Secret
from strongroom.vendors.vault_answer import TokenFacts, check_answered, facts_of
from strongroom.vendors.vault_token import LOOK_AFTER, LOOKUP, Held, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.vendors.transport import Reply, Transport
    from strongroom.vendors.vault_login import Login
    from strongroom.vendors.vault_options import VaultAccess

__all__ = ["TokenFacts", "VaultSession"]

_TOKENS = 2  # that one question may go through after its first: another thread's may die as well
_OK, _DENIED = 200, 403
_NONE: Mapping[str, str] = {}


class VaultSession:
    """
    Ask one server as one identity.

    Args:
        login: how to get a token.
        transport: how to reach the server; not closed here, but where `of` made it.
        place: the backend's name, for messages.
        namespace: sent with everything, or None.
        clock: seconds that only go up.
        look_after: seconds a token whose life nobody told is used before it is looked up.

    Threads: may be used from several threads at once, and after a fork.
    """

    def __init__(
        self,
        login: Login,
        transport: Transport,
        *,
        place: str,
        namespace: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        look_after: float = LOOK_AFTER,
    ) -> None:
        self._transport = transport
        self._owns_transport = False
        self._place = place
        self._wire = _Wire(transport, namespace)
        self._tokens = Tokens(login, self._wire, place=place, clock=clock, look_after=look_after)

    @classmethod
    def of(cls, place: str, access: VaultAccess) -> VaultSession:
        """
        Make the session that *access* says, with a transport of its own.

        Args:
            place: the backend's name, for messages.
            access: where the server is and how to log in; equal ones may share what this gives.

        Raises:
            BackendConfigError: it contradicts itself or says too little.
            SettingsError: a secret of it cannot be fetched.
        """
        from strongroom.vendors.transport import Transport  # noqa: PLC0415 -- who has one needs no second
        from strongroom.vendors.vault_options import login_of, transport_of  # noqa: PLC0415 -- it is above this

        made = cls(
            login_of(place, access),
            Transport(transport_of(place, access)),
            place=place,
            namespace=access.namespace,
        )
        made._owns_transport = True
        return made

    def __repr__(self) -> str:
        return f"VaultSession({self._place!r})"

    @property
    def transport(self) -> Transport:
        """What reaches the server: its circuit, its certificate."""
        return self._transport

    @property
    def replaces_tokens(self) -> bool:
        """Whether a token that ends is followed by another without anybody's help."""
        return self._tokens.follow_one_another

    # --- asking ---

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        headers: Mapping[str, str] = _NONE,
        is_repeatable: bool = True,
    ) -> Reply:
        """
        Ask once, with the token, and give the answer; status 403 means that the token lives and may not.

        Args:
            method: capital letters.
            path: as of `Transport.request`.
            body: sent as JSON; what is secret stands in it as Secret.
            headers: beside those of the session.
            is_repeatable: False when asking twice is not the same as asking once.

        Raises:
            NotAuthenticatedError, BackendConfigError: there is no token, and why.
            AccessDeniedError: something before the server refuses.
            BackendUnavailableError, RateLimitedError: no answer, or one that says nothing of the question.
        """
        send = partial(self._asked, method, path, body=body, headers=headers, is_repeatable=is_repeatable)
        held = self._tokens.current()
        reply = send(held)
        for _ in range(_TOKENS):
            if reply.status != _DENIED:
                return reply
            refused = held
            held = self._tokens.instead_of(refused)
            if held.grant.token == refused.grant.token:  # it lives, and may not
                return reply
            reply = send(held)
        if reply.status == _DENIED:
            raise NotAuthenticatedError(
                f"the tokens of the backend {self._place} die before they can be used",
                hint="look in the server's audit log for who revokes them",
            )
        return reply

    def _asked(
        self,
        method: str,
        path: str,
        held: Held,
        *,
        body: Mapping[str, object] | None,
        headers: Mapping[str, str],
        is_repeatable: bool,
    ) -> Reply:
        reply = self._wire(
            method, path, body=body, token=held.grant.token, headers=headers, is_repeatable=is_repeatable
        )
        check_answered(reply, self._place)
        if reply.status != _DENIED:
            self._tokens.worked(held)
        return reply

    def look(self) -> TokenFacts | None:
        """
        Ask what our token may and how long it lives; None when it may not know.

        Raises:
            As `request`.
        """
        reply = self.request("GET", LOOKUP)
        return facts_of(reply, self._place) if reply.status == _OK else None

    def standing(self) -> tuple[Secret[str], float | None] | None:
        """
        Give the token in use and how many seconds it is known to live on, without asking anybody.

        None for the seconds where nobody said, or where it never ends; None when there is no token.
        """
        return self._tokens.standing()

    def close(self) -> None:
        """End the thread that renews. Safe to call twice."""
        self._tokens.close()
        if self._owns_transport:
            self._transport.close()


class _Wire:
    """Ask with a token or with none: `Ask`, over a transport. Tokens hold this, and no session."""

    def __init__(self, transport: Transport, namespace: str | None) -> None:
        self._transport = transport
        # Agents and proxies of a careful operator refuse what does not say that it means them.
        self._headers: dict[str, str | Secret[str]] = {"x-vault-request": "true"}
        if namespace:
            self._headers["x-vault-namespace"] = namespace

    def __call__(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        token: Secret[str] | None = None,
        headers: Mapping[str, str] = _NONE,
        is_repeatable: bool = True,
    ) -> Reply:
        every = self._headers if token is None else {**self._headers, "x-vault-token": token, **headers}
        data = None if body is None else Secret(json.dumps(body, default=Secret.reveal).encode())
        return self._transport.request(method, path, headers=every, body=data, is_repeatable=is_repeatable)
