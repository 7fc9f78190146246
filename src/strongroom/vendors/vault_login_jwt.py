"""
Logins of Vault or OpenBao with a signed token of a workload: of Kubernetes, or of any issuer it trusts.

Such tokens live for minutes, and whoever makes them replaces them: each login takes what is there by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.vendors.vault_login import Credential, Posted, TokenText, checked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from strongroom.model.secret import Secret
    from strongroom.vendors.vault_login import Ask

__all__ = ["SERVICE_ACCOUNT_TOKEN", "Jwt", "JwtFile"]

SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 -- where, not what
"""Where Kubernetes puts the token of a pod's service account."""


class Jwt(Posted):
    """
    A signed token that is fetched for each login.

    Args:
        place: the backend's name, for messages.
        method: how messages call this way.
        mount: where it is mounted, without `auth/`.
        role: which role; None where the server has a default one.
        jwt: gives the token.

    Raises:
        SettingsError: it cannot be fetched.
    """

    def __init__(
        self, place: str, *, method: str, mount: str, role: str | None, jwt: Callable[[], Secret[str]]
    ) -> None:
        super().__init__(place, method=method, mount=mount)
        self.remedy = f"check backend.{place}.jwt_token (it may have expired), jwt_role and auth_mount_point"
        self._role = role
        self._jwt = Credential(jwt)
        self._is_first = True

    def _body(self, ask: Ask) -> Mapping[str, object]:
        del ask
        if not self._is_first:
            self._jwt.fetch_again()
        self._is_first = False
        return _spelled(self._role, checked(self._jwt.value, self._place, "jwt_token"))


class JwtFile(Posted):
    """
    A signed token in a file that somebody else replaces, as Kubernetes does.

    Args:
        place: the backend's name, for messages.
        method: how messages call this way.
        mount: where it is mounted, without `auth/`.
        role: which role; None where the server has a default one.
        path: of the file.
        setting: which names it.
    """

    def __init__(
        self, place: str, *, method: str, mount: str, role: str | None, path: Path, setting: str
    ) -> None:
        super().__init__(place, method=method, mount=mount)
        whose = setting.partition("_")[0]
        self.remedy = (
            f"check that backend.{place}.{setting} holds a token that is valid now, {whose}_role, "
            "auth_mount_point, and the audience, subject and claims that the role binds"
        )
        self._role = role
        self._file = TokenText(place, setting, path, remedy=self.remedy)

    def _body(self, ask: Ask) -> Mapping[str, object]:
        del ask
        return _spelled(self._role, self._file.read())

    def _has_another(self) -> bool:
        return self._file.is_changed()


def _spelled(role: str | None, jwt: Secret[str]) -> Mapping[str, object]:
    return {"jwt": jwt} | ({} if role is None else {"role": role})
