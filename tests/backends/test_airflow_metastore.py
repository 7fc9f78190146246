"""Airflow's metadata database as a backend."""

import json
import os
import shutil
import traceback
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography.fernet import Fernet

from parts.databases import DATA, Metadata, fernet_key, server_of
from strongroom.assembly import open_room
from strongroom.backends.airflow_metastore import AirflowMetastore, MetastoreOptions
from strongroom.errors import (
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    MalformedEntryError,
    StrongroomError,
)
from strongroom.model.connection import Connection
from strongroom.model.document import parse_connections
from strongroom.model.entry import EntryState
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.testing.contract import CANARY, BackendContract

KEY = Fernet.generate_key().decode()


def clock():
    return datetime.now(timezone.utc)


def backend_of(environ=None, secret=None, **options):
    return AirflowMetastore("metastore", MetastoreOptions(**options), environ or {}, clock, secret)


def sealed(text, key=KEY):
    return Fernet(key).encrypt(text.encode()).decode()


class MetastoreContract(BackendContract):
    kind = "sqlite"
    looks_at_values = True
    standing: ClassVar[dict] = {}  # of a server: the database that all tests of it share, empty

    @pytest.fixture(autouse=True)
    def database(self, tmp_path):
        self.metadata = self.standing.get(self.kind) or Metadata(self.kind, tmp_path)
        if self.kind != "sqlite":
            self.standing[self.kind] = self.metadata
        with self.metadata.held():
            self.metadata.clear()
            yield

    def make(self, tmp_path):
        return backend_of(
            sql_alchemy_conn=Secret(self.metadata.url),
            fernet_key=Secret(KEY),
            timeout=timedelta(seconds=5),
        )

    def put(self, backend, ref, text):
        # Airflow's names are unique across teams: the later row takes the place of the former.
        self.metadata.remove(ref.kind, ref.name)
        row = {"team_name": ref.team, "is_encrypted": True}
        if ref.kind == "variable":
            self.metadata.put("variable", [{**row, "key": ref.name, "val": sealed(text)}])
            return
        try:
            fields = Connection.parse(text).to_dict(reveal=True)
            extra = fields.pop("extra")
        except InvalidInputError:
            # The database holds fields and no texts: what does not parse there is an extra.
            fields, extra = {"conn_type": "http", "password": ""}, [text]
        self.metadata.put(
            "connection",
            [
                {
                    **row,
                    **fields,
                    "conn_id": ref.name,
                    "password": sealed(fields["password"]),
                    "extra": None if extra is None else sealed(json.dumps(extra)),
                    "is_extra_encrypted": True,
                }
            ],
        )

    def remove(self, backend, ref):
        self.metadata.remove(ref.kind, ref.name)

    def test_connection_text_is_given_back(self, backend):
        # The fields are given back; the text is Airflow's JSON of them.
        text = "postgres://us%40er:p%2Fss@db.example:5432/sales?sslmode=require"
        self.put(backend, Ref("connection", "orders_db"), text)
        entry = backend.read(Ref("connection", "orders_db"))
        assert Connection.parse(entry.secret.reveal()) == Connection.parse(text)

    def test_same_name_as_connection_and_variable_are_two_entries(self, backend):
        self.put(backend, Ref("variable", "twin"), "text")
        assert backend.read(Ref("connection", "twin")) is None
        self.put(backend, Ref("connection", "twin"), "http://:p@host")
        assert backend.read(Ref("variable", "twin")).secret.reveal() == "text"
        assert "host" in backend.read(Ref("connection", "twin")).secret.reveal()

    def test_team_and_global_are_apart(self, backend):
        self.put(backend, Ref("variable", "region"), "global")
        assert backend.read(Ref("variable", "region", "data")) is None
        self.put(backend, Ref("variable", "region", "data"), "mine")
        assert backend.read(Ref("variable", "region", "data")).secret.reveal() == "mine"
        assert backend.read(Ref("variable", "region")) is None


class TestSqlite(MetastoreContract):
    def down(self, backend):
        Path(f"{self.metadata.path}-journal").mkdir()  # of a change that nobody can finish


class TestPostgresql(MetastoreContract):
    kind = "postgresql"

    def down(self, backend):
        del self.standing[self.kind]
        server_of(self.kind).run(f"ALTER DATABASE {self.metadata.name} ALLOW_CONNECTIONS false")
        server_of(self.kind).run(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.metadata.name}'"
        )


