"""`strongroom airflow import`, beyond its transcript."""

import json

import pytest
from cryptography.fernet import Fernet

from cli_shell import Shell
from parts.databases import Metadata
from strongroom.testing.contract import CANARY

KEY = Fernet.generate_key().decode()
IMPORT = "airflow import --database {path} --fernet-key-env KEY"


@pytest.fixture
def shell(tmp_path):
    made = Shell.with_room(tmp_path)
    made.environ["KEY"] = KEY
    return made


@pytest.fixture
def metadata(tmp_path):
    return Metadata("sqlite", tmp_path)


def sealed(text):
    return Fernet(KEY).encrypt(text.encode()).decode()


def variable(name, text, **columns):
    return {"key": name, "val": sealed(text), "is_encrypted": True, **columns}


def connection(name, **columns):
    flags = {"is_encrypted": False, "is_extra_encrypted": False}
    return {"conn_id": name, "conn_type": "http", **flags, **columns}


def brought(shell, metadata, more=""):
    return shell(f"{IMPORT.format(path=metadata.path)} {more}")


def test_teams_descriptions_and_types_are_kept(shell, metadata):
    metadata.put("variable", [variable("region", "eu", team_name="data", description="where")])
    metadata.put("connection", [connection("api", host="h", description="the api")])
    assert brought(shell, metadata).code == 0
    assert shell("read --variable region").code == 3
    assert shell("read --variable region --team data").out == "eu"
    shown = json.loads(shell("connections get api --output json").out)
    assert (shown["conn_type"], shown["description"]) == ("http", "the api")


def test_team_of_the_command_is_for_what_has_none(shell, metadata):
    metadata.put("variable", [variable("region", "eu", team_name="data"), variable("zone", "1")])
    assert brought(shell, metadata, "--team web").code == 0
    assert shell("read --variable region --team data").out == "eu"
    assert shell("read --variable zone --team web").out == "1"
    assert shell("read --variable zone").code == 3


def test_one_bad_row_keeps_all_out_unless_told_to_go_on(shell, metadata):
    metadata.put("variable", [variable("region", "eu"), {**variable("bad", ""), "val": CANARY}])
    metadata.put("connection", [connection("api", password=CANARY)])
    refused = brought(shell, metadata)
    assert refused.code == 2
    assert "1 of 3 entries refused; nothing was imported" in refused.err
    assert shell("read --variable region").code == 3
    going = brought(shell, metadata, "--keep-going --output json")
    assert shell("read --variable region").out == "eu"
    facts = json.loads(going.out)
    assert facts["connections"]["states"] == {"plain text": 1}
    assert facts["variables"]["states"] == {"not a token": 1, "ok": 1}
    assert CANARY not in f"{refused.out}{refused.err}{going.out}{going.err}"


def test_trial_run_promises_nothing_that_the_import_would_not_do(shell, metadata):
    metadata.put("connection", [connection("bad", port=99999), connection("good")])
    told = brought(shell, metadata, "--dry-run").out
    assert "1 connection and 0 variables would be imported with --keep-going, 1 refused" in told
    told = brought(shell, metadata, "--dry-run --keep-going").out
    assert "1 connection and 0 variables would be imported, 1 refused" in told
    brought(shell, metadata, "--keep-going")
    assert "1 of 2 entries refused; nothing was imported" in brought(shell, metadata, "--keep-going").err


def test_plain_text_is_brought_in_and_counted(shell, metadata):
    metadata.put("connection", [connection("api", password="p"), connection("bare")])
    done = brought(shell, metadata)
    assert "2 connections and 0 variables imported, 1 stand in plain text in Airflow's database" in done.out


def test_names_that_are_not_legal_are_offered_for_renaming(shell, metadata):
    metadata.put("variable", [variable("/a", "1"), variable("b", "2")])
    metadata.put("connection", [connection("/a", host="h")])
    refused = brought(shell, metadata)
    assert refused.code == 2
    assert "--rename" in refused.err
    assert brought(shell, metadata, "--rename-suggested --dry-run").code == 0
    assert brought(shell, metadata, "--rename /a=c").code == 0
    assert shell("read --variable c").out == "1"
    assert json.loads(shell("connections get c --output json").out)["host"] == "h"


def test_name_that_is_illegal_in_both_kinds_gets_one_that_is_free_in_both(shell, metadata):
    metadata.put("connection", [connection("a\\b"), connection("a_b")])
    metadata.put("variable", [variable("a\\b", "v")])
    told = brought(shell, metadata, "--rename-suggested").out
    assert "2 connections and 1 variable imported, 2 renamed" in told
    assert "a_b_2" in shell("variables get a_b_2").out


def test_what_is_held_is_skipped_overwritten_or_refused(shell, metadata):
    metadata.put("variable", [variable("region", "eu"), variable("zone", "1")])
    shell("variables set region --value-file -", stdin="here")
    assert brought(shell, metadata, "--on-existing fail").code == 2
    assert shell("read --variable zone").code == 3
    assert "1 skipped" in brought(shell, metadata).out
    assert shell("read --variable region").out == "here"
    assert brought(shell, metadata, "--overwrite").code == 2
    assert brought(shell, metadata, "--overwrite --yes").code == 0
    assert shell("read --variable region").out == "eu"


def test_database_in_the_chain_does_not_count_as_holding(shell, metadata):
    metadata.put("variable", [variable("region", "eu")])
    (shell.folder / "strongroom.toml").write_text(
        'chain = ["metastore", "native"]\n[backend.metastore]\nkind = "airflow_metastore"\n'
        f'path = "{metadata.path}"\nfernet_key = {{ env = "KEY" }}\n'
    )
    shell.environ["STRONGROOM_CONFIG"] = "strongroom.toml"
    assert "1 variable imported" in brought(shell, metadata).out
    metadata.remove("variable", "region")
    assert shell("read --variable region").out == "eu"


def test_three_stars_in_a_database_are_a_value(shell, metadata):
    metadata.put("variable", [variable("stars", "***")])
    shell("variables set stars --value-file -", stdin="here")
    assert brought(shell, metadata, "--overwrite --yes").code == 0
    assert shell("read --variable stars").out == "***"


def test_url_and_keys_come_from_files_or_stdin_only(shell, metadata):
    metadata.put("variable", [variable("region", "eu")])
    (shell.folder / "key").write_text(f"{Fernet.generate_key().decode()},{KEY}\n")
    done = shell("airflow import --database-url-file - --fernet-key-file key", stdin=f"{metadata.url}\n")
    assert done.code == 0
    assert shell("read --variable region").out == "eu"
    assert shell("airflow import --database-url-file - --fernet-key-file -").code == 2


def test_airflow_of_the_environment_is_found(shell, metadata):
    metadata.put("variable", [variable("region", "eu")])
    (shell.folder / "airflow.cfg").write_text(
        f"[database]\nsql_alchemy_conn = {metadata.url}\n[core]\nfernet_key = {KEY}\n"
    )
    assert shell("airflow import", AIRFLOW_HOME=str(shell.folder)).code == 0
    assert shell("read --variable region").out == "eu"
