"""What an installed Airflow is configured with that gives secrets away. Its commands are not run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.insight.bounds import transport
from strongroom.insight.finding import Finding, Surroundings, named
from strongroom.insight.literals import is_literal, is_secret_name
from strongroom.vendors.airflow import AirflowConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.vendors.airflow import SecretsBackend

__all__ = ["configuration", "dags_folder", "find"]

_SECRET_ARGUMENTS = frozenset(
    {"secret_id", "keyfile_dict", "gcp_keyfile_dict", "kubernetes_jwt", "jwt_token"}
)


def find(around: Surroundings) -> AirflowConfig | None:
    """
    Find the Airflow of these surroundings.

    Raises:
        BackendConfigError: its file cannot be read.
    """
    return AirflowConfig.find(around.environ)


def dags_folder(config: AirflowConfig) -> Path:
    """Give where its DAGs are."""
    said = config.get("core", "dags_folder")
    return Path(said.reveal()) if said and said.reveal() else config.home / "dags"


def configuration(config: AirflowConfig) -> Iterator[Finding]:
    """Look at the Fernet key and at the arguments of the secrets backend."""
    origin = config.source("core", "fernet_key")
    # Airflow makes a key by itself only where it writes its file anew.
    is_said = origin in {"environment", "file"} or (origin == "default" and config.file is not None)
    if is_said and not config.fernet_keys:
        where = "AIRFLOW__CORE__FERNET_KEY" if origin == "environment" else f"fernet_key in {config.file}"
        yield Finding(
            name="empty-fernet-key",
            level="error",
            what=f"{where} is empty: Airflow keeps passwords and variables as plain text",
            fix="set a key (Fernet.generate_key() of the package cryptography makes one), restart Airflow,"
            " and write each connection and variable anew",
        )
    backends = {
        backend.section: backend
        for is_worker in (False, True)
        if (backend := config.secrets_backend(is_worker=is_worker, may_run=False)) is not None
    }
    for backend in backends.values():
        yield from _arguments(backend, config)


def _arguments(backend: SecretsBackend, config: AirflowConfig) -> Iterator[Finding]:
    key = "backend_kwargs" if backend.section == "secrets" else "secrets_backend_kwargs"
    # What a command or a secret gives was not asked for, so what is here stands in clear.
    secret = [name for name, value in sorted(backend.kwargs.items()) if _is_secret(name, value)]
    where = f"[{backend.section}] {key}"
    if secret:
        origin = config.source(backend.section, key)
        place = str(config.file) if origin == "file" else "the environment"
        yield Finding(
            name="token-in-backend-kwargs",
            level="warning",
            what=f"{where} holds {named(secret)} in clear, in {place}",
            fix=f"give {key}_cmd or a file that the backend reads (token_path); then change the token",
        )
    yield from transport(where, backend.kwargs)


def _is_secret(name: str, value: object) -> bool:
    if isinstance(value, Mapping):
        return name in _SECRET_ARGUMENTS or any(_is_secret(str(key), item) for key, item in value.items())
    is_named = name in _SECRET_ARGUMENTS or is_secret_name(name)
    return is_named and isinstance(value, str) and is_literal(value)
