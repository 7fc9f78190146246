"""What the public face and the hook hand out inside real Airflow 3 and 2 is hidden from its logs first."""

from __future__ import annotations

import json

import pytest

SCRIPT = """
import asyncio, json
if VERSION == 3:
    import airflow.settings
    from airflow.sdk._shared import secrets_masker as module
    from airflow.configuration import ensure_secrets_loaded
else:
    from airflow import settings
    settings.initialize()
    from airflow.utils.log import secrets_masker as module
    from airflow.configuration import ensure_secrets_loaded
ensure_secrets_loaded()  # whoever reads anything of Airflow's has had our backend made
import strongroom
from strongroom.airflow import StrongroomHook, hiding
from strongroom.model.connection import Connection
from strongroom.model.secret import Secret

def look(text):
    return module.redact(f"<{text}>")

hook = StrongroomHook()
ways = {
    "variable": lambda: strongroom.variable("variable"),
    "json": lambda: strongroom.variable("json", json=True)["token"],
    "avariable": lambda: asyncio.run(strongroom.avariable("avariable")),
    "connection": lambda: strongroom.connection("connection").password.reveal(),
    "aconnection": lambda: asyncio.run(strongroom.aconnection("aconnection")).password.reveal(),
    "follow": lambda: strongroom.follow("follow", kind="variable").current.secret.reveal(),
    "hook_variable": lambda: hook.variable("hook_variable"),
    "hook_connection": lambda: hook.connection("hook_connection").password.reveal(),
    "hook_follow": lambda: hook.follow("hook_follow", kind="variable").current.secret.reveal(),
}
for way, read in ways.items():
    tell(**{way: [look(secret_of(way)), read() == secret_of(way), look(secret_of(way))]})

def written(write, value):
    try:
        write("one", value)
    except strongroom.errors.StrongroomError as error:
        return type(error).__name__, look(SECRETS["written"].format(value=type(value).__name__))

values = [
    SECRETS["written"].format(value="str"),
    Secret(SECRETS["written"].format(value="Secret")),
    Connection(conn_type="http", password=Secret(SECRETS["written"].format(value="Connection"))),
]
tell(write=[written(strongroom.write, value) for value in values])
change = hiding.hiding("variable", "one", lambda text: "is new: 4711")
tell(change=[change("stood before: 42"), look("stood before: 42"), look("is new: 4711")])
"""
VARIABLES = ("variable", "json", "avariable", "follow", "hook_variable", "hook_follow")
CONNECTIONS = ("connection", "aconnection", "hook_connection")
WRITTEN = "written as a {value}!"
HIDDEN = "<***>"


def secret_of(way):
    return f"handed out by {way}: s3cret"


@pytest.fixture(scope="session")
def told(inside):
    def make(folder):
        variables = {way: secret_of(way) for way in VARIABLES}
        variables["json"] = json.dumps({"token": secret_of("json")})
        connections = {way: {"conn_type": "http", "password": secret_of(way)} for way in CONNECTIONS}
        backend = {"kind": "file"}
        for name, held in (("variables", variables), ("connections", connections)):
            file = folder / f"{name}.json"
            file.touch(mode=0o600)
            file.write_text(json.dumps(held))
            backend[name] = str(file)
        script = (
            f"VERSION = {inside.version}\nSECRETS = {{'written': {WRITTEN!r}}}\n"
            'secret_of = "handed out by {}: s3cret".format\n' + SCRIPT
        )
        return inside.run(folder, script, environ=inside.backend(chain=["kept"], backend={"kept": backend}))

    return inside.once("hiding", make).told


@pytest.mark.parametrize("way", [*VARIABLES, *CONNECTIONS])
def test_what_is_handed_out_is_hidden_from_then_on(told, way):
    assert told[way] == [f"<{secret_of(way)}>", True, HIDDEN]


def test_what_is_to_be_written_is_hidden_even_where_it_is_refused(told):
    assert told["write"] == [["ReadOnlyError", HIDDEN]] * 3


def test_a_change_hides_what_it_is_given_and_what_it_gives(told):
    assert told["change"] == ["is new: 4711", HIDDEN, HIDDEN]
