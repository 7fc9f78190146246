"""
The same ids through Airflow's own four backends and through ours, in one process of real Airflow.

Entries are invented, and kept in each place as Airflow keeps them. Both are asked as Airflow asks: the class
makes the connection of that process, core or Task SDK. They give equal ones, or ours is refused by a number
of docs/compatibility.md. `tests/parity` compares what lies below; this is what a task gets.
"""

from __future__ import annotations

import json
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from parity.generate import FIELDS, NAME, TEXT, WORD
from parity.test_generated import is_in_an_environment
from parts.openbao import Dev, shared

SCRIPT = """
import json, os
from stage import caught
import airflow
from airflow.models import Connection, Variable
from airflow.secrets.environment_variables import EnvironmentVariablesBackend
from airflow.secrets.local_filesystem import LocalFilesystemBackend
from airflow.secrets.metastore import MetastoreBackend
from airflow.utils.session import create_session
from strongroom.airflow import StrongroomBackend
from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection as Ours
from strongroom.model.document import connection_of

given = json.loads(open(os.environ["GIVEN"]).read())
FIELDS = ("conn_type", "description", "host", "login", "password", "schema", "port", "extra_dejson")
IS_3 = airflow.__version__.startswith("3")
CLASSES = {"core": Connection}
if IS_3:
    from airflow.sdk import Connection as TaskConnection
    from airflow.providers.hashicorp.secrets.vault import VaultBackend
    CLASSES["sdk"] = TaskConnection

def shown(found):
    if found is None or isinstance(found, str):
        return found
    # '' and None are one to what uses them, and 2 and the core hold no empty password.
    fields = {name: getattr(found, name) for name in FIELDS}
    return {name: value for name, value in fields.items() if value not in (None, "", {})}

def rule(text, dialect):
    try:
        Ours.parse(text, dialect) if isinstance(text, str) else connection_of("it", text, dialect)
    except InvalidInputError as error:
        return error.rule
    return None

def compare(place, theirs, ours, connections, variables):
    for dialect, kind in CLASSES.items():
        if IS_3:
            theirs._set_connection_class(kind)
            ours._set_connection_class(kind)
        counts, wrong = {"equal": 0, "refused": 0}, []
        for name, text in connections.items():
            one = caught(lambda: shown(theirs.get_connection(name)))
            other = caught(lambda: shown(ours.get_connection(name)))
            number = rule(text, dialect if IS_3 else "sdk")
            if number is not None:
                counts["refused"] += 1
                if other.get("error") != "InvalidError":
                    wrong.append([name, text, number, one, other])
            elif json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True):
                counts["equal"] += 1
            else:
                wrong.append([name, text, None, one, other])
        for name in variables:
            one, other = caught(theirs.get_variable, name), caught(ours.get_variable, name)
            if one != other:
                wrong.append([name, variables[name], "variable", one, other])
        tell(**{f"{place} {dialect}": {"counts": counts, "wrong": wrong[:5], "how_many": len(wrong)}})

# --- the environment -----------------------------------------------------------------------------------
def upper(entries):
    return {name.upper(): name for name in entries}.values()

env = {name: given["texts"][name] for name in upper(given["texts"])}
variables = {name: given["variables"][name] for name in upper(given["variables"])}
for name, text in env.items():
    os.environ[f"AIRFLOW_CONN_{name.upper()}"] = text
for name, text in variables.items():
    os.environ[f"AIRFLOW_VAR_{name.upper()}"] = text
compare("env", EnvironmentVariablesBackend(), StrongroomBackend(chain="env"), env, variables)
for name in [name for name in os.environ if name.startswith(("AIRFLOW_CONN_", "AIRFLOW_VAR_"))]:
    del os.environ[name]

# --- files ---------------------------------------------------------------------------------------------
paths = {"connections_file_path": f"{HOME}/connections.json", "variables_file_path": f"{HOME}/variables.json"}
# One that is none is the end of the whole file in Airflow (B8), and JSON as text is read as a URI (B7).
objects = {name: one for name, one in given["objects"].items() if rule(one, "core") is None}
# It makes every connection of the file twice for each that is asked for.
few = dict(list(objects.items())[:40])
for path, entries in zip(paths.values(), (few, given["variables"])):
    with open(path, "w") as out:
        json.dump(entries, out)
    os.chmod(path, 0o600)
if IS_3:
    # It makes the core's connections whatever it is told.
    CLASSES = {"core": Connection}
compare(
    "file",
    LocalFilesystemBackend(**paths),
    StrongroomBackend(chain=[{"kind": "file", **paths}]),
    few,
    given["variables"],
)

# --- the database --------------------------------------------------------------------------------------
rows = {}
with create_session() as session:
    for name, one in objects.items():
        if rule(one, "core") is None:
            fields = dict(one)
            if "extra" in fields:
                fields["extra"] = json.dumps(fields["extra"])
            row = Connection(conn_id=name, **fields)
            if row.conn_id == name:
                session.add(row)
                rows[name] = one
    for name, text in given["variables"].items():
        session.add(Variable(key=name, val=text))
metastore = StrongroomBackend(chain=[{"kind": "airflow_metastore"}])
compare("metastore", MetastoreBackend(), metastore, rows, given["variables"])

# --- OpenBao -------------------------------------------------------------------------------------------
if IS_3:
    CLASSES["sdk"] = TaskConnection
    options = {"url": given["vault"]["url"], "mount_point": given["vault"]["mount"]}
    theirs = VaultBackend(**options, token=given["vault"]["token"])
    os.environ["TOKEN_OF_TESTS"] = given["vault"]["token"]
    options["token"] = {"env": "TOKEN_OF_TESTS"}
    ours = StrongroomBackend(chain=["vault"], backend={"vault": options})
    compare("vault", theirs, ours, given["kept"], given["kept_variables"])
"""
MANY = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def invented(values, names=NAME):
    """Give many entries: names, and what *values* makes up."""
    found = {}

    @MANY
    @given(st.dictionaries(names, values, min_size=6, max_size=12))
    def gather(some):
        found.update(some)

    gather()
    return found


