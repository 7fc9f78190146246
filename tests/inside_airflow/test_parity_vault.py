"""The backend `vault` beside Airflow's VaultBackend: tests/parity's table in Airflow 2, and logins in 3."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest

from inside_airflow.both import both, wrong
from parity import test_vault
from parts.openbao import Dev, shared

# Airflow 2 knows no teams, and no folder of theirs.
OF_2 = [
    replace(case, asks=asks)
    for case in test_vault.CASES
    if "team" not in case.said
    and case.said != test_vault.REFUSES_FOLDERS
    and (asks := [ask for ask in case.asks if ask[2] is None])
]


@contextmanager
def stocked(folder, cases):
    with shared(Dev) as server:
        made = test_vault.made_in(server, folder)
        # Of a URI's query Airflow 2 reads what tasks of Airflow 3 read.
        yield [replace(made.of(case), dialect="sdk") for case in cases]


@pytest.fixture(scope="session")
def told2(airflow):
    return both(airflow(2), "vault", lambda folder: stocked(folder, OF_2))


@pytest.mark.parametrize("said", [case.said for case in OF_2])
def test_vault_reads_as_in_airflow_2_or_differs_by_number(told2, said):
    assert wrong(told2, said) == []
