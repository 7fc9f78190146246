"""
AppRole: a token of Vault or OpenBao for a role_id and a secret_id, which may come wrapped.

Rules of this file, beside those of `vault_login.py`:

1. A wrapped secret_id is unwrapped once, and only if it was wrapped where AppRole makes them. Trouble
   with it is an alarm: somebody else may have been first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from strongroom.errors import NotAuthenticatedError
from strongroom.model.secret import Secret
from strongroom.vendors.vault_answer import check_answered, member, opened
from strongroom.vendors.vault_login import Credential, Posted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.vendors.vault_login import Ask

__all__ = ["AppRole"]

_OK = 200


class AppRole(Posted):
    """
    A role and, where the role wants one, its secret_id.

    Args:
        place: the backend's name, for messages.
        mount: where AppRole is mounted, without `auth/`.
        role_id: which role.
        secret_id: gives it; None where the role binds no secret_id.
        wrapped: gives a token that wraps it instead.

    Raises:
        SettingsError: what a secret is fetched from cannot be read.
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
        super().__init__(place, method="AppRole", mount=mount)
        self.remedy = (
            f"make a new secret_id for backend.{place}.secret_id (it may have expired or be used up), "
            "and check role_id and auth_mount_point"
        )
        self._role_id = role_id
        self._secret_id = None if secret_id is None else Credential(secret_id)
        self._wrapped = None if wrapped is None else _Wrapped(place, mount, wrapped)

    def _body(self, ask: Ask) -> Mapping[str, object]:
        secret_id = self._current(ask)
        return {"role_id": self._role_id} | ({} if secret_id is None else {"secret_id": secret_id})

    def _current(self, ask: Ask) -> Secret[str] | None:
        if self._wrapped is not None:
            return self._wrapped.secret_id(ask)
        return None if self._secret_id is None else self._secret_id.value

    def _has_another(self) -> bool:
        credential = self._wrapped or self._secret_id
        return credential is not None and credential.fetch_again()


class _Wrapped:
    """A secret_id inside a wrapping token, taken out at most once."""

    def __init__(self, place: str, mount: str, fetch: Callable[[], Secret[str]]) -> None:
        self._place = place
        self._mount = mount
        self._token = Credential(fetch)
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