class TestMariadb(MetastoreContract):
    kind = "mariadb"

    def down(self, backend):
        self.holder = server_of(self.kind).admin(self.metadata.name)
        self.holder.cursor().execute("LOCK TABLES variable WRITE")
        backend.options = MetastoreOptions(
            sql_alchemy_conn=backend.options.sql_alchemy_conn,
            fernet_key=backend.options.fernet_key,
            timeout=timedelta(seconds=0.3),
        )
        backend.close()
        backend._opened.clear()

    @pytest.fixture(autouse=True)
    def holder_is_closed(self):
        self.holder = None
        yield
        if self.holder is not None:
            self.holder.close()


# --- the real databases ---------------------------------------------------------------------------


@pytest.fixture(params=[2, 3])
def home(request, tmp_path):
    """An Airflow's home with the real database in it, configured by its file."""
    shutil.copy(DATA / f"airflow{request.param}" / "airflow.db", tmp_path / "airflow.db")
    (tmp_path / "airflow.cfg").write_text(f"[core]\nfernet_key = {fernet_key(request.param)}\n")
    return tmp_path


def test_every_real_connection_equals_the_export(home):
    version = 2 if fernet_key(2) in (home / "airflow.cfg").read_text() else 3
    exported = parse_connections((DATA / f"airflow{version}" / "connections.json").read_text(), "json")
    backend = backend_of({"AIRFLOW_HOME": str(home)})
    found = {name: backend.read(Ref("connection", name)) for name in exported}
    assert {name: Connection.parse(entry.secret.reveal()) for name, entry in found.items()} == exported
    assert {entry.metadata.description for entry in found.values()} >= {None}


def test_listing_gives_types_descriptions_and_states_a_page_at_a_time(home):
    backend = backend_of(airflow_home=home)
    names, after = [], ""
    while page := backend.list("connection", after=after, limit=7):
        names += page
        after = page[-1].ref.name
    assert len(names) == 60
    assert {row.state for row in names} == {EntryState.OK}
    assert {row.metadata.conn_type for row in names} >= {"postgres", "aws", "snowflake"}
    assert [row.ref.name for row in backend.list("connection", prefix="aws_")] == [
        "aws_0",
        "aws_1",
        "aws_2.v2",
    ]
    assert backend.list("config") == []


def test_room_reads_the_database_of_the_environment(home, tmp_path):
    config = tmp_path / "strongroom.toml"
    config.write_text('chain = ["metastore"]\n[backend.metastore]\nkind = "airflow_metastore"\n')
    environ = {"AIRFLOW_HOME": str(home), "STRONGROOM_HOME": str(tmp_path / "room")}
    with open_room(config, environ=environ) as room:
        assert room.lookup.connection("snowflake_0").conn_type == "snowflake"
        rows = room.inventory.page("variable")
        assert len(rows) == 18


def test_key_given_in_settings_wins_over_the_configuration(home):
    backend = backend_of(airflow_home=home, fernet_keys=(Secret(KEY),))
    with pytest.raises(MalformedEntryError, match="another Fernet key") as caught:
        backend.read(Ref("connection", "aws_1"))
    assert "Fernet key" in caught.value.hint
    health = backend.check()
    assert health.status == "ready"
    assert health.message == "of 78 entries 76 sealed by another Fernet key"


# --- rows that are not as they should be ----------------------------------------------------------


@pytest.fixture
def metadata(tmp_path):
    return Metadata("sqlite", tmp_path)


def row(name, **columns):
    return {
        "conn_id": name,
        "conn_type": "http",
        "is_encrypted": False,
        "is_extra_encrypted": False,
        **columns,
    }


def test_row_that_cannot_be_opened_is_invalid_and_never_absent(metadata):
    metadata.put(
        "connection",
        [
            row("foreign", password=sealed(CANARY, Fernet.generate_key()), is_encrypted=True),
            row("broken", password=CANARY, is_encrypted=True),
            row("odd", extra=f'["{CANARY}"]'),
        ],
    )
    backend = backend_of(path=metadata.path, fernet_key=Secret(KEY))
    for name in ("foreign", "broken", "odd"):
        with pytest.raises(MalformedEntryError) as caught:
            backend.read(Ref("connection", name))
        assert caught.value.hint
        assert CANARY not in told(caught.value)
    states = {line.ref.name: line.state for line in backend.list("connection")}
    assert states == {
        "foreign": EntryState.WRONG_KEY,
        "broken": EntryState.NOT_A_TOKEN,
        "odd": EntryState.UNPARSABLE,
    }


