"""What a vault must allow, as commands of Azure's own tool. Source: Key Vault, RBAC and access policies."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["least_policy"]

_RIGHTS: Mapping[str, tuple[str, ...]] = {
    "read": ("get",),
    "list": ("list",),
    # Whose a secret is is read before it is written; and a name that was deleted is brought back first.
    "write": ("get", "set", "delete", "recover"),
}
_POLICY = """\
# where the vault decides by RBAC (the default of new vaults)
az role assignment create --role "Key Vault Secrets {role}" \\
  --assignee <client id or principal id> \\
  --scope "$(az keyvault show --name {vault} --query id --output tsv)"

# where it decides by access policies
az keyvault set-policy --name {vault} --object-id <principal id> \\
  --secret-permissions {rights}
"""


def least_policy(url: str, verbs: Collection[str], *, purge: bool) -> str:
    """
    Give the commands that allow *verbs* on the secrets of one vault, for each way it may be set to decide.

    Args:
        url: of the vault.
        verbs: any of `read`, `list` and `write`.
        purge: whether deleting is for good.
    """
    rights = [right for verb in ("read", "list", "write") if verb in verbs for right in _RIGHTS[verb]]
    rights += ["purge"] if purge and "write" in verbs else []
    return _POLICY.format(
        role="Officer" if "write" in verbs else "User",
        vault=(urlsplit(url).hostname or "").partition(".")[0],
        rights=" ".join(dict.fromkeys(rights)),
    )