def kept_in(server, entries):
    """Keep in OpenBao what it takes the names of, and tell where."""
    mount = server.mount()
    kept = {"kept": {}, "kept_variables": {}}
    wanted = (
        ("kept", "connections", "conn_uri", "texts"),
        ("kept_variables", "variables", "value", "variables"),
    )
    for key, folder, field, source in wanted:
        for name, value in entries[source].items():
            if name.isascii() and not set(name) & set("#?%*+ :"):
                server.put(mount, f"{folder}/{name}", {field: value})
                kept[key][name] = value
    token = server.token(server.policy(f'path "{mount}/*" {{ capabilities = ["read"] }}'))
    return {**kept, "vault": {"url": server.url, "mount": mount, "token": token}}


def asked(inside):
    """Give what one process of Airflow got from its backends and from ours."""

    def make(folder):
        entries = {
            "texts": invented(TEXT, NAME.filter(is_in_an_environment)),
            "variables": invented(WORD, NAME.filter(is_in_an_environment)),
            "objects": invented(FIELDS),
        }
        environ = {"GIVEN": str(folder / "given.json"), "STRONGROOM_HOME": str(folder / "ours")}
        with ExitStack() as stack:
            if inside.version == 3:  # the provider for 2 is older than what tests/parity knows
                entries |= kept_in(stack.enter_context(shared(Dev)), entries)
            (folder / "given.json").write_text(json.dumps(entries))
            return inside.run(folder, SCRIPT, environ=environ)

    return inside.once("same", make)


@pytest.fixture(scope="session")
def same(inside):
    return asked(inside)


@pytest.fixture(scope="session")
def same3(airflow):
    return asked(airflow(3))


@pytest.mark.parametrize("place", ["env core", "file core", "metastore core"])
def test_airflows_backend_and_ours_give_equal_connections_or_a_numbered_refusal(same, place):
    told = same.told[place]
    assert told["how_many"] == 0, json.dumps(told["wrong"], indent=1)
    assert told["counts"]["equal"] > 30


@pytest.mark.parametrize("place", ["env sdk", "vault core", "vault sdk"])
def test_so_they_do_for_tasks_and_over_openbao(same3, place):
    told = same3.told[place]
    assert told["how_many"] == 0, json.dumps(told["wrong"], indent=1)
    assert told["counts"]["equal"] > 20