def test_database_in_plain_text_is_read_and_the_check_tells(metadata):
    metadata.put("connection", [row("orders_db", host="h", password=CANARY)])
    backend = backend_of(path=metadata.path)
    entry = backend.read(Ref("connection", "orders_db"))
    assert Connection.parse(entry.secret.reveal()).password.reveal() == CANARY
    assert backend.check().message == "of 1 entries 1 in plain text"
    assert CANARY not in f"{entry!r}{backend.list('connection')!r}{backend.check()!r}"


def test_name_that_is_not_legal_is_not_listed_but_dumped(metadata):
    metadata.put("variable", [{"key": "/a", "val": "x", "is_encrypted": False}])
    backend = backend_of(path=metadata.path)
    assert backend.list("variable") == []
    assert [held.name for held in backend.dump("variable")] == ["/a"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"host": "DB.Example", "port": 0, "login": ""}, {"host": "DB.Example", "port": 0, "login": ""}),
        ({"password": ""}, {"password": None}),
        ({"conn_type": "my-type"}, {"conn_type": "my_type"}),
        ({"conn_type": "postgresql"}, {"conn_type": "postgres"}),
        ({"conn_type": ""}, {"conn_type": None}),
        ({"extra": ""}, {"extra": None}),
        ({"extra": "{}"}, {"extra": {}}),
        ({"extra": '{ "a":1.50 }'}, {"extra": {"a": 1.5}}),
        ({"schema": "", "description": ""}, {"schema": "", "description": ""}),
    ],
)
def test_fields_are_those_of_airflows_own_object_but_for_the_numbered_differences(
    metadata, columns, expected
):
    metadata.put("connection", [row("c", **columns)])
    entry = backend_of(path=metadata.path).read(Ref("connection", "c"))
    found = Connection.parse(entry.secret.reveal()).to_dict(reveal=True)
    assert {name: found[name] for name in expected} == expected


# --- where it is ----------------------------------------------------------------------------------


def test_nothing_is_asked_before_it_is_needed(tmp_path):
    environ = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": f"touch {tmp_path}/ran", "PATH": os.environ["PATH"]}
    backend = backend_of(environ, fernet_key=Secret("no key"))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BackendConfigError):
        backend.read(Ref("variable", "region"))


def test_without_an_airflow_it_says_what_to_set():
    with pytest.raises(BackendConfigError, match="no Airflow is found") as caught:
        backend_of({"HOME": "/nonexistent"}).read(Ref("variable", "region"))
    assert "AIRFLOW_HOME" in caught.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {"path": Path("a"), "sql_alchemy_conn": Secret("sqlite:///a")},
        {"fernet_key": Secret(KEY), "fernet_keys": (Secret(KEY),)},
        {"timeout": timedelta(0)},
    ],
)
def test_options_that_exclude_each_other_are_refused(options):
    with pytest.raises(BackendConfigError):
        backend_of(**options)


def test_command_that_fails_is_one_backends_trouble(tmp_path):
    environ = {
        "AIRFLOW__CORE__FERNET_KEY_CMD": f"sh -c 'echo {CANARY}; exit 3'",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "PATH": os.environ["PATH"],
    }
    with pytest.raises(BackendConfigError, match="AIRFLOW__CORE__FERNET_KEY_CMD failed") as caught:
        backend_of(environ).read(Ref("variable", "region"))
    assert CANARY not in told(caught.value)
    assert backend_of(environ).check().status == "error"


def test_secret_of_the_configuration_is_looked_up_once_it_is_needed(metadata):
    metadata.put("variable", [{"key": "region", "val": sealed("eu"), "is_encrypted": True}])
    environ = {"AIRFLOW__CORE__FERNET_KEY_SECRET": "the_key"}
    asked = []

    def secret(config, name):
        asked.append((config.source("core", "fernet_key"), name))
        return Secret(KEY)

    backend = backend_of(environ, secret, path=metadata.path)
    assert asked == []
    assert backend.read(Ref("variable", "region")).secret.reveal() == "eu"
    assert asked == [("secret", "the_key")]


