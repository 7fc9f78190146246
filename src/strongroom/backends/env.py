"""
Connections and variables in the environment, under the names Airflow gives them.

| Ref | variable of the environment |
|---|---|
| connection `orders_db` | `AIRFLOW_CONN_ORDERS_DB` |
| variable `region` | `AIRFLOW_VAR_REGION` |
| connection `orders_db` of team `data` | `AIRFLOW_CONN__DATA___ORDERS_DB` |

Airflow upper-cases names and so lets several share one variable. That is kept, because it is what
existing environments hold; `clashes` tells which names of a set would meet. A name that would spell
another team's variable (`_data___x`) is answered *absent*.

Source: airflow/secrets/environment_variables.py of 3.3.2.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.backend import Backend, Health, check_size, ephemeral_version
from strongroom.errors import InvalidInputError, MalformedEntryError
from strongroom.model.entry import Entry, Summary
from strongroom.model.environment import AFTER_TEAM, PREFIXES, spell
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import datetime

    from strongroom.model.ref import Kind

__all__ = ["BACKEND", "Env", "EnvOptions", "clashes", "spell"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvOptions:
    """Nothing to set: the names are Airflow's."""


def clashes(refs: Iterable[Ref]) -> dict[str, list[Ref]]:
    """Give each variable of the environment that several of *refs* share, with those, sorted."""
    found: dict[str, list[Ref]] = {}
    for ref in sorted(set(refs), key=lambda ref: (ref.kind, ref.name, ref.team or "")):
        variable = spell(ref)
        if variable is not None:
            found.setdefault(variable, []).append(ref)
    return {variable: sharing for variable, sharing in found.items() if len(sharing) > 1}


class Env(Backend):
    """
    Entries in an environment.

    As in Airflow, an empty connection is absent, an empty variable is a value, and an empty variable
    of a team is absent. The environment is looked at on every read; versions are hashes under a key
    of this process, so that a change shows.

    Trust: whoever started the process wrote it, and the same user can read it in /proc.
    Threads: as safe as the mapping is to read.
    """

    is_local = True
    options_type = EnvOptions

    def __init__(
        self,
        name: str,
        options: EnvOptions,
        environ: Mapping[str, str],
        clock: Callable[[], datetime],
    ) -> None:
        self.name = name
        self.options = options
        self._environ = environ
        self._clock = clock
        self._key = secrets.token_bytes(16)

    def read(self, ref: Ref) -> Entry | None:
        variable = spell(ref)
        text = None if variable is None else self._environ.get(variable)
        if text is None or (not text and _is_nothing_when_empty(ref)):
            return None
        check_size(text, backend=self.name, ref=ref)
        _check_text(text, backend=self.name, ref=ref)
        return Entry(
            ref=ref,
            secret=Secret(text),
            backend=self.name,
            version=ephemeral_version(self._key, text),
            read_at=self._clock(),
        )

    def spell(self, ref: Ref) -> str | None:
        """Give the variable of the environment that holds *ref*, or None where there can be none."""
        return spell(ref)

    def summary(self, ref: Ref) -> Summary | None:
        text = self._environ.get(spell(ref) or "")
        if text is None or (not text and _is_nothing_when_empty(ref)):
            return None
        return Summary(ref=ref, backend=self.name)

    def check(self) -> Health:
        """Tell that an environment is always there."""
        return Health(status="ready")

    def list(
        self,
        kind: Kind,
        *,
        team: str | None = None,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> list[Summary]:
        """
        Give the names in lower case: how they were spelled before Airflow's upper-casing is not kept.

        Each name given reads back the same variable.
        """
        names = sorted(
            ref.name
            for ref in self._refs(kind, team)
            if ref.name.startswith(prefix) and ref.name > after and self._holds(ref)
        )
        return [Summary(ref=Ref(kind, name, team), backend=self.name) for name in names[:limit]]

    def _holds(self, ref: Ref) -> bool:
        return not _is_nothing_when_empty(ref) or bool(self._environ.get(spell(ref) or ""))

    def _refs(self, kind: Kind, team: str | None) -> Iterator[Ref]:
        head = PREFIXES.get(kind)
        if head is None:
            return
        if team is not None:
            head += f"_{team.upper()}{AFTER_TEAM}"
        for variable in tuple(self._environ):
            if not variable.startswith(head):
                continue
            try:
                ref = Ref(kind, variable[len(head) :].lower(), team)
            except InvalidInputError:
                continue  # no name of ours could have been spelled so
            if spell(ref) == variable:
                yield ref


def _check_text(text: str, *, backend: str, ref: Ref) -> None:
    # Bytes that are no text stand in the environment's text as halves of surrogate pairs (PEP 383).
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise MalformedEntryError(
                f"{ref} in the backend {backend} is not UTF-8", backend=backend, ref=str(ref)
            ) from None


def _is_nothing_when_empty(ref: Ref) -> bool:
    return ref.kind == "connection" or ref.team is not None


BACKEND = Env
