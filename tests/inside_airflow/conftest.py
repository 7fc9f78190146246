"""The fixtures `airflow` and `inside`; place.py tells how they are used."""

from __future__ import annotations

import pytest

from inside_airflow.place import VERSIONS, place_in

# Modules and tests whose runs differ least between the versions: in Airflow 2 they are trials, since a start
# costs seconds. In the suite it proves that two settings plug us in and what is read then by tasks, templates
# and commands (in test_backend, test_dags and test_environment), what is written (test_writing), what is
# masked and what leaks (test_masks, test_leaks), that the provider is listed, and its hook (test_provider).
_TRIALS_IN_2 = {
    "test_aws_fields.py",
    "test_context.py",
    "test_examples.py",
    "test_hooks.py",
    "test_lifetimes.py",
    "test_moving.py",
    "test_plugin.py",
    "test_same.py",
    "test_served.py",
    "test_testing.py",
    "test_a_process_that_may_open_nothing_more_gets_no_other_backends_value",
    "test_in_shadow_mode_an_environment_that_is_wrong_for_ours_stops_nobody",
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        if params.get("inside") == 2 and _TRIALS_IN_2.intersection((item.path.name, item.originalname)):
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
