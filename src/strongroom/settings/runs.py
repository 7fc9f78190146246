"""What `[access.airflow]` is: by whose word runs of Airflow are verified (docs/runs.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from strongroom.errors import SettingsError
from strongroom.model.machine import is_private_way
from strongroom.settings.source import SecretSource

if TYPE_CHECKING:
    from strongroom.settings.table import Table

__all__ = ["AIRFLOW_AUDIENCE", "AirflowRunSettings", "runs_of"]

AIRFLOW_AUDIENCE: Final = "urn:airflow.apache.org:task"
"""What `[execution_api] jwt_audience` of Airflow is, unless told otherwise."""

_STATES = frozenset({"queued", "running", "restarting"})  # of a task instance that may be at work
_URL = re.compile(r"https?://[^\s@?#]{1,2000}", re.ASCII)
_LONGEST_RECEIPT = 3600.0
_LONGEST_TOKEN = 86_400.0
_LONGEST_WAIT = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowRunSettings:
    """
    `[access.airflow]`.

    Args:
        issuer: `[api_auth] jwt_issuer` of that Airflow, to the letter.
        api: where its REST API is, without `/api/v2`.
        jwks: the file of its public keys.
        jwks_url: where they are, in place of a file.
        audience: `[execution_api] jwt_audience` of that Airflow.
        ca: the authority its certificates are from, PEM; the system's if unsaid.
        user: whom we ask its REST API as; he need only see task instances.
        password: of that user.
        token: in place of both: a token for its REST API.
        states: of a task instance whose run is verified.
        receipt_seconds: a verified run is asked about again before so long.
        max_token_seconds: an execution token may last from its issue to its end.
        timeout_seconds: Airflow has for each answer.
    """

    issuer: str
    api: str
    jwks: Path | None = None
    jwks_url: str | None = None
    audience: str = AIRFLOW_AUDIENCE
    ca: Path | None = None
    user: str | None = None
    password: SecretSource | None = None
    token: SecretSource | None = None
    states: tuple[str, ...] = ("queued", "running")
    receipt_seconds: float = 600.0
    max_token_seconds: float = 3600.0
    timeout_seconds: float = 3.0


def runs_of(table: Table) -> AirflowRunSettings:
    """
    Make `[access.airflow]` of its table.

    Raises:
        SettingsError: a key or value that cannot be right.
    """
    found, key = table.build(AirflowRunSettings), table.prefix
    if not found.issuer:
        raise SettingsError(
            f"{key}issuer is empty", key=f"{key}issuer", hint="as [api_auth] jwt_issuer of Airflow"
        )
    if not found.audience:
        raise SettingsError(
            f"{key}audience is empty", key=f"{key}audience", hint="as [execution_api] jwt_audience of Airflow"
        )
    if (found.jwks is None) is (found.jwks_url is None):
        raise SettingsError(
            f"{key}jwks or {key}jwks_url must say where Airflow's public keys are, and only one of them",
            key=f"{key}jwks",
            hint="the file or address of [api_auth] trusted_jwks_url of Airflow",
        )
    for name in ("api", "jwks_url"):
        url = getattr(found, name)
        if url is not None and not _URL.fullmatch(url):
            raise SettingsError(
                f"{key}{name} must be http:// or https://, without user, query and fragment",
                key=f"{key}{name}",
            )
    if found.jwks_url is not None and not is_private_way(found.jwks_url):
        raise SettingsError(
            f"{key}jwks_url must be https://: whoever is on the way could answer with his own keys",
            key=f"{key}jwks_url",
            hint="plain http is for what is on this machine; or jwks, for a file",
        )
    _check_login(found, key)
    if not found.states or not _STATES.issuperset(found.states):
        raise SettingsError(
            f"{key}states must be some of {', '.join(sorted(_STATES))}",
            key=f"{key}states",
            hint="a run that is not at work is nobody's to ask for",
        )
    _within(found.receipt_seconds, 5, _LONGEST_RECEIPT, f"{key}receipt_seconds")
    _within(found.max_token_seconds, 60, _LONGEST_TOKEN, f"{key}max_token_seconds")
    _within(found.timeout_seconds, 0.1, _LONGEST_WAIT, f"{key}timeout_seconds")
    return found


def _check_login(found: AirflowRunSettings, key: str) -> None:
    by_name = found.user is not None and found.password is not None
    if by_name is (found.token is not None) or (found.user is None) is not (found.password is None):
        raise SettingsError(
            f"{key}user with {key}password, or {key}token, must say whom we ask Airflow's REST API as",
            key=f"{key}user",
            hint='user = "strongroom", password = { file = "/run/secrets/airflow" }',
        )


def _within(value: float, least: float, most: float, key: str) -> None:
    if not least <= value <= most:
        raise SettingsError(f"{key} must be from {least:g} to {most:g}", key=key)
