"""What `[traces]` is: where a server or an agent sends its traces, and how many of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.errors import SettingsError
from strongroom.settings.source import SecretSource

if TYPE_CHECKING:
    from strongroom.settings.table import Table

__all__ = ["TraceSettings", "traces_of"]

_URL = re.compile(r"https?://[^\s@/?#]{1,1000}(?:/[^\s@?#]{0,1000})?", re.ASCII)
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSettings:
    """
    `[traces]`; without it nothing is traced.

    Args:
        url: where a collector takes OTLP over HTTP: `http://127.0.0.1:4318/v1/traces`.
        sample: how many of the traces are kept, 0 to 1.
        token: sent in `token_header`; as `Bearer` where that is `Authorization`.
        token_header: the header the collector wants it in.
        ca: the authority its certificate is from, PEM; the system's if unsaid.
    """

    url: str
    sample: float = 0.1
    token: SecretSource | None = None
    token_header: str = "Authorization"  # noqa: S105 -- the name of a header
    ca: Path | None = None


def traces_of(table: Table) -> TraceSettings | None:
    """
    Make `[traces]` of its table; None where there is none.

    Raises:
        SettingsError: a key or value that cannot be right.
    """
    if not table.values:
        return None
    found = table.build(TraceSettings)
    if not _URL.fullmatch(found.url):
        raise SettingsError(
            "traces.url must be http:// or https://, without a user or a query in it",
            key="traces.url",
            hint='url = "http://127.0.0.1:4318/v1/traces"',
        )
    if not 0 <= found.sample <= 1:
        raise SettingsError("traces.sample must be from 0 to 1", key="traces.sample")
    if not _HEADER.fullmatch(found.token_header):
        raise SettingsError("traces.token_header must be the name of a header", key="traces.token_header")
    return found
