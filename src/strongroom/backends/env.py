"""
Connections and variables in the environment, under the names Airflow gives them.

| Ref | variable of the environment |
|---|---|
| connection `orders_db` | `AIRFLOW_CONN_ORDERS_DB` |
| variable `region` | `AIRFLOW_VAR_REGION` |
| connection `orders_db` of team `data` | `AIRFLOW_CONN__DATA___ORDERS_DB` |

Airflow upper-cases names and so lets several share one variable. That is kept, because it is what
existing environments hold; the inventory tells which names meet. A name that would spell another
team's variable (`_data___x`) is answered *absent*.

Source: airflow/secrets/environment_variables.py of 3.3.2.
"""

from __future__ import annotations

import secrets
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from strongroom.backend import Backend, Health, check_size, ephemeral_version
from strongroom.errors import InvalidInputError, MalformedEntryError
from strongroom.model.entry import Entry, Metadata, Summary
from strongroom.model.environment import AFTER_TEAM, PREFIXES, as_listed, spell
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from strongroom.model.condition import Condition
    from strongroom.model.ref import Kind

__all__ = ["BACKEND", "Env", "EnvOptions", "spell"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvOptions:
    """Nothing to set: the names are Airflow's."""


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
    needs_environ = True
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
        self._seen = _Seen()

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

    def check(self) -> Health:
        """Tell that an environment is always there."""
        return Health(status="ready", may={"read": "yes", "list": "yes", "write": "no"})

    def spell(self, ref: Ref) -> str | None:
        """Give the variable of the environment that holds *ref*, or None where there can be none."""
        return spell(ref)

    def folded(self, ref: Ref) -> Summary | None:
        return None if ref.name == as_listed(ref.name) else self._summary(ref)

    def _summary(self, ref: Ref) -> Summary | None:
        variable = spell(ref)
        text = None if variable is None else self._environ.get(variable)
        if variable is None or text is None or (not text and _is_nothing_when_empty(ref)):
            return None
        condition = self._condition(ref.kind, variable, text)
        return Summary(
            ref=ref,
            backend=self.name,
            metadata=Metadata(conn_type=condition.conn_type),
            state=condition.state,
            problem=condition.problem,
        )

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
        names = self._names(kind, team)
        found: list[Summary] = []
        for name in islice(names, max(bisect_right(names, after), bisect_left(names, prefix)), None):
            if len(found) == limit or not name.startswith(prefix):
                break
            summary = self._summary(Ref(kind, name, team))
            if summary is not None:
                found.append(summary)
        return found

    def _names(self, kind: Kind, team: str | None) -> Sequence[str]:
        """Give the names in order, found anew only where the environment has other variables than before."""
        variables = tuple(self._environ)
        seen = self._seen
        if seen.variables != variables:
            seen = self._seen = _Seen(variables)
        names = seen.names.get((kind, team))
        if names is None:
            names = seen.names[kind, team] = sorted(ref.name for ref in _refs(variables, kind, team))
        return names

    def _condition(self, kind: Kind, variable: str, text: str) -> Condition:
        """Look at *text*, once for as long as it stays the same; what is kept of it is a hash."""
        from strongroom.model.condition import condition_of  # noqa: PLC0415 -- reads do without

        version = ephemeral_version(self._key, text)
        conditions = self._seen.conditions
        known = conditions.get(variable)
        if known is None or known[0] != version:
            known = conditions[variable] = (version, condition_of(kind, text))
        return known[1]


class _Seen:
    """What was found in an environment that has these variables."""

    def __init__(self, variables: tuple[str, ...] = ()) -> None:
        self.variables = variables
        self.names: dict[tuple[Kind, str | None], Sequence[str]] = {}
        self.conditions: dict[str, tuple[str, Condition]] = {}


def _refs(variables: Iterable[str], kind: Kind, team: str | None) -> Iterator[Ref]:
    head = PREFIXES.get(kind)
    if head is None:
        return
    if team is not None:
        head += f"_{team.upper()}{AFTER_TEAM}"
    for variable in variables:
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
