"""Begin and end a session at a server, and learn who one is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, urlencode

from strongroom.caller import Client, Credential, spelled
from strongroom.errors import InvalidInputError, NotAuthenticatedError, StrongroomError
from strongroom.model.secret import Secret
from strongroom.wire.access import CodeLogin, LoggedOut, Login, LoginWays, SessionGiven, WhoAmI

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.caller import ServerAddress

__all__ = [
    "Begun",
    "Ended",
    "begin",
    "begin_with_code",
    "begin_with_token",
    "browser_address",
    "end",
    "ways",
    "whoami",
]


class Begun(NamedTuple):
    """
    What a login gave.

    Args:
        token: for every request from now on.
        is_session: it is a session's, and ends by itself or by `end`.
    """

    actor: str
    token: Secret[str]
    expires_at: datetime | None
    is_session: bool


class Ended(NamedTuple):
    """
    How a session ended.

    Args:
        trouble: why the server could not end it; here it is forgotten all the same.
        provider_logout: where a browser ends it at the identity provider, too.
    """

    trouble: StrongroomError | None = None
    provider_logout: str | None = None


def ways(address: ServerAddress) -> LoginWays:
    """
    Tell how people log in at a server.

    Raises:
        As `Client.get`.
    """
    client = Client(address)
    try:
        return client.get("/login/ways", LoginWays)
    finally:
        client.close()


def browser_address(address: ServerAddress, challenge: str, *, port: int | None, again: bool) -> str:
    """
    Give where a browser logs in for this program.

    Args:
        address: of the server.
        challenge: of `model.pairing`.
        port: where the program waits for that browser; None for a code that a person brings.
        again: prove anew who it is.
    """
    place = "" if address.deployment is None else f"/d/{quote(address.deployment)}"
    said = {"challenge": challenge, "port": port, "again": "true" if again else None}
    query = urlencode({name: value for name, value in said.items() if value is not None})
    return f"{address.url.rstrip('/')}{place}/v1/login/oidc?{query}"


def begin(
    address: ServerAddress, name: str, password: Secret[str], *, instead: Credential | None = None
) -> Begun:
    """
    Log in with a person's name and password.

    Args:
        address: of the server.
        name: in any spelling of it.
        password: as it was typed.
        instead: of the session that this one takes the place of.

    Raises:
        NotAuthenticatedError: the two do not go together, or too many were tried.
        As `Client.get`.
    """
    return _given(address, "/login", spelled(Login(name=name, password=password.reveal())), instead)


def begin_with_code(
    address: ServerAddress, code: Secret[str], *, verifier: str = "", instead: Credential | None = None
) -> Begun:
    """
    Log in with the single-use code of a login link, or of a login by way of a browser.

    Args:
        address: of the server.
        code: as it was given.
        verifier: what the challenge of that login was made of; "" for a link.
        instead: as of `begin`.

    Raises:
        As `begin`.
    """
    said = CodeLogin(code=code.reveal().strip(), verifier=verifier)
    return _given(address, "/login/code", spelled(said), instead)


def _given(address: ServerAddress, path: str, body: Secret[bytes], instead: Credential | None) -> Begun:
    client = Client(address, instead)
    try:
        given = client.post(path, SessionGiven, body)
    finally:
        client.close()
    if not given.token:
        raise NotAuthenticatedError("the server gave no token for the session")
    return Begun(given.actor, Secret(given.token), given.expires_at, is_session=True)


def begin_with_token(address: ServerAddress, token: Secret[str]) -> Begun:
    """
    Find out whose *token* is; nothing is begun.

    Raises:
        NotAuthenticatedError: the server does not take it.
        As `Client.get`.
    """
    seen = whoami(address, token)
    return Begun(seen.actor, token, seen.expires_at, is_session=seen.how == "session")


def whoami(address: ServerAddress, token: Secret[str]) -> WhoAmI:
    """
    Tell who the server takes *token* to be of.

    Raises:
        As `begin_with_token`.
    """
    client = Client(address, Credential(token, setting="this login"))
    try:
        return client.get("/whoami", WhoAmI)
    finally:
        client.close()


def end(address: ServerAddress, credential: Credential) -> Ended:
    """Have the server end the session."""
    client = Client(address, credential)
    try:
        told = client.change("POST", "/logout", LoggedOut)
    except NotAuthenticatedError:
        return Ended()  # it had ended already
    except InvalidInputError:
        return Ended()
    except StrongroomError as error:
        return Ended(error)
    finally:
        client.close()
    return Ended(None, None if told is None else told.provider_logout)
