"""What the tests of Airflow's API stand on; each of these starts once for a worker."""

from __future__ import annotations

import pytest

from airflow_api.places import PASSWORD, Airflow, Client, Strongroom
from inside_airflow.place import place_in

ROLES = ("admin", "op", "user", "viewer", "reader")


def issued(served, name, *roles, scope=None, at="", by=None):
    """Issue a token over HTTP, which is quicker than a process."""
    asked = {"name": name, "roles": [{"name": role} for role in roles], "scope": scope}
    answer = served.ask("POST", f"{at}/v1/tokens", asked, token=by or served.tokens["admin"])
    assert answer.status == 201, answer.body
    return answer.json()["token"]


@pytest.fixture(scope="session")
def strongroom(tmp_path_factory):
    served = Strongroom(tmp_path_factory.mktemp("served"))
    try:
        served.tokens = {"admin": served.token("a-admin", "admin")}
        for role in ROLES[1:]:
            served.tokens[role] = issued(served, f"a-{role}", role)
        for role in ("admin", "op", "viewer"):
            person = {"name": role, "password": PASSWORD, "roles": [{"name": role}]}
            assert served.ask("POST", "/v1/actors", person, token=served.tokens["admin"]).status == 201
        yield served
    finally:
        served.close()


@pytest.fixture(scope="session")
def client3(tmp_path_factory):
    client = Client(
        ".venv-airflow3-client", "the client of Airflow 3", "ask3.py", tmp_path_factory.mktemp("client3")
    )
    yield client
    client.close()


@pytest.fixture(scope="session")
def client2(tmp_path_factory):
    client = Client(
        ".venv-airflow2-client", "the client of Airflow 2", "ask2.py", tmp_path_factory.mktemp("client2")
    )
    yield client
    client.close()


@pytest.fixture(scope="session")
def airflow(tmp_path_factory):
    inside = place_in(tmp_path_factory, 3)
    place = Airflow(inside, inside.home(tmp_path_factory.mktemp("airflow")))
    yield place
    place.close()
    inside.close()
