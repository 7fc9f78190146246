"""Begin and end a session at a server, and learn who one is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from strongroom.client import Client, Credential, spelled
from strongroom.errors import InvalidInputError, NotAuthenticatedError, StrongroomError
from strongroom.model.secret import Secret
from strongroom.wire.access import CodeLogin, Login, SessionGiven, WhoAmI

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.client import ServerAddress

__all__ = ["Begun", "begin", "begin_with_code", "begin_with_token", "end", "whoami"]


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


def begin(address: ServerAddress, name: str, password: Secret[str]) -> Begun:
    """
    Log in with a person's name and password.

    Raises:
        NotAuthenticatedError: the two do not go together, or too many were tried.
        As `Client.get`.
    """
    return _given(address, "/login", spelled(Login(name=name, password=password.reveal())))


def begin_with_code(address: ServerAddress, code: Secret[str]) -> Begun:
    """
    Log in with the single-use code of a login link.

    Raises:
        As `begin`.
    """
    return _given(address, "/login/code", spelled(CodeLogin(code=code.reveal().strip())))


def _given(address: ServerAddress, path: str, body: Secret[bytes]) -> Begun:
    client = Client(address)
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


def end(address: ServerAddress, credential: Credential) -> StrongroomError | None:
    """Have the server end the session; gives why it could not, since here it is forgotten all the same."""
    client = Client(address, credential)
    try:
        client.change("POST", "/logout", None)
    except NotAuthenticatedError:
        return None  # it had ended already
    except InvalidInputError:
        return None
    except StrongroomError as error:
        return error
    finally:
        client.close()
    return None
