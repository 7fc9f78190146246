"""
A credential of Azure's that follows a connection: whatever takes a `TokenCredential` takes this one.

Not for how a token is got: that is `vendors/azure.py`, for backends and live clients alike, over our own
transport. Nor for what its fields mean (`azure_fields.py`).

Rules of this file:

1. What the connection says now decides; a login of what it said before is let go when its last caller ends.
   One login serves all clients of a connection in this process.
2. A refusal reads the connection anew once, and is tried once more if it says something else.
3. Half a service principal is an error and never the machine's identity instead.
4. No error holds a word of Entra ID: of what it says only the number.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary, finalize

from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.live.azure_fields import OPTIONS, Access, access_of
from strongroom.live.families import loaded
from strongroom.live.reaching import cause_of
from strongroom.live.trouble import trouble
from strongroom.live.unframed import unframed
from strongroom.vendors.azure import AzureSession
from strongroom.vendors.azure_login import Identity, OneLogin

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, AccessTokenInfo, TokenRequestOptions

    from strongroom.live.around import Asked
    from strongroom.live.held import Held, Known

__all__ = ["FollowedAsyncCredential", "FollowedCredential"]

_NUMBER = re.compile(r"AADSTS[0-9]{4,9}")
_HINTS = {
    "client_secret": "put a valid secret of the application (its value, not its id) into the connection",
    "certificate": "register the certificate with the application in Entra ID, or renew it",
    "workload_identity": "add a federated credential for this service account to the application, "
    "and see to AZURE_FEDERATED_TOKEN_FILE",
    "developer": "type az login",
    "managed_identity": "assign the identity to this machine, or check managed_identity_client_id",
}
_UNKNOWN = "check tenant, client id and cloud_environment, and the service that the token is for"
_DEVELOPERS = ("dev", "azureclicredential")  # as azure-identity reads AZURE_TOKEN_CREDENTIALS
_PEM = (
    "it is PEM with the certificate and its RSA key, or the path of such a file; see to certificate_password"
)
_HALF = (
    "fill in the tenant, login (the client's id) and password (its secret) or certificate; or none, and "
    "the machine's identity is used"
)
_NO_MACHINE = "give this machine or pod an identity, or fill in a service principal"


class _Session(Protocol):
    """What logs in: an `AzureSession`, or `_Developer`."""

    @property
    def way(self) -> str: ...

    @property
    def login(self) -> OneLogin: ...


class _Developer:
    """Whoever has typed `az login` on this machine; asked where the environment says so, and never else."""

    way = "developer"

    def __init__(self, place: str) -> None:
        self._place = place
        self._logins: dict[int, OneLogin] = {}  # by process id: its locks do not survive a fork

    @property
    def login(self) -> OneLogin:
        return self._logins.setdefault(os.getpid(), OneLogin(self._place, self._identity))

    def _identity(self, again: bool) -> Identity | None:  # noqa: FBT001 -- one switch of `OneLogin`
        import azure.identity as sdk  # noqa: PLC0415 -- an extra, loaded when used

        return None if again else sdk.AzureCliCredential()


class _Made(NamedTuple):
    """The login of one content of the connection."""

    known: Known
    session: _Session


# By connection, for as long as it is held: what one client has got serves the next.
_shared: WeakKeyDictionary[Held, dict[tuple[int, str, int], _Made]] = WeakKeyDictionary()


class FollowedCredential:
    """
    An `azure.core.credentials.TokenCredential` of what a connection says, whenever it is asked.

    Args:
        held: the connection.
        asked: with the options `authority` and `connection_verify`, as azure-identity takes them.

    Threads: may be used from several threads at once, and after a fork.

    Raises:
        BackendConfigError: azure-identity is missing, the connection says half a way to log in, or an option
            is none.
    """

    def __init__(self, held: Held, asked: Asked) -> None:
        self._held = held
        self._environ = asked.around.environ
        self._options = {} if asked.service else dict(asked.options)
        for option in self._options:
            if option not in OPTIONS:
                hint = f"options of credentials are {' and '.join(OPTIONS)}"
                raise trouble("options", "unknown", name=held.name, detail=option, hint=hint)
        self._made: _Made | None = None
        self._is_closed = False
        self._of(held.known)
        self._ended = held.lasts(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._held.name!r})"

    def get_token_info(self, *scopes: str, options: TokenRequestOptions | None = None) -> AccessTokenInfo:
        """
        Give a token for *scopes*: the one that is kept, while it lasts.

        Raises:
            AccessDeniedError: Entra ID refuses, also with what the connection says by now.
            BackendConfigError: there is no such tenant or client, or this machine has no identity.
            BackendUnavailableError: no answer now.
        """
        known = self._held.known
        try:
            return self._token(known, scopes, options)
        except (AccessDeniedError, BackendConfigError) as error:
            refusal: StrongroomError = error
        newer = self._held.refreshed(known)
        if newer is None:
            raise refusal
        return self._token(newer, scopes, options)

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        **more: Any,  # noqa: ANN401 -- azure-core's
    ) -> AccessToken:
        """As `get_token_info`, for libraries that know no better."""
        from azure.core.credentials import AccessToken  # noqa: PLC0415 -- an extra, loaded when used

        del tenant_id, more  # the connection says the tenant
        found = self.get_token_info(*scopes, options={"claims": claims} if claims else None)
        return AccessToken(found.token, found.expires_on)

    def forget(self) -> bool:
        """
        Drop the tokens of now, since a service refuses one; False where they are too young to.

        Raises:
            BackendConfigError: as when it was made.
        """
        return self._of(self._held.known).session.login.forget()

    def close(self) -> None:
        """End the following and give no more tokens. Safe to call twice."""
        self._ended()
        self._is_closed = True

    def __enter__(self) -> FollowedCredential:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    # --- one login ---------------------------------------------------------------------------------------

    def _token(
        self, known: Known, scopes: tuple[str, ...], options: TokenRequestOptions | None
    ) -> AccessTokenInfo:
        if self._is_closed:
            raise trouble("token", "unavailable", name=self._held.name, hint="this credential is closed")
        made = self._of(known)
        found: StrongroomError
        claims = (options or {}).get("claims")
        try:
            # Without `tenant_id`: a service of another tenant is not what the connection logs in to.
            return made.session.login.get_token_info(
                *scopes, options={"claims": claims, "enable_cae": True} if claims else None
            )
        except StrongroomError as error:
            # One with a step is of a file that the connection names, which is no more what it was.
            found = error if hasattr(error, "step") else self._told(error, made.session.way)
        found.__context__ = None
        raise found.with_traceback(None)

    def _told(self, error: StrongroomError, way: str) -> StrongroomError:
        name = self._held.name
        if way in ("developer", "managed_identity"):
            is_missing = way == "developer" or isinstance(error, NotAuthenticatedError)
            hint = _HINTS[way] if is_missing else _NO_MACHINE
            return trouble("token", "missing" if is_missing else "unavailable", name=name, hint=hint)
        number = _NUMBER.search(str(error))
        detail = number[0] if number else ""
        if isinstance(error, NotAuthenticatedError):
            return trouble("token", "credentials", name=name, detail=detail, hint=_HINTS[way])
        if not isinstance(error, BackendConfigError):
            return trouble(*(cause_of(error) or ("token", "unavailable")), name=name)
        if number:
            return trouble("token", "unknown", name=name, detail=detail, hint=_UNKNOWN)
        if way == "certificate":
            return trouble("options", "malformed", name=name, detail=way, hint=_PEM)
        return trouble("token", "malformed", name=name, hint="correct cloud_environment or authority")

    def _of(self, known: Known) -> _Made:
        made = self._made
        if made is not None and made.known.number == known.number:
            return made
        shelf = _shared.setdefault(self._held, {})
        mark = (known.number, repr(sorted(self._options.items(), key=str)), id(self._environ))
        # `setdefault` is atomic: of two threads that make the same one, both get the first.
        made = self._made = shelf.get(mark) or shelf.setdefault(mark, self._make(known))
        for old in [one for one in list(shelf) if one[0] < known.number]:
            shelf.pop(old, None)
        return made

    def _unmade(self, error: BackendConfigError) -> StrongroomError:
        name = self._held.name
        if (error.hint or "").startswith("pip install"):
            return trouble("driver", "missing", name=name, detail="azure-identity", hint=error.hint)
        if ".authority" in str(error):  # the connection's own was looked at before
            hint = "write the host of Entra ID alone"
            return trouble("options", "malformed", name=name, detail="AZURE_AUTHORITY_HOST", hint=hint)
        return trouble("options", "missing", name=name, detail="what to log in with", hint=_HALF)

    @unframed
    def _read(self, known: Known) -> Access:
        return access_of(self._held.name, known.connection, self._options)

    def _make(self, known: Known) -> _Made:
        name = self._held.name
        access = self._read(known)
        if (
            access.client_id is None
            and self._environ.get("AZURE_TOKEN_CREDENTIALS", "").lower() in _DEVELOPERS
        ):
            loaded("azure.identity", self._held, extra="azure")
            return _Made(known, _Developer(name))
        try:
            session = AzureSession(access, place=name, environ=self._environ)
        except BackendConfigError as error:
            found = self._unmade(error)
        else:
            # Whoever asks with it goes on; the last one lets go of its connections.
            finalize(session, session.origins.close)
            return _Made(known, session)
        raise found


class FollowedAsyncCredential:
    """
    An `azure.core.credentials_async.AsyncTokenCredential`, which asks on a thread and never holds the loop.

    Args:
        credential: does it.
    """

    def __init__(self, credential: FollowedCredential) -> None:
        self._credential = credential

    def __repr__(self) -> str:
        return f"FollowedAsync{repr(self._credential).removeprefix('Followed')}"

    async def get_token_info(
        self, *scopes: str, options: TokenRequestOptions | None = None
    ) -> AccessTokenInfo:
        """As `FollowedCredential.get_token_info`."""
        from asyncio import to_thread  # noqa: PLC0415 -- who calls this has it loaded

        return await to_thread(self._credential.get_token_info, *scopes, options=options)

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # noqa: ANN401 -- azure-core's
        """As `FollowedCredential.get_token`."""
        from asyncio import to_thread  # noqa: PLC0415 -- as above

        return await to_thread(self._credential.get_token, *scopes, **options)

    async def close(self) -> None:
        """As `FollowedCredential.close`."""
        self._credential.close()

    async def __aenter__(self) -> FollowedAsyncCredential:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()
