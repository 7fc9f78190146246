"""Where Google is and who we are to it, as options: one table for whoever speaks to Google."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from strongroom.model.secret import Secret

__all__ = ["GoogleAccess", "Token"]

_Fetch = Callable[[], Secret[str]]
_SOURCES = ("gcp_key_path", "gcp_keyfile_dict", "gcp_credential_config_file")


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleAccess:
    """
    Where Google is and who we are. Airflow's keyword arguments are accepted.

    Args:
        project_id: whose secrets; unsaid, that of the credentials.
        gcp_key_path: a service account's key, a JSON file.
        gcp_keyfile_dict: what would stand in it: JSON text that is fetched, or a table whose secrets are.
        gcp_credential_config_file: a configuration of workload identity federation: a file, or a table.
        gcp_scopes: of OAuth, comma-separated; for the whole cloud if unsaid.
        impersonation_chain: the account to act as, after those that lead to it.
        location: a region: then its own secrets are meant, and its own endpoint.
        endpoint: `https://host[:port]`, in place of Google's.
        iam_endpoint: likewise, of the service that impersonation asks.
        quota_project_id: who pays for what is asked, where that is another project.
        transport: `grpc`, or `rest` for a network that lets only HTTP/1 through.
        ca: certificates to trust in place of the usual; a file.
        timeout: for each wait of an answer.
    """

    project_id: str | None = None
    gcp_key_path: Path | None = None
    gcp_keyfile_dict: _Fetch | Secret[str] | Mapping[str, Secret[str] | object] | None = field(
        default=None, repr=False
    )
    gcp_credential_config_file: Mapping[str, Any] | Path | None = field(default=None, repr=False)
    gcp_scopes: str | None = None
    impersonation_chain: tuple[str, ...] | str | None = None
    location: str | None = None
    endpoint: str | None = None
    iam_endpoint: str | None = None
    quota_project_id: str | None = None
    transport: Literal["grpc", "rest"] = "grpc"
    ca: Path | None = None
    timeout: timedelta = timedelta(seconds=3)

    @property
    def sources(self) -> tuple[str, ...]:
        """Which options say the credentials, by name."""
        return tuple(key for key in _SOURCES if getattr(self, key) is not None)

    @property
    def chain(self) -> tuple[str, ...]:
        """Whom we act as, after those that lead to him; () for nobody else."""
        given = self.impersonation_chain or ()
        return (given,) if isinstance(given, str) else tuple(given)


@dataclass(frozen=True, slots=True)
class Token:
    """
    What authenticates a request.

    Args:
        text: what stands after `Bearer`.
        ends_at: UTC.
    """

    text: Secret[str]
    ends_at: datetime
