"""
How a token of Vault or OpenBao is got: what every way has in common, and a token that is there already.

Not for when a token is got, kept and renewed (`vault.py`), nor for which way the settings mean
(`vault_login_method.py`). The ways with a question: `vault_login_approle.py`, `vault_login_password.py`,
`vault_login_jwt.py`, `vault_login_aws.py`, `vault_login_google.py`, `vault_login_azure.py`.

Rules of these files:

1. No message holds a token, a password, a secret_id, a role or a word of the server: its words are only
   compared.
2. A refused credential is fetched from its source once more: it may have been replaced.
3. What is good for one login is sent once: a login whose answer was lost is not repeated by itself.

Source: the HTTP API of OpenBao 2.7 (auth/…, sys/wrapping), run against it; of the methods it does not have,
that of HashiCorp's Vault 1.20.
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
    StrongroomError,
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
    "Ask",
    "Credential",
    "Grant",
    "Login",
    "Posted",
    "StaticToken",
    "TokenFile",
    "TokenText",
    "checked",
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
            BackendConfigError: there is nothing to log in to, or with.
            BackendUnavailableError, RateLimitedError: no answer now.
        """

    def is_outdated(self) -> bool:
        """Tell, without asking the server, whether there is another token than the last one granted."""
        return False

    def close(self) -> None:  # noqa: B027 -- optional: most ways hold nothing to close
        """Let go of connections to whoever else is asked. Safe to call twice."""


class Posted(Login):
    """
    A login that is one question to the server: a subclass says what is in it.

    Args:
        place: the backend's name, for messages.
        method: how messages call this way.
        mount: where it is mounted, without `auth/`.
    """

    def __init__(self, place: str, *, method: str, mount: str) -> None:
        self._place = place
        self._method = method
        self._mount = mount

    def grant(self, ask: Ask) -> Grant:
        try:
            return self._grant(ask)
        except StrongroomError as caught:
            error = caught
        # Raised anew, outside `except`: the frames it came through hold what we log in with.
        error.__context__ = None
        raise error.with_traceback(None)

    def _grant(self, ask: Ask) -> Grant:
        reply = self._log_in(ask)
        if reply.status in _REFUSED and self._has_another():
            reply = self._log_in(ask)
        if reply.status != _OK:
            raise self._refused(reply)
        return granted(reply, self._place)

    @abstractmethod
    def _body(self, ask: Ask) -> Mapping[str, object]:
        """
        Give what is sent; secrets in it as Secret.

        Raises:
            As `grant`.
        """

    def _path(self) -> str:
        """Give what stands after the mount, escaped."""
        return "login"

    def _has_another(self) -> bool:
        """Fetch the credential again and tell whether it is another one by now."""
        return False

    def _log_in(self, ask: Ask) -> Reply:
        path = f"/v1/auth/{quote(self._mount)}/{self._path()}"
        # A credential may be good for one login: one whose answer was lost must not be spent twice.
        reply = ask("POST", path, body=self._body(ask), is_repeatable=False)
        check_answered(reply, self._place)
        return reply

    def _refused(self, reply: Reply) -> NotAuthenticatedError | BackendConfigError:
        words = complaints(reply)
        if "namespace not found" in words:
            return no_namespace(self._place)
        if "no handler for route" in words:
            return BackendConfigError(
                f"the backend {self._place} has no {self._method} at auth/{self._mount}",
                hint=f"set backend.{self._place}.auth_mount_point to where it is mounted",
            )
        if "could not load configuration" in words:
            return BackendConfigError(
                f"the backend {self._place} has {self._method} at auth/{self._mount}, not configured yet",
                hint=f"write auth/{self._mount}/config on the server, or set auth_mount_point",
            )
        return NotAuthenticatedError(
            f"{self._method} refused the login of the backend {self._place}", hint=self.remedy
        )


def granted(reply: Reply, place: str) -> Grant:
    """
    Give the grant that the answer to a login or a renewal holds.

    Raises:
        NotAuthenticatedError: the server wants a second factor.
        BackendUnavailableError: it holds none.
    """
    auth = member(opened(reply, place), dict, "auth")
    if member(auth, dict, "mfa_requirement") is not None:
        raise NotAuthenticatedError(
            f"the server asks the login of the backend {place} for a second factor",
            hint="log in as somebody of whom none is asked: an AppRole, a workload's own identity",
        )
    token, seconds = member(auth, str, "client_token"), member(auth, int, "lease_duration")
    if not token or seconds is None:
        raise BackendUnavailableError(f"the backend {place} answered a login with no token", backend=place)
    return Grant(Secret(token), lifetime(seconds), member(auth, bool, "renewable") or False)


class Credential:
    """
    A secret and where it comes from.

    Raises:
        SettingsError: it cannot be fetched.
    """

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


class TokenText:
    """
    A token in a file that somebody else keeps up to date.

    Args:
        place: the backend's name, for messages.
        setting: which names the file.
        path: of the file.
        remedy: what to do where it holds none that is valid.
    """

    def __init__(self, place: str, setting: str, path: Path, *, remedy: str) -> None:
        self.remedy = remedy
        self._place = place
        self._setting = setting
        self._path = path
        self._signature: tuple[int, ...] | None = None

    def is_changed(self) -> bool:
        """Tell whether the file is another one than at the last reading."""
        try:
            found = os.stat(self._path)  # noqa: PTH116 -- half the time of a Path's, on every read
        except OSError:
            return False  # between two tokens: the old one serves until it is refused
        return _signature(found) != self._signature

    def read(self) -> Secret[str]:
        """
        Give what it holds now, without blanks around it.

        Raises:
            NotAuthenticatedError: it cannot be read, is closed too little, or holds what no token can.
        """
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            with os.fdopen(file, "rb") as opened:
                found = os.fstat(file)
                self._check(found)
                data = opened.read(_MAX_TOKEN_BYTES + 1)
        except OSError as error:
            raise self._refused(f"cannot be read ({type(error).__name__})") from None
        self._signature = _signature(found)
        return checked(Secret(data.decode("ascii", "replace").strip()), self._place, self._setting)

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


def checked(token: Secret[str], place: str, setting: str) -> Secret[str]:
    """
    Give *token*, if it can be one.

    Raises:
        NotAuthenticatedError: it is empty, or holds what no token can.
    """
    if not _TOKEN.fullmatch(token.reveal()):
        raise NotAuthenticatedError(
            f"the token of the backend {place} is empty or holds what no token can",
            hint=f"check backend.{place}.{setting}",
        )
    return token


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
        self._credential = Credential(fetch)
        self._was_granted = False

    def grant(self, ask: Ask) -> Grant:
        del ask
        if self._was_granted:
            self._credential.fetch_again()
        self._was_granted = True
        return Grant(checked(self._credential.value, self._place, "token"))


class TokenFile(Login):
    """
    A token in a file that somebody else replaces, such as the sink of a Vault agent.

    It is read again when the file changed, and when its token is refused; it is never renewed, because
    whoever writes the file does that.

    Args:
        place: the backend's name, for messages.
        path: of the file.
        setting: which names it.
    """

    is_ours = False
    tells_life = False

    def __init__(self, place: str, path: Path, *, setting: str = "token_path") -> None:
        self.remedy = f"write a valid token to the file backend.{place}.{setting}"
        self._file = TokenText(place, setting, path, remedy=self.remedy)

    def is_outdated(self) -> bool:
        return self._file.is_changed()

    def grant(self, ask: Ask) -> Grant:
        del ask
        return Grant(self._file.read())
