"""
Logins of Vault or OpenBao with what a person has: userpass, ldap, radius, github; and with a certificate.

The directory, the RADIUS server and GitHub are asked by the server, never from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from strongroom.vendors.vault_login import Credential, Posted, TokenText, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from strongroom.model.secret import Secret
    from strongroom.vendors.vault_login import Ask

__all__ = ["Certificate", "GitHub", "Password"]


class Password(Posted):
    """
    A name and its password: of the server's own users (`userpass`), of a directory (`ldap`), of `radius`.

    Args:
        place: the backend's name, for messages.
        method: which of the three.
        mount: where it is mounted, without `auth/`.
        username: as it is known there.
        password: gives it; fetched again when it is refused.

    Raises:
        SettingsError: the password cannot be fetched.
    """

    def __init__(
        self, place: str, *, method: str, mount: str, username: str, password: Callable[[], Secret[str]]
    ) -> None:
        super().__init__(place, method=method, mount=mount)
        self.remedy = f"check backend.{place}.username, password and auth_mount_point"
        self._username = username
        self._password = Credential(password)

    def _path(self) -> str:
        return f"login/{quote(self._username, safe='')}"

    def _body(self, ask: Ask) -> Mapping[str, object]:
        del ask
        return {"password": self._password.value}

    def _has_another(self) -> bool:
        return self._password.fetch_again()


class GitHub(Posted):
    """
    A personal access token of GitHub.

    Args:
        place: the backend's name, for messages.
        mount: where the method is mounted, without `auth/`.
        token: gives it; fetched again when it is refused.
        path: of a file that holds one, in its place; read at each login.

    Raises:
        SettingsError: the token cannot be fetched.
    """

    def __init__(
        self,
        place: str,
        *,
        mount: str,
        token: Callable[[], Secret[str]] | None = None,
        path: Path | None = None,
    ) -> None:
        super().__init__(place, method="github", mount=mount)
        setting = "token" if path is None else "token_path"
        self.remedy = (
            f"make a new token of GitHub for backend.{place}.{setting} (with read:org), "
            "and check auth_mount_point and the organisation the server knows"
        )
        self._token = None if token is None else Credential(token)
        self._file = None if path is None else TokenText(place, setting, path, remedy=self.remedy)

    def _body(self, ask: Ask) -> Mapping[str, object]:
        del ask
        if self._file is not None:
            return {"token": self._file.read()}
        assert self._token is not None  # noqa: S101 -- one of the two is given
        return {"token": checked(self._token.value, self._place, "token")}

    def _has_another(self) -> bool:
        return self._token.fetch_again() if self._token is not None else self._is_file_changed()

    def _is_file_changed(self) -> bool:
        return self._file is not None and self._file.is_changed()


class Certificate(Posted):
    """
    The client certificate that the connection shows.

    Args:
        place: the backend's name, for messages.
        mount: where the method is mounted, without `auth/`.
        role: which of the certificates the server knows; None lets it find one.
    """

    def __init__(self, place: str, *, mount: str, role: str | None = None) -> None:
        super().__init__(place, method="cert", mount=mount)
        self.remedy = (
            f"check backend.{place}.client_cert (its end, and whether a role of auth/{mount} trusts who "
            "signed it), and role_id"
        )
        self._role = role

    def _body(self, ask: Ask) -> Mapping[str, object]:
        del ask
        return {} if self._role is None else {"name": self._role}
