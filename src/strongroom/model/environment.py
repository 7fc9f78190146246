"""
Airflow's names in an environment, and `.env` files that hold such an environment.

| Ref | variable of the environment |
|---|---|
| connection `orders_db` | `AIRFLOW_CONN_ORDERS_DB` |
| variable `region` | `AIRFLOW_VAR_REGION` |
| connection `orders_db` of team `data` | `AIRFLOW_CONN__DATA___ORDERS_DB` |

Airflow upper-cases names, so what is read from such names is in lower case. Not for looking at the
environment of a process: `backends/env.py` does.

Rules of reading a file, where at least one name has a prefix of the table:

1. Names with the prefix of the kind asked for are entries; blanks and `export` before them are dropped.
2. Every other line is passed over and counted, whatever it is, and so is, as in Airflow, an empty
   connection; an empty variable is a value.
3. Refused by name: names that are one in lower case, no name or no legal team after the prefix, blanks
   beside the `=`, of which the readers of such files think differently.

Source: airflow/secrets/environment_variables.py of 3.3.2.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError
from strongroom.model.dotenv import Line, check_lines, check_twice, listed, read_lines, shown
from strongroom.model.ref import Ref

if TYPE_CHECKING:
    from collections.abc import Iterable

    from strongroom.model.ref import Kind

__all__ = [
    "AFTER_TEAM",
    "PREFIXES",
    "Environment",
    "Place",
    "as_listed",
    "parse_environment",
    "spell",
    "spell_all",
]

PREFIXES: Mapping[Kind, str] = {"connection": "AIRFLOW_CONN_", "variable": "AIRFLOW_VAR_"}
AFTER_TEAM = "___"
_NAME = re.compile(r"\s*(?:export\s+)?(AIRFLOW_(?:CONN|VAR)_)(.*?)([ \t]*)", re.DOTALL)
_BLANK_QUOTED = re.compile(r"[ \t]+['\"]")

Place = tuple[str | None, str]
"""Team and name; the team is None where the file says none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """
    The entries of one kind in a `.env` that holds an environment.

    Args:
        values: texts by what follows the prefix, in lower case: `orders_db`, `_data___orders_db`.
        places: team and name, by the same keys.
        passed_over: how many lines are no entries of this kind.
    """

    values: Mapping[str, str] = field(repr=False)
    places: Mapping[str, Place]
    passed_over: int = 0


def spell(ref: Ref) -> str | None:
    """Give the variable of the environment that holds *ref*, or None where there can be none."""
    prefix = PREFIXES.get(ref.kind)
    if prefix is None:
        return None
    name = ref.name.upper()
    if ref.team is None:
        # A global name that reads like `_<TEAM>___…` would be that team's variable.
        return None if name[:1] == "_" and AFTER_TEAM in name[1:] else prefix + name
    tail = f"_{ref.team.upper()}{AFTER_TEAM}{name}"
    # The first separator must be the one put there: ("a___b", "c") and ("a", "b___c") spell the same.
    return prefix + tail if tail.find(AFTER_TEAM, 1) == len(ref.team) + 1 else None


def as_listed(name: str) -> str:
    """Give the name under which a listing of an environment has what *name* is spelled as there."""
    return name.upper().lower()


def spell_all(refs: Iterable[Ref]) -> dict[Ref, str]:
    """
    Give the variable of the environment for each of *refs*, so that a `.env` of them can be read again.

    Raises:
        InvalidInputError: F13, there can be none for some, or two share one; the message names them.
    """
    spelled: dict[Ref, str] = {}
    holders: dict[str, Ref] = {}
    odd: list[str] = []
    for ref in refs:
        variable = spell(ref)
        if variable is None or ref.name != ref.name.strip():
            odd.append(shown(ref.name))
        elif (other := holders.setdefault(variable, ref)) != ref:
            odd.append(f"{shown(other.name)} beside {shown(ref.name)}")
        else:
            spelled[ref] = variable
    if odd:
        raise InvalidInputError(
            f"an environment cannot hold the names {listed(odd)}",
            rule="F13",
            hint="export as json or yaml, or without the names of an environment",
        )
    return spelled


def parse_environment(text: str, kind: Kind) -> Environment | None:
    """
    Give the entries of *kind* in *text*, or None where no name in it has a prefix of Airflow's.

    Raises:
        InvalidInputError: F4 (a line with the prefix is no pair), F5 (a quoted value without an end), F6
            (a name twice), F14 (rule 3).
    """
    if not any(prefix in text for prefix in PREFIXES.values()):
        return None
    lines = list(read_lines(text))
    named = [(line, match) for line in lines if (match := _NAME.fullmatch(line.name))]
    if all(line.fault == "no '='" for line, _ in named):
        return None
    own = [
        (line, match)
        for line, match in named
        if match[1] == PREFIXES[kind]
        and not (kind == "connection" and not line.value and "=" not in line.fault)
    ]
    check_lines(text, [line for line, _ in own if line.fault == "no '='"])
    _check_blanks(own)
    check_twice([match[1] + match[2] for _, match in own])
    _check_case([(match[1], match[2]) for _, match in own])
    values = {match[2].lower(): line.value for line, match in own}
    places = _places(own, kind)
    return Environment(values=values, places=places, passed_over=len(lines) - len(own))


def _check_blanks(own: list[tuple[Line, re.Match[str]]]) -> None:
    lines = [
        str(line.number)
        for line, match in own
        if match[3] or (not line.is_quoted and _BLANK_QUOTED.match(line.value))
    ]
    if lines:
        raise InvalidInputError(
            f"blanks stand beside the '=' in line {listed(lines)}", rule="F14", hint="write NAME=value"
        )


def _check_case(names: list[tuple[str, str]]) -> None:
    by_key: dict[str, list[str]] = {}
    for prefix, rest in names:
        by_key.setdefault(rest.lower(), []).append(prefix + rest)
    clashes = [" and ".join(map(shown, sharing)) for sharing in by_key.values() if len(sharing) > 1]
    if clashes:
        raise InvalidInputError(
            f"names are one in lower case: {listed(clashes)}", rule="F14", hint="keep one of them"
        )


def _places(own: list[tuple[Line, re.Match[str]]], kind: Kind) -> dict[str, Place]:
    places: dict[str, Place] = {}
    odd: list[str] = []
    for line, match in own:
        key = match[2].lower()
        places[key] = _place(key)
        if not _is_legal(places[key], kind):
            odd.append(str(line.number))
    if odd:
        raise InvalidInputError(
            f"no name or no legal team follows the prefix in line {listed(odd)}",
            rule="F14",
            hint="AIRFLOW_CONN_<NAME>, or AIRFLOW_CONN__<TEAM>___<NAME>",
        )
    return places


def _place(key: str) -> Place:
    end = key.find(AFTER_TEAM, 1) if key[:1] == "_" else -1
    return (None, key) if end < 0 else (key[1:end], key[end + len(AFTER_TEAM) :])


def _is_legal(place: Place, kind: Kind) -> bool:
    team, name = place
    if not name:
        return False
    try:
        Ref(kind, "x", team)  # the name itself can be changed by `rename`
    except InvalidInputError:
        return False
    return True
