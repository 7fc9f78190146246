"""The fixtures `airflow` and `inside`; place.py tells how they are used."""

from __future__ import annotations

import pytest

from inside_airflow.place import VERSIONS, place_in


@pytest.fixture(scope="session")
def airflow(tmp_path_factory):
    """Give a function from 3 or 2 to that version's `Place`."""
    places = {}

    def place(version):
        if version not in places:
            places[version] = place_in(tmp_path_factory, version)
        return places[version]

    return place


@pytest.fixture(scope="session", params=VERSIONS, ids=[f"airflow{version}" for version in VERSIONS])
def inside(airflow, request):
    """Give the `Place` of each version in turn."""
    return airflow(request.param)
