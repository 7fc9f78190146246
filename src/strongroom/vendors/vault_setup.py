"""
What a Vault or OpenBao needs once, so that a backend may log in: a policy, AppRole, and a role of it.

Not for what the policy says (`vault_kv_policy.py`), and not for asking the person whose token this takes.

Rules of this file:

1. Looking changes nothing, and says of each part whether it is there, is missing, or is another one.
2. A part that is there as it should be is left alone, so that all of it may be done again at any time.
3. A role keeps the policies that others gave it; ours is added.

Source: the HTTP API of OpenBao 2.7 (sys/policies/acl, sys/auth, auth/approle), run against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple
from urllib.parse import quote

from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    StrongroomError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.vault_answer import complaints, member, misshapen, no_namespace, opened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.vendors.transport import Reply
    from strongroom.vendors.vault import VaultSession

__all__ = ["RoleIds", "SetupPart", "VaultSetup", "VaultWish"]

State = Literal["missing", "other", "there"]
_OK, _DONE, _REFUSED, _DENIED, _ABSENT = 200, 204, 400, 403, 404


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultWish:
    """
    What there should be.

    Args:
        policy: its name.
        rules: its text.
        mount: where AppRole is to be, without `auth/`.
        role: its name.
        token_seconds: how long a token of the role lives before it is renewed.
        secret_id_seconds: how long a secret_id is good for; 0 for ever.
    """

    policy: str
    rules: str
    mount: str = "approle"
    role: str = "strongroom"
    token_seconds: int = 3600
    secret_id_seconds: int = 0


class SetupPart(NamedTuple):
    """
    One part of what there should be.

    Args:
        what: `policy`, `method` or `role`.
        name: what it is called there.
        state: whether it is missing, there, or there as another.
        change: what doing it means, as in `write the policy strongroom anew`.
    """

    what: Literal["policy", "method", "role"]
    name: str
    state: State
    change: str = ""

    def __str__(self) -> str:
        return f"{self.what} {self.name}"


class RoleIds(NamedTuple):
    """What logs in as the role."""

    role_id: Secret[str]
    secret_id: Secret[str]


class VaultSetup:
    """
    Look for what there should be, and make it, as somebody who may.

    Args:
        session: of a token that may write policies, mount AppRole and write roles.
        place: the backend's name, for messages.
        wish: what there should be.
    """

    def __init__(self, session: VaultSession, *, place: str, wish: VaultWish) -> None:
        self._session = session
        self._place = place
        self._wish = wish
        self._role = f"auth/{wish.mount}/role/{wish.role}"
        self._policies: tuple[str, ...] = ()  # of the role, as found

    # --- looking ---

    def look(self) -> tuple[SetupPart, ...]:
        """
        Tell of each part, in the order they are made, whether it is there.

        Raises:
            AccessDeniedError: the token may not look.
            BackendConfigError: something else than AppRole is mounted there.
            NotAuthenticatedError, BackendUnavailableError: as their names say.
        """
        wish = self._wish
        method = self._method_state()
        return (
            SetupPart("policy", wish.policy, self._policy_state(), f"write the policy {wish.policy} anew"),
            SetupPart("method", f"auth/{wish.mount}", method),
            SetupPart(
                "role",
                wish.role,
                "missing" if method == "missing" else self._role_state(),
                f"add the policy {wish.policy} to the role {wish.role}",
            ),
        )

    def _policy_state(self) -> State:
        found = self._data("GET", f"sys/policies/acl/{quote(self._wish.policy)}")
        text = member(found, str, "policy")
        if text is None:
            return "missing"
        return "there" if text.strip() == self._wish.rules.strip() else "other"

    def _method_state(self) -> State:
        mounts = self._data("GET", "sys/auth")
        found = member(mounts, dict, f"{self._wish.mount}/")
        if found is None:
            return "missing"
        if found.get("type") != "approle":
            raise BackendConfigError(
                f"the backend {self._place} has another method than AppRole at auth/{self._wish.mount}",
                hint=f"set auth_mount_point of backend.{self._place} to where AppRole is, or is to be",
            )
        return "there"

    def _role_state(self) -> State:
        found = self._data("GET", quote(self._role))
        if found is None:
            return "missing"
        policies = member(found, list, "token_policies") or []
        self._policies = tuple(name for name in policies if isinstance(name, str))
        return "there" if self._wish.policy in self._policies else "other"

    # --- making ---

    def make(self, part: SetupPart) -> None:
        """
        Make one part that is missing, or change one that is another; after `look`.

        Raises:
            AccessDeniedError: the token may not.
            BackendConfigError: the server does not take it.
            BackendUnavailableError: no answer, or none that says that it was done.
        """
        wish = self._wish
        if part.state == "there":
            return
        if part.what == "policy":
            self._do("PUT", f"sys/policies/acl/{quote(wish.policy)}", {"policy": wish.rules})
        elif part.what == "method":
            self._do("POST", f"sys/auth/{quote(wish.mount)}", {"type": "approle"})
        elif part.state == "other":
            self._do("POST", quote(self._role), {"token_policies": [*self._policies, wish.policy]})
        else:
            self._do(
                "POST",
                quote(self._role),
                {
                    "token_policies": [wish.policy],
                    "token_ttl": wish.token_seconds,
                    "secret_id_ttl": wish.secret_id_seconds,
                    "bind_secret_id": True,
                },
            )

    def role_id(self) -> Secret[str]:
        """
        Give the id of the role.

        Raises:
            As `make`.
        """
        found = member(self._data("GET", f"{quote(self._role)}/role-id"), str, "role_id")
        if found is None:
            raise misshapen(self._place)
        return Secret(found)

    def secret_id(self) -> Secret[str]:
        """
        Make a secret_id; those there are stay good.

        Raises:
            As `make`.
        """
        reply = self._do("POST", f"{quote(self._role)}/secret-id", {})
        found = member(opened(reply, self._place), str, "data", "secret_id")
        if found is None:
            raise misshapen(self._place)
        return Secret(found)

    def destroy(self, secret_id: Secret[str]) -> None:
        """
        Let nobody log in with *secret_id* any more.

        Raises:
            As `make`.
        """
        self._do("POST", f"{quote(self._role)}/secret-id/destroy", {"secret_id": secret_id})

    def is_good(self, ids: RoleIds) -> bool:
        """
        Tell whether *ids* are of this role, and the secret_id is good still.

        Raises:
            As `make`.
        """
        if ids.role_id != self.role_id():
            return False
        path = f"{quote(self._role)}/secret-id/lookup"
        reply = self._session.request("POST", f"/v1/{path}", body={"secret_id": ids.secret_id})
        if reply.status == _DENIED:
            raise self._refusal("POST", path, reply)
        return reply.status == _OK and bool(member(opened(reply, self._place), dict, "data"))

    # --- asking ---

    def _data(self, method: str, path: str) -> dict[str, object] | None:
        reply = self._session.request(method, f"/v1/{path}")
        if reply.status == _OK:
            return member(opened(reply, self._place), dict, "data")
        if reply.status == _ABSENT and "namespace not found" not in complaints(reply):
            return None
        raise self._refusal(method, path, reply)

    def _do(self, method: str, path: str, body: Mapping[str, object]) -> Reply:
        reply = self._session.request(method, f"/v1/{path}", body=body, is_repeatable=False)
        if reply.status not in (_OK, _DONE):
            raise self._refusal(method, path, reply)
        return reply

    def _refusal(self, method: str, path: str, reply: Reply) -> StrongroomError:
        needed = {"GET": "read", "PUT": "update"}.get(method, "update")
        if reply.status == _DENIED:
            return AccessDeniedError(
                f"the token given for the setup of the backend {self._place} may not {needed} {path}",
                reason=f"{needed} on {path}",
                hint="give one that may write policies, mount AppRole and write its roles",
            )
        if "namespace not found" in complaints(reply):
            return no_namespace(self._place)
        if reply.status == _REFUSED:
            return BackendConfigError(
                f"the server of the backend {self._place} does not take {path}",
                hint="check the names of the policy and the role, and auth_mount_point",
            )
        return BackendUnavailableError(
            f"the backend {self._place} answered with the status {reply.status}", backend=self._place
        )
