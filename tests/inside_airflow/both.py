"""
Real secrets classes of Airflow's providers beside ours, over one store: a table of cases, asked in two ways.

The real class reads in one process of real Airflow (`inside/parity.py`), which answers the whole table; ours
reads the same store in the process of the tests. What both answered is kept for all workers of the session,
so the store runs once. A number is one of docs/compatibility.md: R… (what a text says), B… (every backend),
D… (this kind of store). A row that carries one must really differ.

    CASES = [Case(said="defaults", kwargs={…}, asks=[conn("uri"), var("none"), var("odd", "D3")])]

    @pytest.fixture(scope="session")
    def told(airflow):
        return both(airflow(3), "aws_secrets_manager", made)   # made(folder): a context that gives the cases

    @pytest.mark.parametrize("said", [case.said for case in CASES])
    def test_…(told, said):
        assert wrong(told, said) == []
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest.mock import patch

import pytest

from inside_airflow.place import ROOT
from parity.compare import answer, open_room, verdict
from strongroom.errors import StrongroomError
from strongroom.service.discovery.classes import KNOWN, table_of
from strongroom.service.discovery.place import Place

OVERLAY = ROOT / ".venv-airflow3-clouds"
SCRIPT = "import parity\ntell(answers=parity.answers(please))"


def overlay():
    """Give the folder with the providers' classes; skip without it, and fail in CI."""
    if (OVERLAY / ".done").exists():
        return OVERLAY
    why = "the secrets classes of Airflow's providers are not here: run scripts/make-peers"
    if os.environ.get("CI"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


def both(place, kind, stocked, *, script=SCRIPT, name=None, orders=None):
    """
    Give what both answered to every case, as the `Ran` of the process of Airflow.

    Args:
        place: the Airflow.
        kind: of our backend, and the word for the real class; a case may have a `kind` of its own.
        stocked: takes an empty folder; a context manager over the store that gives the cases.
        script: what that process runs.
        name: of the scenario; *kind* if unsaid.
        orders: functions by the name under which a case asks for one, as BEFORE in its environment.
    """
    overlaid = overlay()

    def make(folder):
        with stocked(folder) as cases:
            table = [_row(kind, case) for case in cases]
            (folder / "table.json").write_text(json.dumps(table))
            said = {
                "TABLE": str(folder / "table.json"),
                "PYTHONPATH": str(overlaid),
                # Airflow 3 without its database, plugins and Dags: in half the time. 2 needs those.
                "_AIRFLOW__AS_LIBRARY": "1" if place.version == 3 else "",
            }
            (folder / "home").mkdir()
            ran = place.run(folder, script, environ=said, home=folder / "home", orders=orders)
            theirs = ran.told["answers"]
            wrong = {}
            for case in cases:
                (orders or {}).get(case.environ.get("BEFORE"), lambda: None)()
                wrong[case.said] = list(_wrong(kind, case, theirs[case.said], folder))
        return ran.keep(wrong=wrong)

    return place.once(f"parity-{name or kind}", make)


def wrong(told, said):
    """Give what is wrong with the case called *said*: the question, why, our answer and theirs."""
    return told.kept["wrong"][said]


def _row(kind, case):
    return {
        "said": case.said,
        "backend": getattr(case, "kind", kind),
        "kwargs": case.kwargs,
        "environ": dict(case.environ),
        "dialect": case.dialect,
        "asks": [list(ask[:3]) for ask in case.asks],
    }


def _wrong(kind, case, theirs, folder):
    ours = _ours(getattr(case, "kind", kind), case, Path(folder))
    for ask, mine, airflows in zip(case.asks, ours, theirs, strict=True):
        if ask[3] == "B1" and "unopened" in mine and "raises" in airflows:
            continue  # at the start, and not at the first question
        why = verdict(mine, airflows, ask[3])
        if why:
            yield [list(ask), why, mine, airflows]


def _ours(kind, case, folder):
    # As `strongroom airflow import-settings` takes them over.
    class_ = next(one for one in KNOWN.values() if one.kind == kind)
    table, reason = table_of(class_, case.kwargs, folder)
    if table is None:
        return [{"unopened": "no kind of ours", "what": reason}] * len(case.asks)
    options = {**Place(title="", name=kind, kind=kind, table=table).settings(), **case.ours}
    try:
        with (
            patch.dict(os.environ, case.environ),  # SDKs look around in the process they are in
            open_room(kind, options, folder, environ=case.environ, dialect=case.dialect) as room,
        ):
            return [answer(room, *ask[:3], case.dialect) for ask in case.asks]
    except StrongroomError as error:
        return [{"unopened": error.code, "what": str(error)}] * len(case.asks)
    except Exception as error:  # noqa: BLE001 -- one case is not the end of the table
        return [{"broken": f"{type(error).__name__}: {error}"}] * len(case.asks)
