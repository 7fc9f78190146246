"""
How a token of Vault or OpenBao is got: given, from a file, or by AppRole.

Not for when a token is got, kept and renewed (`vault.py`).

Rules of this file:

1. No message holds a token, a secret_id, a role_id or a word of the server: its words are only compared.
2. A refused credential is fetched from its source once more: it may have been replaced.
3. A wrapped secret_id is unwrapped once, and only if it was wrapped where AppRole makes them. Trouble
   with it is an alarm: somebody else may have been first.

Source: the HTTP API of OpenBao 2.7 (auth/approle, auth/token, sys/wrapping), run against it.
"""

from __future__ import annotations

import os
import re
import stat
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    SettingsError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.vault_answer import (
    check_answered,
    complaints,
    lifetime,
    member,
    no_namespace,
    opened,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from strongroom.vendors.transport import Reply

__all__ = [
    "AppRole",
    "Ask",
    "Grant",
    "Login",
    "StaticToken",
    "TokenFile",
    "granted",
]

_MAX_TOKEN_BYTES = 65_536  # of a token file; batch tokens have some hundred
# Container runtimes and the agent's injector put files here with modes of their own (0444, 0644).
_CONTAINER_TOKENS = ("/run/secrets/", "/var/run/secrets/", "/vault/secrets/")
_TOKEN = re.compile(r"[!-~]+")  # a header can hold nothing else
_OK = 200
_REFUSED = (400, 401, 403, 404)


class Ask(Protocol):
    """Ask the server something, with *token* or with none; secrets stand in *body* as Secret."""

    def __call__(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        token: Secret[str] | None = None,
        is_repeatable: bool = True,
    ) -> Reply: ...


@dataclass(frozen=True, slots=True)
class Grant:
    """
    A token and what was said of it.

    Args:
        life_seconds: how long it lives from now; None where nobody said, or where it never ends.
        is_renewable: whether `renew-self` may make that longer.
    """

    token: Secret[str]
    life_seconds: float | None = None
    is_renewable: bool = False


class Login(ABC):
    """
    A way to a token.

    Attributes:
        remedy: what to change when the token or the login is refused for good.
        is_ours: True when its tokens are ours alone to renew.
        tells_life: True when a grant says how long the token lives.

    Threads: `grant` is called by one thread at a time.
    """

    remedy: str
    is_ours = True
    tells_life = True

    @abstractmethod
    def grant(self, ask: Ask) -> Grant:
        """
        Get a token; called again, another one if there is any.

        Raises:
            NotAuthenticatedError: what we log in with is refused.
            AccessDeniedError: something before the server refuses.
            BackendConfigError: there is nothing to log in to.
            BackendUnavailableError, RateLimitedError: no answer now.
        """

    def is_outdated(self) -> bool:
        """Tell, without asking the server, whether there is another token than the last one granted."""
        return False


# --- a token that is there ---------------------------------------------------------------------------


class StaticToken(Login):
    """
    A token from the settings.

    Args:
        place: the backend's name, for messages.
        fetch: gives the token; called again only when the one it gave is refused.

    Raises:
        SettingsError: it cannot be fetched.
    """

    tells_life = False

    def __init__(self, place: str, fetch: Callable[[], Secret[str]]) -> None:
        self.remedy = f"make a new token and put it where backend.{place}.token is fetched from"
        self._place = place
        self._credential = _Credential(fetch)
        self._was_granted = False

    def grant(self, ask: Ask) -> Grant:
        del ask
        if self._was_granted:
            self._credential.fetch_again()
        self._was_granted = True
        return Grant(_checked(self._credential.value, self._place, "token"))


class TokenFile(Login):
    """
    A token in a file that somebody else replaces, such as the sink of a Vault agent.

    It is read again when the file changed, and when its token is refused; it is never renewed, because
    whoever writes the file does that.
    """

    is_ours = False
    tells_life = False

    def __init__(self, place: str, path: Path) -> None:
        self.remedy = f"write a valid token to the file backend.{place}.token_path"
        self._place = place
        self._path = path
        self._signature: tuple[int, ...] | None = None

    def is_outdated(self) -> bool:
        try:
            found = os.stat(self._path)  # noqa: PTH116 -- half the time of a Path's, on every read
        except OSError:
            return False  # between two tokens: the old one serves until it is refused
        return _signature(found) != self._signature

    def grant(self, ask: Ask) -> Grant:
        del ask
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(file, "rb") as opened:
                found = os.fstat(file)
                self._check(found)
                data = opened.read(_MAX_TOKEN_BYTES + 1)
        except OSError as error:
            raise self._refused(f"cannot be read ({type(error).__name__})") from None
        self._signature = _signature(found)
        return Grant(_checked(Secret(data.decode("ascii", "replace").strip()), self._place, "token_path"))

    def _check(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise self._refused("is not a regular file")
        if str(self._path).startswith(_CONTAINER_TOKENS):
            return
        # A group may read it: an agent with a user of its own shares its sink so.
        if found.st_mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
            raise self._refused("may be read by everybody or changed by others", hint="chmod 640 it, or 600")

    def _refused(self, why: str, hint: str | None = None) -> NotAuthenticatedError:
        return NotAuthenticatedError(
            f"the token file of the backend {self._place} {why}", hint=hint or self.remedy
        )


def _signature(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _checked(token: Secret[str], place: str, key: str) -> Secret[str]:
    if not _TOKEN.fullmatch(token.reveal()):
        raise NotAuthenticatedError(
            f"the token of the backend {place} is empty or holds what no token can",
            hint=f"check backend.{place}.{key}",
        )
    return token


class _Credential:
    """A secret and where it comes from."""

    def __init__(self, fetch: Callable[[], Secret[str]]) -> None:
        self._fetch = fetch
        self.value = fetch()

    def fetch_again(self) -> bool:
        """Tell whether there is another one by now."""
        before = self.value
        try:
            self.value = self._fetch()
        except SettingsError:
            return False  # its source is gone: what was fetched is all there is
        return self.value != before


# --- AppRole -----------------------------------------------------------------------------------------


class AppRole(Login):
    """
    A role and, where the role wants one, its secret_id.

    Args:
        place: the backend's name, for messages.
        mount: where AppRole is mounted, without `auth/`.
        role_id: which role.
        secret_id: gives it; None where the role binds no secret_id.
        wrapped: gives a token that wraps it instead.
    """

    def __init__(
        self,
        place: str,
        *,
        mount: str,
        role_id: Secret[str],
        secret_id: Callable[[], Secret[str]] | None = None,
        wrapped: Callable[[], Secret[str]] | None = None,
    ) -> None:
        self.remedy = (
            f"make a new secret_id for backend.{place}.secret_id (it may have expired or be used up), "
            "and check role_id and auth_mount_point"
        )
        self._place = place
        self._mount = mount
        self._role_id = role_id
        self._secret_id = None if secret_id is None else _Credential(secret_id)
        self._wrapped = None if wrapped is None else _Wrapped(place, mount, wrapped)

    def grant(self, ask: Ask) -> Grant:
        reply = self._log_in(ask, self._current(ask))
        if reply.status in _REFUSED and self._has_another():
            reply = self._log_in(ask, self._current(ask))
        if reply.status != _OK:
            raise self._refused(reply)
        return granted(reply, self._place)

    def _log_in(self, ask: Ask, secret_id: Secret[str] | None) -> Reply:
        body = {"role_id": self._role_id}
        if secret_id is not None:
            body["secret_id"] = secret_id
        path = f"/v1/auth/{quote(self._mount)}/login"
        # A secret_id may be good for one login: one whose answer was lost must not be spent twice.
        reply = ask("POST", path, body=body, is_repeatable=False)
        check_answered(reply, self._place)
        return reply

    def _current(self, ask: Ask) -> Secret[str] | None:
        if self._wrapped is not None:
            return self._wrapped.secret_id(ask)
        return None if self._secret_id is None else self._secret_id.value

    def _has_another(self) -> bool:
        credential = self._wrapped or self._secret_id
        return credential is not None and credential.fetch_again()

    def _refused(self, reply: Reply) -> NotAuthenticatedError | BackendConfigError:
        words = complaints(reply)
        if "namespace not found" in words:
            return no_namespace(self._place)
        if "no handler for route" in words:
            return BackendConfigError(
                f"the backend {self._place} has no AppRole at auth/{self._mount}",
                hint=f"set backend.{self._place}.auth_mount_point to where it is mounted",
            )
        return NotAuthenticatedError(
            f"AppRole refused the login of the backend {self._place}", hint=self.remedy
        )


class _Wrapped:
    """A secret_id inside a wrapping token, taken out at most once."""

    def __init__(self, place: str, mount: str, fetch: Callable[[], Secret[str]]) -> None:
        self._place = place
        self._mount = mount
        self._token = _Credential(fetch)
        self._taken: Secret[str] | None = None
        self._is_spent = False

    def secret_id(self, ask: Ask) -> Secret[str]:
        if self._taken is None:
            if self._is_spent and not self._token.fetch_again():
                raise self._alarm("was used before and did not give a secret_id that is kept")
            self._check_origin(ask)
            self._is_spent = True
            self._taken = self._unwrap(ask)
        return self._taken

    def fetch_again(self) -> bool:
        """Tell whether there is another wrapping token by now; then its secret_id is the next one."""
        if not self._token.fetch_again():
            return False
        self._taken = None
        self._is_spent = False
        return True

    def _check_origin(self, ask: Ask) -> None:
        reply = ask("POST", "/v1/sys/wrapping/lookup", body={"token": self._token.value})
        check_answered(reply, self._place)
        if reply.status != _OK:
            raise self._alarm("is not valid any more: it was used, has expired, or never was one")
        origin = member(opened(reply, self._place), str, "data", "creation_path")
        # With a namespace, its name may stand before the path.
        made_at = re.compile(rf"(?:.+/)?auth/{re.escape(self._mount)}/role/[^/]+/secret-id")
        if origin is None or not made_at.fullmatch(origin):
            raise self._alarm("was not made by AppRole: it wraps something else")

    def _unwrap(self, ask: Ask) -> Secret[str]:
        reply = ask("POST", "/v1/sys/wrapping/unwrap", body={}, token=self._token.value, is_repeatable=False)
        check_answered(reply, self._place)
        found = opened(reply, self._place) if reply.status == _OK else None
        secret_id = member(found, str, "data", "secret_id")
        if secret_id is None:
            raise self._alarm("was used by somebody else at this moment, or holds no secret_id")
        return Secret(secret_id)

    def _alarm(self, why: str) -> NotAuthenticatedError:
        return NotAuthenticatedError(
            f"the wrapping token of the backend {self._place} {why}",
            hint=f"if no process of yours used it, somebody has your secret_id: destroy it, then put a fresh "
            f"wrapping token where backend.{self._place}.secret_id_wrapped is fetched from",
        )


def granted(reply: Reply, place: str) -> Grant:
    """
    Give the grant that the answer to a login or a renewal holds.

    Raises:
        BackendUnavailableError: it holds none.
    """
    auth = member(opened(reply, place), dict, "auth")
    token, seconds = member(auth, str, "client_token"), member(auth, int, "lease_duration")
    if token is None or seconds is None:
        raise BackendUnavailableError(f"the backend {place} answered a login with no token", backend=place)
    return Grant(Secret(token), lifetime(seconds), member(auth, bool, "renewable") or False)
