"""
Ours beside Airflow's: the same question to both, and equal answers or a number.

A number is one of docs/compatibility.md: R… (what a text says), F… (files), B… (backends). A row
that carries one must really differ, so that no number outlives its difference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import strongroom
from strongroom.errors import InvalidInputError, MalformedEntryError, StrongroomError
from strongroom.model.connection import Connection
from strongroom.model.document import connection_of
from strongroom.model.ref import Ref
from strongroom.settings import BackendSettings, CacheSettings, LookupSettings, load

# What our answer must be where the number alone says so.
_OURS = {
    **dict.fromkeys(("B1", "B4", "B9", "B10", "B14", "B15"), "refused"),
    **dict.fromkeys(("B11", "B13"), "absent"),
    **dict.fromkeys(("B5", "B6", "D2", "D3", "D4"), "found"),
    **dict.fromkeys(("D1", "D7", "D8", "D9", "D10"), "refused"),
    **dict.fromkeys(("D5",), "absent"),
    **dict.fromkeys(("D6",), "unopened"),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """
    One set of options, and questions under it.

    Args:
        said: what it is, in a word or two.
        asks: (kind, name, team, number); the number is "" where both must answer the same.
        kwargs: for Airflow's backend, and for ours.
        ours: options only ours has.
        environ: for both.
        dialect: which of Airflow's readings.
    """

    said: str
    asks: Sequence[tuple[str, str, str | None, str]]
    kwargs: Mapping[str, object] = field(default_factory=dict)
    ours: Mapping[str, object] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    dialect: str = "core"


def conn(name, number="", team=None):
    return ("connection", name, team, number)


def var(name, number="", team=None):
    return ("variable", name, team, number)


def config(name, number=""):
    return ("config", name, None, number)


def check(airflow, kind, case, folder):
    """Ask both everything *case* asks, and compare."""
    refs = [ask[:3] for ask in case.asks]
    theirs = airflow.ask(kind, refs, kwargs=case.kwargs, environ=case.environ, dialect=case.dialect)
    options = {**case.kwargs, **case.ours}
    with open_room(kind, options, folder, environ=case.environ, dialect=case.dialect) as room:
        ours = [answer(room, *ref, case.dialect) for ref in refs]
    wrong = [
        (ask, why, mine, airflows)
        for ask, mine, airflows in zip(case.asks, ours, theirs, strict=True)
        if (why := verdict(mine, airflows, ask[3]))
    ]
    assert not wrong, "\n".join(map(repr, wrong))


@contextmanager
def open_room(kind, options, folder, *, environ=None, dialect="core", timeout_seconds=20.0):
    """Open a room with one backend of *kind*, which remembers nothing."""
    environ = {"STRONGROOM_HOME": str(folder / "room"), "HOME": str(folder), **(environ or {})}
    backend = BackendSettings(
        name="it", kind=kind, options=options, folder=folder, timeout_seconds=timeout_seconds
    )
    settings = replace(
        load(environ=environ, cwd=folder),
        chain=("it",),
        backend={"it": backend},
        cache=CacheSettings(ttl=0, stale_if_error=0, absent_ttl=0),
        lookup=LookupSettings(dialect=dialect, deadline_seconds=timeout_seconds),
    )
    with strongroom.open_room(settings, environ=environ) as room:
        yield room


def answer(room, kind, name, team, dialect):
    """
    Give our answer in the shape of Airflow's.

    Returns:
        `{"found": …}`, `{"absent": true}`, or `{"refused": code, "rule": number or None}`.
    """
    text = None
    try:
        entry = room.lookup.find(Ref(kind, name, team))
        if entry is None:
            return {"absent": True}
        text = entry.secret.reveal()
        if kind == "connection":
            return {"found": room.lookup.connection(name, team).to_dict(reveal=True)}
    except InvalidInputError as error:
        return {"refused": error.code, "rule": error.rule}
    except MalformedEntryError as error:
        return {"refused": error.code, "rule": None if text is None else rule_of(text, dialect)}
    except StrongroomError as error:
        return {"refused": error.code, "rule": None}
    return {"found": text}


def rule_of(text, dialect="core"):
    """Give the number under which a stored connection is refused, or None where it is read."""
    try:
        if isinstance(text, str):
            Connection.parse(text, dialect)
        else:
            connection_of("it", text, dialect)
    except InvalidInputError as error:
        return error.rule
    return None


def verdict(ours, theirs, number=""):
    """Give None where the answers are equal, or differ under *number*; otherwise what is wrong."""
    is_same = _canonical(ours) == _canonical(theirs)
    if not number:
        return None if is_same else "differs"
    if is_same:
        return "is equal, so the number says nothing"
    if _OURS.get(number, next(iter(ours))) not in ours:
        return f"is not {_OURS[number]}"
    if number.startswith("R") and ours.get("rule") not in (None, number):
        return f"is refused under {ours['rule']}"
    return None


def _canonical(answer):
    # As JSON, because 1, 1.0 and True are equal in Python and different in an extra.
    found = answer.get("found")
    if isinstance(found, dict) and "conn_type" in found:
        extra = found["extra"]
        extra = json.loads(extra) if isinstance(extra, str) and extra else extra
        # None, '' and {} are all {} to a hook.
        answer = {"found": {**found, "extra": extra or None}}
    return json.dumps(answer, sort_keys=True)


def numbers(cases):
    """Give the numbers that *cases* use."""
    return {number for case in cases for *_, number in case.asks if number}
