"""One real Airflow a worker, asked by every test of this folder."""

from __future__ import annotations

import pytest

from parity.peer import Airflow, require_airflow


@pytest.fixture(scope="session")
def airflow(tmp_path_factory):
    require_airflow()
    airflow = Airflow(tmp_path_factory.mktemp("airflow"))
    yield airflow
    airflow.close()
