"""The fixtures `airflow` and `inside`; place.py tells how they are used."""

from __future__ import annotations

import pytest

from inside_airflow.place import VERSIONS, place_in

# Runs of which Airflow 2 differs least from Airflow 3: there they are trials, since a start costs seconds.
_TRIALS_IN_2 = {"hooked", "laptop"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if params.get("inside") == 2 and _TRIALS_IN_2.intersection(item.fixturenames):
            item.add_marker(pytest.mark.trial)


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