def test_secret_of_the_configuration_is_looked_up_in_airflows_own_vault(metadata, tmp_path, bao):
    metadata.put("variable", [{"key": "region", "val": sealed("eu"), "is_encrypted": True}])
    mount = bao.mount(version=2)
    bao.put(mount, "config/airflow_key", {"value": KEY})
    environ = {
        "AIRFLOW__SECRETS__BACKEND": "airflow.providers.hashicorp.secrets.vault.VaultBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"url": bao.url, "mount_point": mount}),
        "AIRFLOW__SECRETS__BACKEND_KWARG__TOKEN": bao.token(
            bao.policy(f'path "{mount}/*" {{ capabilities = ["read"] }}')
        ),
        "AIRFLOW__CORE__FERNET_KEY_SECRET": "airflow_key",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata.url,
        "STRONGROOM_HOME": str(tmp_path / "room"),
    }
    config = tmp_path / "strongroom.toml"
    config.write_text('chain = ["airflow_metastore"]\n')
    with open_room(config, environ=environ) as room:
        assert room.lookup.variable("region") == "eu"


def test_secret_of_another_backend_says_what_to_set_instead(metadata, tmp_path):
    metadata.put("variable", [{"key": "region", "val": sealed("eu"), "is_encrypted": True}])
    environ = {
        "AIRFLOW__SECRETS__BACKEND": "airflow.providers.amazon.aws.secrets.SecretsManagerBackend",
        "AIRFLOW__CORE__FERNET_KEY_SECRET": "airflow_key",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": metadata.url,
        "STRONGROOM_HOME": str(tmp_path / "room"),
    }
    config = tmp_path / "strongroom.toml"
    config.write_text('chain = ["airflow_metastore"]\n')
    with open_room(config, environ=environ) as room, pytest.raises(BackendConfigError) as caught:
        room.lookup.variable("region")
    assert "fernet_key" in caught.value.hint


# --- nothing leaks --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{CANARY}@127.0.0.1:1/db",
        f"postgresql://u:{CANARY}@h:port/db",
        f"postgresql://u:{CANARY}@ss@h/db",
        f"postgresql://u@h/db?{CANARY}=1",
        f"postgresql://u@h/db?sslmode={CANARY}&host=/nonexistent",
        f"mysql://u:{CANARY}@127.0.0.1:1/db",
        f"mysql://u:{CANARY}é🔑@127.0.0.1:1/db?ssl_ca=/nonexistent",
        f"mysql://u:{CANARY}@h/db?unix_socket=/nonexistent/s",
        f"oracle://u:{CANARY}@h/db",
        f"{CANARY}",
        f"sqlite://{CANARY}/x",
    ],
)
def test_url_that_leads_nowhere_is_not_repeated(url):
    backend = backend_of(sql_alchemy_conn=Secret(url), fernet_key=Secret(KEY), timeout=timedelta(seconds=2))
    with pytest.raises((BackendConfigError, BackendUnavailableError)) as caught:
        backend.read(Ref("variable", "region"))
    assert CANARY not in told(caught.value)
    assert CANARY not in f"{backend.check()!r}{backend.options!r}{backend.__dict__!r}"


def test_environment_of_an_airflow_that_cannot_be_read_is_not_repeated(tmp_path):
    (tmp_path / "airflow.cfg").write_text(f"[core]\n{CANARY}\n")
    environ = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__FERNET_KEY": CANARY}
    with pytest.raises(BackendConfigError) as caught:
        backend_of(environ).read(Ref("variable", "region"))
    assert CANARY not in told(caught.value)


def test_key_that_is_none_is_not_repeated(metadata):
    with pytest.raises(BackendConfigError) as caught:
        backend_of(path=metadata.path, fernet_key=Secret(CANARY)).read(Ref("variable", "region"))
    assert CANARY not in told(caught.value)


def told(error):
    """Everything an error could show."""
    assert isinstance(error, StrongroomError)
    assert error.__cause__ is None
    # With the locals of every frame but the test's own, as reporters of errors send them.
    error.with_traceback(error.__traceback__.tb_next)
    chain = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    return f"{chain}{error!r}{error.hint}{error.__dict__}"
