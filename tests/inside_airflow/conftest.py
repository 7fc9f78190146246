"""The fixtures `airflow` and `inside`; place.py tells how they are used."""

from __future__ import annotations

import os

import pytest

from inside_airflow.place import VERSIONS, Place


@pytest.fixture(scope="session")
def airflow(tmp_path_factory):
    """Give a function from 3 or 2 to that version's `Place`."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # which all workers share
    places = {}

    def place(version):
        if version not in places:
            places[version] = Place(version, base / "inside-airflow")
        return places[version]

    return place


@pytest.fixture(scope="session", params=VERSIONS, ids=[f"airflow{version}" for version in VERSIONS])
def inside(airflow, request):
    """Give the `Place` of each version in turn."""
    return airflow(request.param)
