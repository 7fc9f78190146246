"""
Which server, and as whom: from the environment and from profiles, which `strongroom login` writes.

    <user's configuration folder>/strongroom/profiles/NAME.json     the server: url, deployment, authorities
    <user's configuration folder>/strongroom/profiles/NAME.token    what the server knows us by

Rules of this file:

1. Both files are 0600 in a folder 0700, written whole or not at all; one that others may read is refused.
2. A token goes to the server it was given by: where the environment names another, the profile is refused.
3. Nothing here prints a token, and no error holds a url: one could have been pasted with a password in it.
"""

from __future__ import annotations

import os
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from strongroom.caller import Credential, ServerAddress
from strongroom.errors import InvalidInputError, NotFoundError, SettingsError
from strongroom.model.ref import check_deployment
from strongroom.model.secret import Secret
from strongroom.settings.source import SecretSource, reason, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULT", "Profile", "Profiles", "whereabouts"]

DEFAULT = "default"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_YES = ("1", "true", "yes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """
    One server, as `strongroom login` found it.

    Args:
        url: of the server.
        deployment: None for its first.
        ca: a PEM file of authorities in place of the system's.
        allows_plain_http: as of `ServerAddress`.
        actor: who logged in, as the server calls him.
        expires_at: when the token ends; None for never, or where it is not known.
        is_session: the token is a session's, which `logout` ends at the server too.
        by_browser: it was begun with the identity provider, and is proven anew there.
    """

    url: str
    deployment: str | None = None
    ca: str | None = None
    allows_plain_http: bool = False
    actor: str = ""
    expires_at: datetime | None = None
    is_session: bool = False
    by_browser: bool = False

    def address(self, name: str) -> ServerAddress:
        """Give where the server is; *name* is how the profile is called."""
        return ServerAddress(
            url=self.url,
            deployment=self.deployment,
            ca=None if self.ca is None else Path(self.ca),
            allows_plain_http=self.allows_plain_http,
            setting=f"the profile {name}",
        )


class Profiles:
    """
    The profiles of one user.

    Args:
        environ: says where they are: `STRONGROOM_HOME`, or the user's configuration folder.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._folder = _folder(environ)

    def find(self, name: str) -> Profile | None:
        """
        Give the profile *name*, or None.

        Raises:
            SettingsError: it cannot be read, may be read by others, or is none.
        """
        path = self._path(name, "json")
        if not path.exists():
            return None
        key = f"the profile {name}"
        text = resolve(SecretSource(kind="file", argument=(str(path),), key=key), environ={})
        try:
            return msgspec.json.decode(text.reveal(), type=Profile)
        except msgspec.MsgspecError:
            pass
        raise SettingsError(
            f"{key} is none that can be read", key=key, hint=f"strongroom login --profile {name}"
        )

    def get(self, name: str) -> Profile:
        """
        Give the profile *name*.

        Raises:
            SettingsError: there is none, or as `find`.
        """
        found = self.find(name)
        if found is None:
            raise SettingsError(
                f"there is no profile {name}",
                key="STRONGROOM_PROFILE",
                hint=f"strongroom login URL --profile {name}",
            )
        return found

    def of(self, url: str, deployment: str | None) -> str | None:
        """Give the name of a profile of exactly this server and deployment; the default one goes first."""
        for name in self.names():
            with suppress(SettingsError):
                found = self.find(name)
                if found is not None and (_same(found.url), found.deployment) == (_same(url), deployment):
                    return name
        return None

    def names(self) -> list[str]:
        """Give the names there are, the default one first."""
        try:
            found = [path.stem for path in self._folder.glob("*.json") if _NAME.fullmatch(path.stem)]
        except OSError:
            return []
        return sorted(found, key=lambda name: (name != DEFAULT, name))

    def token_file(self, name: str) -> Path:
        """Give where the token of the profile *name* stands."""
        return self._path(name, "token")

    def keep(self, name: str, profile: Profile, token: Secret[str]) -> None:
        """
        Write a profile and its token, over what was there.

        Raises:
            SettingsError: they cannot be written.
        """
        path, token_path = self._path(name, "json"), self._path(name, "token")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # The token first: a profile never stands beside the token of another server.
            with suppress(FileNotFoundError):
                path.unlink()
            _write(token_path, token.reveal().encode() + b"\n")
            _write(path, msgspec.json.format(msgspec.json.encode(profile), indent=2) + b"\n")
        except OSError as error:
            why = reason(error)
        else:
            return
        raise SettingsError(
            f"the profile {name} cannot be written ({why})",
            key="STRONGROOM_PROFILE",
            hint=f"look at {self._folder}",
        )

    def forget(self, name: str) -> None:
        """
        Take a profile away with its token.

        Raises:
            NotFoundError: there is none.
        """
        was_there = False
        for ending in ("token", "json"):
            with suppress(FileNotFoundError):
                self._path(name, ending).unlink()
                was_there = True
        if not was_there:
            raise NotFoundError(f"there is no profile {name}", hint="strongroom login")

    def _path(self, name: str, ending: str) -> Path:
        if _NAME.fullmatch(name) is None:
            raise InvalidInputError(
                "this is no name of a profile", hint="1 to 64 of a-z, 0-9, - and _, as in prod"
            )
        return self._folder / f"{name}.{ending}"


def _folder(environ: Mapping[str, str]) -> Path:
    named = environ.get("STRONGROOM_HOME")
    if named:
        return Path(named).absolute() / "profiles"
    base = environ.get("XDG_CONFIG_HOME", "")
    if not base.startswith("/"):
        home = environ.get("HOME")
        if not home:
            raise SettingsError(
                "there is no HOME to keep profiles in", key="HOME", hint="set STRONGROOM_HOME"
            )
        base = str(Path(home) / ".config")
    return Path(base) / "strongroom" / "profiles"


def _write(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink()


def _same(url: str) -> str:
    return url.rstrip("/").lower()


# --- from the environment --------------------------------------------------------------------------------


def whereabouts(
    environ: Mapping[str, str], *, deployment: str | None = None
) -> tuple[ServerAddress, Credential]:
    """
    Give the server that *environ* names, and where the token for it comes from.

    `STRONGROOM_TOKEN` goes before `STRONGROOM_TOKEN_FILE`, that before a profile's. The profile is the one
    of `STRONGROOM_PROFILE`; without it, with `STRONGROOM_URL` and without a token, one of the same server.

    Args:
        environ: the environment.
        deployment: which of the server's deployments; `STRONGROOM_DEPLOYMENT`, then the profile's if unsaid.

    Raises:
        SettingsError: the profile is not there, or is of another server than the url.
        InvalidInputError: the deployment cannot be the name of one.
    """
    url, name = environ.get("STRONGROOM_URL"), environ.get("STRONGROOM_PROFILE")
    wanted = deployment or environ.get("STRONGROOM_DEPLOYMENT") or None
    if wanted is not None:
        check_deployment(wanted)
    has_token = bool(environ.get("STRONGROOM_TOKEN") or environ.get("STRONGROOM_TOKEN_FILE"))
    if url and not name and not has_token:
        name = _profile_of(environ, url, wanted)
    profile = Profiles(environ).get(name) if name else None
    if profile is not None and name:
        if url and _same(url) != _same(profile.url):
            raise SettingsError(
                f"STRONGROOM_URL names another server than the profile {name}",
                key="STRONGROOM_URL",
                hint="unset one of STRONGROOM_URL and STRONGROOM_PROFILE",
            )
        address = profile.address(name)
    else:
        address = ServerAddress(url=url or "")
    address = address._replace(deployment=wanted or address.deployment)
    if environ.get("STRONGROOM_CA"):
        address = address._replace(ca=Path(environ["STRONGROOM_CA"]).absolute())
    if environ.get("STRONGROOM_ALLOW_PLAIN_HTTP", "").lower() in _YES:
        address = address._replace(allows_plain_http=True)
    return address, _credential(environ, name if profile is not None else None)


def _profile_of(environ: Mapping[str, str], url: str, deployment: str | None) -> str | None:
    try:
        return Profiles(environ).of(url, deployment)
    except SettingsError:
        return None  # no home, no profiles


def _credential(environ: Mapping[str, str], profile: str | None) -> Credential:
    if environ.get("STRONGROOM_TOKEN"):
        remedy = "set STRONGROOM_TOKEN to one that is good; strongroom access tokens issue makes them"
        return Credential(Secret(environ["STRONGROOM_TOKEN"]), setting="STRONGROOM_TOKEN", remedy=remedy)
    if environ.get("STRONGROOM_TOKEN_FILE"):
        remedy = "put one that is good into the file of STRONGROOM_TOKEN_FILE"
        file = Path(environ["STRONGROOM_TOKEN_FILE"]).absolute()
        return Credential(file=file, setting="STRONGROOM_TOKEN_FILE", remedy=remedy)
    if profile is not None:
        remedy = f"strongroom login --profile {profile}"
        file = Profiles(environ).token_file(profile)
        return Credential(file=file, setting=f"the profile {profile}", remedy=remedy)
    return Credential(remedy="set STRONGROOM_TOKEN or STRONGROOM_TOKEN_FILE, or: strongroom login")
