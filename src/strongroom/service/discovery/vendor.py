"""Settings of vendors' own tools: Vault's, which is asked, and those of clouds, which are named."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from strongroom.service.discovery.place import Place
from strongroom.settings import SecretSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.service.discovery.place import Surroundings

__all__ = ["NO_BACKEND", "clouds", "vault", "vault_token"]

NO_BACKEND = "no kind of ours reads it: airflow_class asks it as it is"
_UNSAID = "asked where settings name a backend of its kind"

_YES = ("1", "t", "true")  # as Vault's own command reads it

_CLOUDS = (
    (
        "settings of AWS",
        (
            "AWS_PROFILE",
            "AWS_REGION",
            "AWS_DEFAULT_REGION",
            "AWS_ACCESS_KEY_ID",
            "AWS_ROLE_ARN",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONFIG_FILE",
            "AWS_SHARED_CREDENTIALS_FILE",
            "AWS_ENDPOINT_URL",
        ),
        (".aws/config", ".aws/credentials"),
    ),
    (
        "settings of Google Cloud",
        (
            "GOOGLE_APPLICATION_CREDENTIALS",
            "GOOGLE_CLOUD_PROJECT",
            "CLOUDSDK_CORE_PROJECT",
            "CLOUDSDK_CONFIG",
        ),
        (".config/gcloud/application_default_credentials.json",),
    ),
    (
        "settings of Azure",
        (
            "AZURE_TENANT_ID",
            "AZURE_CLIENT_ID",
            "AZURE_CLIENT_SECRET",
            "AZURE_CLIENT_CERTIFICATE_PATH",
            "AZURE_FEDERATED_TOKEN_FILE",
            "AZURE_CONFIG_DIR",
        ),
        (".azure",),
    ),
)


def vault(around: Surroundings) -> Iterator[Place]:
    """Find the Vault or OpenBao that its own command would ask."""
    named = around.set_of("VAULT_ADDR", "BAO_ADDR")
    token, told = vault_token(around)
    place = Place(
        title="Vault or OpenBao",
        name="vault",
        kind="vault",
        where=", ".join([*named[:1], *told]),
        is_personal=True,
        is_guess=True,
    )
    if named:
        yield _asked(place, around.environ[named[0]], token, around)
    elif told:
        yield replace(place, reason="nothing says where it is: VAULT_ADDR is not set")


def vault_token(around: Surroundings) -> tuple[SecretSource | None, list[str]]:
    """Tell where the token of Vault's own command comes from, and what that is called."""
    named = around.set_of("VAULT_TOKEN", "BAO_TOKEN")
    if named:
        return SecretSource(kind="env", argument=(named[0],), key="token"), named[:1]
    files = around.at_home(".vault-token", ".bao-token")
    if files:
        return SecretSource(kind="file", argument=(str(files[0]),), key="token"), [around.shown(files[0])]
    return None, []


def _asked(place: Place, url: str, token: SecretSource | None, around: Surroundings) -> Place:
    if not _is_plain(url):
        return replace(place, reason="its address is not just http(s)://host:port")
    if token is None:
        return replace(place, reason="there is no token to ask it with: VAULT_TOKEN or ~/.vault-token")
    table: dict[str, Any] = {"url": url, "token": token}
    if said := around.set_of("VAULT_NAMESPACE", "BAO_NAMESPACE"):
        table["namespace"] = around.environ[said[0]]
    if said := around.set_of("VAULT_CACERT", "BAO_CACERT"):
        table["verify"] = around.cwd / around.environ[said[0]]
    skips = around.set_of("VAULT_SKIP_VERIFY", "BAO_SKIP_VERIFY")
    if not skips or around.environ[skips[0]].lower() not in _YES:
        return replace(place, table=table)
    warning = f"{skips[0]} is set: anybody on the way to it may read along and answer in its place"
    return replace(place, table={**table, "verify": False}, warnings=(warning,))


def _is_plain(url: str) -> bool:
    """Tell whether *url* is an address and nothing else: no user, password, query or fragment."""
    try:
        parts = urlsplit(url)
        return bool(parts.scheme in ("http", "https") and parts.hostname) and not (
            "@" in parts.netloc or parts.query or parts.fragment
        )
    except ValueError:
        return False


def clouds(around: Surroundings) -> Iterator[Place]:
    """Name the settings of clouds; nothing of them says that the cloud holds anything of Airflow's."""
    for title, variables, files in _CLOUDS:
        found = [*around.set_of(*variables), *(around.shown(path) for path in around.at_home(*files))]
        if found:
            yield Place(title=title, where=", ".join(found), reason=_UNSAID)
