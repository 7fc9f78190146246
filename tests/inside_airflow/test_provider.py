"""What the provider manager shows of us, the form of a connection, and the hook at a place of its own."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from parts.server import serving

SECRET = "of the server: p@ss/word"
SCRIPT = """
import importlib.metadata, json, os
import airflow
from airflow.providers_manager import ProvidersManager

manager = ProvidersManager()
tell(
    secrets=[str(one) for one in manager.secrets_backend_class_names],
    notifications=sorted(
        name for name in (str(getattr(one, "notification_class_name", one)) for one in manager.notification)
        if name.startswith("strongroom")
    ),
    package=manager.providers["strongroom"].data["package-name"],
    version=[manager.providers["strongroom"].version, importlib.metadata.version("strongroom")],
)
hook = manager.hooks["strongroom"]
tell(hook=[hook.hook_class_name, hook.hook_name, hook.connection_id_attribute_name])
tell(
    widgets=sorted(name for name in manager.connection_form_widgets if name.startswith("extra__strongroom")),
    behaviour=manager.field_behaviours["strongroom"],
)

from airflow.models import Connection
here = Connection(
    conn_id="here", conn_type="strongroom", host=os.environ["PLACE"], password=os.environ["OF_THE_PLACE"]
)
wrong = Connection(conn_id="wrong", conn_type="strongroom", host=os.environ["PLACE"], password="srm_nobody")
away = Connection(conn_id="away", conn_type="strongroom", extra=json.dumps({"socket": "/nowhere/agent.sock"}))
odd = Connection(conn_id="odd", conn_type="strongroom", host="ftp://nowhere")
for connection in (here, wrong, away, odd):
    os.environ[f"AIRFLOW_CONN_{connection.conn_id.upper()}"] = json.dumps(
        {
            "conn_type": "strongroom", "host": connection.host, "password": connection.password,
            "extra": connection.extra_dejson,
        }
    )

from strongroom.airflow import StrongroomHook
tell(tested={name: StrongroomHook(name).test_connection() for name in ("here", "wrong", "away", "odd")})
hook = StrongroomHook("here")
tell(
    read=hook.variable("region"),
    written=hook.write("held", {"a": [1]}, expires_in=3600).backend,
    held=hook.variable("held", json=True),
    updated=hook.update("count", lambda text: str(int(text or 0) + 1)),
    nothing=hook.variable("nowhere", default="nothing"),
    unsayable=caught(hook.write, "odd", object()),
    expiring=[str(one) for one in hook.expiring()],
    made=type(airflow.models.Connection.get_connection_from_secrets("here").get_hook()).__name__,
)
with hook.follow("region", kind="variable") as following:
    tell(followed=following.current.version is not None)
"""


@pytest.fixture(scope="session")
def provided(inside):
    def make(folder):
        served = folder / "server"
        served.mkdir()
        with serving(served) as server:
            token = server.token("hook", "admin")
            entries = server.house.deployment().root.entries
            from strongroom.model.ref import Ref  # noqa: PLC0415 -- of the fixture alone
            from strongroom.model.secret import Secret  # noqa: PLC0415 -- as above
            from strongroom.service.entries import Change  # noqa: PLC0415 -- as above

            entries.write(Change(ref=Ref("variable", "region"), secret=Secret(SECRET)))
            environ = {"PLACE": server.address, "OF_THE_PLACE": token}
            return inside.run(folder, SCRIPT, environ=environ).keep(token=token)

    return inside.once("provider", make)


def test_the_provider_brings_backend_notifier_and_connection_type(provided):
    told = provided.told
    assert "strongroom.airflow.backend.StrongroomBackend" in told["secrets"]
    assert told["notifications"] == ["strongroom.airflow.notifier.StrongroomNotifier"]
    assert told["package"] == "strongroom"
    assert told["version"][0] == told["version"][1]
    assert told["hook"] == ["strongroom.airflow.hook.StrongroomHook", "Strongroom", "strongroom_conn_id"]


def test_the_form_has_our_fields_in_both_versions(provided):
    fields = ["ca", "deployment", "socket", "token_file"]
    assert provided.told["widgets"] == [f"extra__strongroom__{name}" for name in fields]
    behaviour = {key.replace("-", "_"): value for key, value in provided.told["behaviour"].items()}
    assert behaviour["relabeling"] == {"host": "Server", "password": "Token"}
    assert set(behaviour["hidden_fields"]) == {"schema", "login", "port", "extra"}


def test_the_test_of_a_connection_tells_whether_its_place_answers(provided):
    tested = provided.told["tested"]
    assert tested["here"][0] is True
    assert [tested[name][0] for name in ("wrong", "away", "odd")] == [False] * 3
    assert "/nowhere/agent.sock" in tested["away"][1]
    assert "srm_nobody" not in json.dumps(tested)


def test_the_hook_reads_writes_updates_and_follows_at_its_place(provided):
    told = provided.told
    assert told["read"] == SECRET
    assert told["held"] == {"a": [1]}
    assert told["updated"] == "1"
    assert told["nothing"] == "nothing"
    assert told["unsayable"]["error"] == "InvalidInputError"
    assert told["made"] == "StrongroomHook"
    assert told["followed"] is True


def test_the_hook_tells_what_expires_without_a_value(provided):
    (line,) = provided.told["expiring"]
    assert line.startswith('variable "held" in ')
    assert ": expires 20" in line


def test_the_command_lists_the_backend_and_the_hook(airflow, tmp_path):
    for version in (3, 2):
        folder = tmp_path / str(version)
        folder.mkdir()
        listed = airflow(version).command(folder, "providers", "secrets", "--output", "plain")
        assert "strongroom.airflow.backend.StrongroomBackend" in listed.out, listed.told_of_itself()


def test_what_the_provider_manager_loads_imports_nothing():
    program = """
import sys
before = set(sys.modules)
from strongroom.airflow.provider import get_provider_info
info = get_provider_info()
assert info["package-name"] == "strongroom"
print(*sorted(set(sys.modules) - before))
"""
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert loaded.split() == [
        "__future__",
        "strongroom",
        "strongroom.airflow",
        "strongroom.airflow.provider",
        "strongroom.errors",
    ]


def test_our_class_can_be_imported_before_an_airflow_that_is_to_ask_it(inside, tmp_path):
    script = """
    import sys
    tell(is_first="airflow" not in sys.modules)
    from strongroom.airflow import StrongroomBackend
    tell(module=StrongroomBackend.__module__)
    """
    ran = inside.run(tmp_path, script, environ=inside.backend(chain=["env"]))
    assert ran.told == {"is_first": True, "module": "strongroom.airflow.backend"}
