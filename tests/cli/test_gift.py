"""What `strongroom run` hands over, and what it keeps back; no process is started here."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from strongroom.cli.gift import Gift, inherited, own_credentials, plan, read_values
from strongroom.errors import InvalidInputError, NotFoundError
from strongroom.model.connection import Connection
from strongroom.model.entry import Entry
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.settings import SecretSource, load

ORDERS = json.dumps(
    {
        "conn_type": "postgres",
        "host": "db.example.com",
        "login": "ana",
        "password": "s3cr@tPass",
        "port": 5432,
        "extra": {"region": "eu-west-1", "a.b": {"c": [1, {"d": True}]}, "none": None, "list": ["x"]},
    }
)


class Lookup:
    """Holds entries by Ref; a team without one of its own gets the global one."""

    def __init__(self, texts: dict[Ref, str]) -> None:
        self.texts = texts

    def entry(self, ref: Ref) -> Entry:
        for asked in (ref, Ref(ref.kind, ref.name)):
            if asked in self.texts:
                now = datetime(2026, 11, 21, tzinfo=timezone.utc)
                return Entry(ref=asked, secret=Secret(self.texts[asked]), backend="fake", read_at=now)
        raise NotFoundError(f"{ref} is in no backend")

    def referenced(self, ref: Ref) -> tuple[Secret[str], ...]:
        return ()

    def connection(self, name: str, team: str | None = None) -> Connection:
        return Connection.parse(self.entry(Ref("connection", name, team)).secret.reveal())


LOOKUP = Lookup(
    {
        Ref("connection", "orders_db"): ORDERS,
        Ref("connection", "a.b"): ORDERS,
        Ref("variable", "region"): "eu-west-1",
        Ref("variable", "tree"): '{"inner": ["text of a leaf"], "n": 1}',
        Ref("variable", "nul"): "a\0b",
    }
)


def given(assignment: str) -> str:
    (gift,) = plan([], [assignment], team=None, is_files=False)
    return read_values([gift], LOOKUP).texts[gift.place].reveal()


def places(*refs: Ref, is_files: bool = False) -> list[str]:
    return [gift.place for gift in plan(refs, [], team=None, is_files=is_files)]


# --- planning ----------------------------------------------------------------------------------


def test_entries_get_the_names_that_airflow_reads():
    assert places(Ref("connection", "orders_db"), Ref("variable", "Region_1")) == [
        "AIRFLOW_CONN_ORDERS_DB",
        "AIRFLOW_VAR_REGION_1",
    ]


def test_an_entry_asked_for_twice_is_given_once():
    assert places(Ref("variable", "region"), Ref("variable", "region")) == ["AIRFLOW_VAR_REGION"]


def test_two_names_that_meet_in_upper_case_are_refused_and_both_named():
    with pytest.raises(InvalidInputError) as caught:
        places(Ref("connection", "orders_db"), Ref("connection", "Orders_DB"))
    assert 'connection "orders_db" and connection "Orders_DB" would both be AIRFLOW_CONN_ORDERS_DB' in str(
        caught.value
    )
    assert "--as" in caught.value.hint


def test_two_names_that_meet_in_upper_case_are_two_files():
    refs = [Ref("connection", "orders_db"), Ref("connection", "Orders_DB")]
    assert places(*refs, is_files=True) == ["connections/orders_db", "connections/Orders_DB"]


def test_an_assignment_that_meets_an_entry_is_refused():
    with pytest.raises(InvalidInputError, match="would both be AIRFLOW_VAR_REGION"):
        plan(
            [Ref("variable", "region")],
            ["AIRFLOW_VAR_REGION=orders_db.host"],
            team=None,
            is_files=False,
        )


def test_a_name_is_spelled_in_upper_case_and_not_otherwise_changed():
    refs = [Ref("connection", name) for name in ("my-conn", "a/b", "a b", "aws_2.v2", "größe")]
    assert [place.removeprefix("AIRFLOW_CONN_") for place in places(*refs)] == [
        "MY-CONN",
        "A/B",
        "A B",
        "AWS_2.V2",
        "GRÖSSE",
    ]


def test_two_names_that_meet_beyond_ascii_are_refused():
    with pytest.raises(InvalidInputError, match="would both be AIRFLOW_CONN_STRASSE"):
        places(Ref("connection", "straße"), Ref("connection", "strasse"))


@pytest.mark.parametrize("name", ["a=b"])
def test_a_name_no_variable_can_have_is_refused_by_name_with_what_to_type(name):
    with pytest.raises(InvalidInputError) as caught:
        places(Ref("connection", name))
    assert f'connection "{name}"' in str(caught.value)
    assert f"NAME=connection/{name}" in caught.value.hint
    assert "--files" in caught.value.hint


def test_file_names_keep_the_name_and_never_leave_their_folder():
    refs = [Ref("connection", "a/b"), Ref("connection", "a%2Fb"), Ref("variable", "my var")]
    assert places(*refs, is_files=True) == ["connections/a%2Fb", "connections/a%252Fb", "variables/my var"]


def test_a_name_too_long_for_a_file_is_refused():
    with pytest.raises(InvalidInputError, match="too long for a file"):
        places(Ref("variable", "ü" * 128), is_files=True)


@pytest.mark.parametrize("assignment", ["PGPASSWORD", "=orders_db.password", "1A=a.host", "A-B=a.host"])
def test_a_malformed_assignment_is_refused_with_an_example(assignment):
    with pytest.raises(InvalidInputError) as caught:
        plan([], [assignment], team=None, is_files=False)
    assert "PGPASSWORD=orders_db.password" in caught.value.hint


@pytest.mark.parametrize(
    "source", ["orders_db", "orders_db.", "orders_db.pass", "orders_db.extra.", ".host", ""]
)
def test_a_source_without_a_field_of_connections_is_refused(source):
    with pytest.raises(InvalidInputError):
        plan([], [f"A={source}"], team=None, is_files=False)


def test_a_variable_has_no_fields():
    with pytest.raises(InvalidInputError, match="a variable has no fields"):
        plan([], ["A=variable.x/region"], team=None, is_files=False)


def test_the_folders_of_files_are_not_overwritten_by_an_assignment():
    with pytest.raises(InvalidInputError, match="has a folder called variables"):
        plan([], ["variables=variable/region"], team=None, is_files=True)


def test_sources_name_things_of_the_team():
    (gift,) = plan([], ["A=orders_db.password"], team="data", is_files=False)
    assert gift == Gift(ref=Ref("connection", "orders_db", "data"), place="A", field=("password",))


# --- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("orders_db.password", "s3cr@tPass"),
        ("orders_db.host", "db.example.com"),
        ("orders_db.port", "5432"),
        ("orders_db.extra.region", "eu-west-1"),
        ("orders_db.extra.a.b.c.0", "1"),
        ("orders_db.extra.a.b.c.1.d", "true"),
        ("orders_db.extra.list", '["x"]'),
        ("orders_db.extra.a.b", '{"c": [1, {"d": true}]}'),
        ("a.b.login", "ana"),
        ("a.b.extra.region", "eu-west-1"),
        ("connection.password/orders_db", "s3cr@tPass"),
        ("connection.extra.region/a.b", "eu-west-1"),
        ("connection/orders_db", ORDERS),
        ("variable/region", "eu-west-1"),
    ],
)
def test_a_source_gives_the_text_it_names(source, text):
    assert given(f"A={source}") == text


def test_the_json_form_reads_back_to_the_same_connection():
    assert Connection.parse(given("A=orders_db.json")) == Connection.parse(ORDERS)


def test_a_form_that_would_lose_something_is_refused():
    with pytest.raises(InvalidInputError, match="a URI would lose"):
        given("A=orders_db.uri")


@pytest.mark.parametrize(
    "source",
    ["orders_db.schema", "orders_db.extra.nothing", "orders_db.extra.none", "orders_db.extra.list.7"],
)
def test_a_field_that_is_empty_is_an_error_that_names_it(source):
    with pytest.raises(InvalidInputError, match='connection "orders_db" has no '):
        given(f"A={source}")


def test_entries_are_handed_over_as_they_are_stored():
    refs = [Ref("connection", "orders_db"), Ref("variable", "region")]
    values = read_values(plan(refs, [], team=None, is_files=False), LOOKUP)
    assert {place: text.reveal() for place, text in values.texts.items()} == {
        "AIRFLOW_CONN_ORDERS_DB": ORDERS,
        "AIRFLOW_VAR_REGION": "eu-west-1",
    }


def test_a_name_that_is_not_there_stops_before_anything_starts():
    with pytest.raises(NotFoundError):
        given("A=nowhere.host")


def test_a_text_with_nul_is_refused_by_name():
    with pytest.raises(InvalidInputError, match='variable "nul" holds a NUL'):
        given("A=variable/nul")


def test_secrets_within_what_is_handed_over_are_masked_and_hosts_are_not():
    gifts = plan([Ref("variable", "tree")], ["H=orders_db.host"], team=None, is_files=False)
    secrets = {secret.reveal() for secret in read_values(gifts, LOOKUP).secrets}
    assert {"s3cr@tPass", "text of a leaf", "eu-west-1"} <= secrets
    assert "db.example.com" not in secrets


def test_values_do_not_print():
    values = read_values(plan([Ref("connection", "orders_db")], [], team=None, is_files=False), LOOKUP)
    assert "s3cr@tPass" not in repr(values)


# --- what is kept back -------------------------------------------------------------------------


def test_the_environment_is_inherited_without_what_strongroom_logs_in_with():
    environ = {
        "PATH": "/bin",
        "VAULT_SECRET_ID": "x",
        "STRONGROOM_TOKEN": "x",
        "STRONGROOM_PASSPHRASE": "x",
        "STRONGROOM__BACKEND__VAULT__TOKEN": "x",
        "STRONGROOM_HOME": "/srv/room",
        "STRONGROOM_CONFIG": "/etc/s.toml",
        "MY_STRONGROOM_TOKEN": "mine",
    }
    assert inherited(environ, ["VAULT_SECRET_ID"]) == {
        "PATH": "/bin",
        "STRONGROOM_HOME": "/srv/room",
        "STRONGROOM_CONFIG": "/etc/s.toml",
        "MY_STRONGROOM_TOKEN": "mine",
    }


def test_variables_that_settings_fetch_secrets_from_are_found_wherever_they_stand(tmp_path: Path):
    config = tmp_path / "strongroom.toml"
    config.write_text(
        'chain = ["env", "vault"]\n'
        '[backend.vault]\nkind = "vault"\n'
        'auth = { secret_id = { env = "VAULT_SECRET_ID" }, more = [{ env = "B" }] }\n',
        encoding="utf-8",
    )
    config.chmod(0o600)
    settings = load(config, environ={"HOME": str(tmp_path)})
    assert sorted(own_credentials(settings)) == ["B", "VAULT_SECRET_ID"]
    source = SecretSource(kind="env", argument=("PASSPHRASE",), key="store.wrappers.passphrase")
    assert list(own_credentials([source])) == ["PASSPHRASE"]
