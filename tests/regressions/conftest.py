from __future__ import annotations

import pytest

from parts.api import SETTINGS, Asking
from parts.server import serving


@pytest.fixture(scope="session")
def every(tmp_path_factory):
    """One server of every API, asked as each of the roles; each test uses names of its own."""
    bad = {"AIRFLOW_CONN_BAD_URI": "postgres://u:c4n4ry-Zq8@h:port/db"}
    with serving(tmp_path_factory.mktemp("regressions"), SETTINGS, environ=bad) as server:
        yield Asking(server)
