"""
The secrets classes of Airflow's providers that a kind of ours stands for, and what their arguments are here.

Not for what an argument means: our options have Airflow's names, so most are taken over as they stand.

Rules of this file:

1. A secret becomes a `SecretSource`, so that whoever writes settings cannot write it in clear.
2. What no option of ours can say keeps the whole class as it is (the kind `airflow_class`): the reason names
   the arguments. An argument that Airflow itself passes over is passed over here, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from strongroom.settings import SecretSource

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["KNOWN", "Known", "known", "table_of"]

_PREFIXES = ("connections_prefix", "variables_prefix", "config_prefix")
_PATTERNS = ("connections_lookup_pattern", "variables_lookup_pattern", "config_lookup_pattern")
_LABELS = ("connections_label", "variables_label", "config_label", "team_label")
_VAULT_PATHS = ("connections_path", "variables_path", "config_path")
# Arguments that hold a secret, of whichever class, and whole documents that do.
_SECRET = re.compile(r"(?!.*_(?:path|file|data_key)$)(?:.*(?:secret|password|token).*|.*key(?:_id)?)")
_DOCUMENTS = ("gcp_keyfile_dict",)
_TABLES = ("extra_conn_words", "gcp_credential_config_file", "service_config")  # taken over as they stand
_SECRET_KEY = re.compile(
    r'"[^"]*(?:secret|private_key|refresh_token|password|authorization)[^"]*": ', re.IGNORECASE
)
_FILES = re.compile(r".*_path|.*_file|cert")
_MODES = re.compile(r"(?:connections|variables|config)_path|global_secrets_path|use_team_secrets_path")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """
    A class and the kind that stands for it.

    Args:
        kind: of ours.
        name: what a chain would call it.
        title: what it asks, for people.
        options: arguments that our kind takes under the same name.
        nothing: what Airflow's None says here, of arguments where it says something.
        ignored: arguments that the class takes and passes over.
        teams: our option that keeps teams; "" where none is needed. Airflow has a setting for all classes.
        may_share: two kinds may have one prefix.
        settle: changes the arguments where they are not those of ours; gives why it cannot, or "".
    """

    kind: str
    name: str
    title: str
    options: frozenset[str]
    nothing: Mapping[str, object] = field(default_factory=dict)
    ignored: frozenset[str] = frozenset()
    teams: str = ""
    may_share: bool = True
    settle: Callable[[dict[str, Any]], str] = lambda _: ""


def known(class_path: str) -> Known | None:
    """Give what stands for the class at *class_path*, or None."""
    package, _, name = class_path.rpartition(".")
    # A Vault may be asked by a class derived from Airflow's, which has its name and arguments.
    return KNOWN.get(name) if package.split(".")[0] == "airflow" or name == "VaultBackend" else None


def table_of(one: Known, kwargs: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any] | None, str]:
    """
    Give the options that say what *kwargs* say to the class, or None and why there are none.

    Args:
        one: what stands for the class.
        kwargs: its arguments.
        folder: what relative paths are relative to.
    """
    said = {key: value for key, value in kwargs.items() if key not in one.ignored}
    reason = one.settle(said)
    if reason:
        return None, reason
    said = {key: one.nothing.get(key) if value is None else value for key, value in said.items()}
    said = {key: value for key, value in said.items() if value is not None}
    strange = sorted(str(key) for key in said if key not in one.options)
    if strange:
        return None, f"no backend of ours takes {', '.join(strange)}"
    prefixes = [said[key] for key in _PREFIXES if isinstance(said.get(key), str)]
    if len(set(prefixes)) < len(prefixes) and not one.may_share:
        return None, "two kinds have one prefix, so that rules about variables would open connections"
    return {key: _option(key, value, folder) for key, value in said.items()}, ""


def _option(key: str, value: object, folder: Path) -> object:
    if key in _DOCUMENTS and isinstance(value, str | dict):
        text = value if isinstance(value, str) else json.dumps(value)
        return SecretSource(kind="text", argument=(text,), key=key)
    if _SECRET.fullmatch(key) and isinstance(value, str | int) and not isinstance(value, bool):
        return SecretSource(kind="text", argument=(str(value),), key=key)
    if isinstance(value, dict) and key not in _TABLES:
        return {inner: _option(inner, one, folder) for inner, one in value.items() if one is not None}
    if key == "cert" and isinstance(value, list):
        return [str(folder / str(one)) for one in value]
    is_file = (_FILES.fullmatch(key) and not _MODES.fullmatch(key)) or (key == "verify" and value)
    return folder / value if is_file and isinstance(value, str) else value


# --- what is peculiar to one -----------------------------------------------------------------------


def _settle_aws(said: dict[str, Any]) -> str:
    session = said.pop("session_kwargs", None) or {}
    if not isinstance(session, Mapping):
        return "its session_kwargs are no object"
    for key, value in session.items():
        said.setdefault(key, value)
    for key in ("config_kwargs", "service_config", "assume_role_kwargs", "extra_conn_words"):
        if not said.get(key):
            said.pop(key, None)
    if said.get("use_ssl") in (True, None):
        said.pop("use_ssl", None)
    if not said.get("role_arn"):
        # Without a role Airflow looks at none of these.
        for key in [key for key in said if key.startswith("assume_role_") or key == "external_id"]:
            del said[key]
    return _aws_role(said)


def _aws_role(said: Mapping[str, Any]) -> str:
    method = said.get("assume_role_method") or "assume_role"
    if method not in ("assume_role", "assume_role_with_web_identity"):
        return "no backend of ours assumes a role in its way"
    if said.get("assume_role_with_web_identity_federation") not in (None, "file"):
        return "no backend of ours asks for its web identity"
    return ""


def _settle_google(said: dict[str, Any]) -> str:
    config = said.get("gcp_credential_config_file")
    if isinstance(config, str) and config.lstrip().startswith("{"):
        try:
            config = said["gcp_credential_config_file"] = json.loads(config)
        except ValueError:
            return "its gcp_credential_config_file is no JSON"
    if isinstance(config, Mapping) and _SECRET_KEY.search(json.dumps(config)):
        return "its gcp_credential_config_file holds a secret: put it into a file and name that"
    return ""


def _settle_azure(said: dict[str, Any]) -> str:
    for key in _AZURE_LOGIN:
        if said.get(key) == "":
            del said[key]
    application = ("tenant_id", "client_id", "client_secret")
    if not all(said.get(key) for key in application):
        # Airflow looks at them only where there are all three.
        for key in application:
            said.pop(key, None)
    if "connection_verify" in said:
        said["verify"] = said.pop("connection_verify")
    for key in ("retry_total", "retry_connect", "retry_read", "retry_status", "logging_enable"):
        said.pop(key, None)  # how often Azure's client asks again: ours keeps a budget for that
    return ""


_AZURE_LOGIN = (
    *("tenant_id", "client_id", "client_secret"),
    *("managed_identity_client_id", "workload_identity_tenant_id"),
)

KNOWN: Mapping[str, Known] = {
    "VaultBackend": Known(
        kind="vault",
        name="vault",
        title="Vault or OpenBao",
        options=frozenset(
            (
                *_VAULT_PATHS,
                *("use_team_secrets_path", "global_secrets_path", "url", "auth_type", "auth_mount_point"),
                *("mount_point", "kv_engine_version", "token", "token_path", "username", "password"),
                *("key_id", "secret_id", "role_id", "assume_role_kwargs", "region", "kubernetes_role"),
                *("kubernetes_jwt_path", "gcp_key_path", "gcp_keyfile_dict", "gcp_scopes"),
                *("azure_tenant_id", "azure_resource", "radius_host", "radius_secret", "radius_port"),
                *("jwt_role", "jwt_token", "jwt_token_path", "namespace", "verify", "cert", "timeout"),
            )
        ),
        nothing={**dict.fromkeys(_VAULT_PATHS, False), "mount_point": ""},
        teams="use_team_secrets_path",
    ),
    "SecretsManagerBackend": Known(
        kind="aws_secrets_manager",
        name="aws",
        title="AWS Secrets Manager",
        options=(
            _AWS := frozenset(
                (
                    *(*_PREFIXES, *_PATTERNS, "region_name", "profile_name", "aws_access_key_id"),
                    *("aws_secret_access_key", "aws_session_token", "role_arn", "assume_role_method"),
                    *("assume_role_kwargs", "external_id", "endpoint_url", "service_config", "verify"),
                    *("assume_role_with_web_identity_federation", "api_version"),
                    "assume_role_with_web_identity_token_file",
                )
            )
        )
        | {"sep", "extra_conn_words"},
        nothing=dict.fromkeys(_PREFIXES, False),
        ignored=frozenset(("full_url_mode", "are_secret_values_urlencoded")),
        teams="use_team_secrets_path",
        may_share=False,
        settle=_settle_aws,
    ),
    "SystemsManagerParameterStoreBackend": Known(
        kind="aws_parameter_store",
        name="parameters",
        title="AWS Parameter Store",
        options=_AWS,
        nothing=dict.fromkeys(_PREFIXES, False),
        teams="use_team_secrets_path",
        may_share=False,
        settle=_settle_aws,
    ),
    "CloudSecretManagerBackend": Known(
        kind="gcp_secret_manager",
        name="google",
        title="Google Secret Manager",
        options=frozenset(
            (
                *(*_PREFIXES, "gcp_keyfile_dict", "gcp_key_path", "gcp_credential_config_file"),
                *("gcp_scopes", "project_id", "sep", "impersonation_chain"),
            )
        ),
        nothing=dict.fromkeys(_PREFIXES, False),
        teams="use_team_secrets_path",
        may_share=False,
        settle=_settle_google,
    ),
    "AzureKeyVaultBackend": Known(
        kind="azure_key_vault",
        name="azure",
        title="Azure Key Vault",
        options=frozenset(
            (
                *(*_PREFIXES, *_AZURE_LOGIN, "vault_url", "sep", "verify", "api_version"),
                "verify_challenge_resource",
            )
        ),
        nothing=dict.fromkeys(_PREFIXES, False),
        teams="use_team_secrets_path",
        settle=_settle_azure,
    ),
    "KubernetesSecretsBackend": Known(
        kind="kubernetes",
        name="kubernetes",
        title="Kubernetes secrets",
        options=frozenset(
            (*_LABELS, "namespace", "connections_data_key", "variables_data_key", "config_data_key")
        ),
        nothing=dict.fromkeys(_LABELS, False),
    ),
}
"""By the name of the class."""
