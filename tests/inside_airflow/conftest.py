"""The fixtures `airflow` and `inside`; place.py tells how they are used."""

from __future__ import annotations

import pytest

from inside_airflow.place import VERSIONS, place_in

# Modules whose runs differ least between the versions: in Airflow 2 they are trials, since a start costs
# seconds. In the suite it proves that two settings plug us in and what is read then by tasks, templates and
# commands (in test_backend, test_dags and test_environment), what is written (test_writing), what is masked
# and what leaks (test_masks, test_leaks), that the provider is listed, and its hook (test_provider).
_TRIALS_IN_2 = {
    f"test_{name}.py"
    for name in (
        "aws_fields",
        "context",
        "examples",
        "hooks",
        "lifetimes",
        "moving",
        "plugin",
        "same",
        "served",
        "testing",
    )
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if params.get("inside") == 2 and item.path.name in _TRIALS_IN_2:
            item.add_marker(pytest.mark.trial)


@pytest.fixture(scope="session")
def airflow(tmp_path_factory):
    """Give a function from 3 or 2 to that version's `Place`."""
    places = {}

    def place(version):
        if version not in places:
            places[version] = place_in(tmp_path_factory, version)
        return places[version]

    yield place
    for one in places.values():
        one.close()


@pytest.fixture(scope="session", params=VERSIONS, ids=[f"airflow{version}" for version in VERSIONS])
def inside(airflow, request):
    """Give the `Place` of each version in turn."""
    return airflow(request.param)
