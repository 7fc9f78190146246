"""What SQLAlchemy is told of each type of connection; MariaDB and SQLite themselves."""

from __future__ import annotations

import json
import socket
import ssl
import traceback
from itertools import count

import pytest
import sqlalchemy as sa

from parts import databases
from parts.certificates import Authority
from parts.held import kept
from parts.trino import trino
from strongroom.errors import AccessDeniedError, BackendConfigError
from strongroom.live import dialect, engine, families
from strongroom.live.around import Run
from strongroom.live.login_token import Login
from strongroom.model.secret import Secret

_numbers = count()
CANARY = "c4nary pass"


class Account:
    """A user of MariaDB whose password is rotated."""

    def __init__(self):
        self.server = databases.mariadb()
        self.name = f"rotating{next(_numbers)}"
        self.turn = 0
        self.server.run(f"CREATE USER {self.name}@localhost")
        self.rotate()

    @property
    def password(self):
        return f"p/w:@%?# {self.turn}"

    def rotate(self):
        self.turn += 1
        self.server.run(f"ALTER USER {self.name}@localhost IDENTIFIED BY '{self.password}'")

    def fields(self, **extra):
        return {
            "conn_type": "mysql",
            "login": self.name,
            "password": self.password,
            "extra": {"unix_socket": self.server.socket, "client": "pymysql", **extra},
        }


@pytest.fixture
def account():
    made = Account()
    yield made
    made.server.run(f"DROP USER {made.name}@localhost")


def number(made):
    with made.connect() as session:
        return session.execute(sa.text("SELECT CONNECTION_ID()")).scalar_one()


def told(error):
    text = "".join(traceback.format_exception(error)) + repr(vars(error))
    assert "p/w:@" not in text
    assert CANARY not in text
    return error.step, error.reason


def test_sessions_of_mariadb_follow_and_those_under_way_finish(account):
    with kept("orders_db", **account.fields()) as stored:
        made = engine.client(stored.held, stored.asked(pool_size=2))
        before = number(made)
        with made.connect() as running:
            running.execute(sa.text("SELECT 1"))
            account.rotate()
            stored.write(**account.fields())
            assert number(made) != before  # a second session: refused, asked, and in
            assert running.execute(sa.text("SELECT CONNECTION_ID()")).scalar_one() == before
        assert stored.questions == 1
        made.dispose()


def test_credentials_that_mariadb_keeps_refusing_are_told(account):
    with kept("orders_db", **account.fields()) as stored:
        account.rotate()
        with pytest.raises(AccessDeniedError) as caught:
            number(engine.client(stored.held, stored.asked()))
    assert told(caught.value) == ("authentication", "credentials")
    assert stored.questions == 1


@pytest.mark.parametrize(
    ("extra", "schema", "expected"),
    [
        ({}, "nowhere", ("authentication", "forbidden")),
        ({"p_w": "p/w:@"}, None, ("options", "unknown")),
        ({"ssl_mode": "p/w:@"}, None, ("options", "malformed")),
        ({"ssl": "p/w:@"}, None, ("options", "malformed")),
        ({"ssl": {"ca": "/p/w:@/nowhere"}}, None, ("tls", "malformed")),
        ({"client": "p/w:@"}, None, ("options", "malformed")),
        ({"client": "mysqlclient"}, None, ("driver", "missing")),
    ],
    ids=str,
)
def test_what_goes_wrong_with_mariadb_is_told_by_its_step(account, extra, schema, expected):
    with kept("orders_db", **account.fields(**extra), schema=schema) as stored:
        with pytest.raises(Exception, match="orders_db") as caught:
            number(engine.client(stored.held, stored.asked()))
        assert told(caught.value) == expected


def test_a_file_of_sqlite_is_read_and_written(tmp_path):
    with kept("local", conn_type="sqlite", host=str(tmp_path / "a.db")) as stored:
        made = engine.client(stored.held, stored.asked())
        with made.begin() as session:
            session.execute(sa.text("CREATE TABLE rows (a INTEGER)"))
        stored.write(conn_type="sqlite", host=str(tmp_path / "a.db"), extra={"mode": "ro"})
        stored.tell()
        with made.connect() as session, pytest.raises(sa.exc.OperationalError, match="readonly"):
            session.execute(sa.text("INSERT INTO rows VALUES (1)"))
        made.dispose()


def test_a_database_in_memory_outlives_another_description():
    with kept("local", conn_type="sqlite", host="") as stored:
        made = engine.client(stored.held, stored.asked())
        with made.begin() as session:
            session.execute(sa.text("CREATE TABLE rows (a INTEGER)"))
        stored.write(conn_type="sqlite", host="", description="another")
        stored.tell()
        with made.connect() as session:
            assert session.execute(sa.text("SELECT count(*) FROM rows")).scalar_one() == 0
        made.dispose()


def test_a_file_that_sqlite_cannot_open_is_told():
    with kept("local", conn_type="sqlite", host="/nowhere/at/all/a.db") as stored:
        with pytest.raises(Exception, match="local") as caught:
            engine.client(stored.held, stored.asked()).connect()
        assert told(caught.value) == ("read", "unknown")


# --- what SQLAlchemy is told ------------------------------------------------------------------------------


def address(scheme, fields, *, login=None, environ=None, run=None):
    with kept("orders_db", **fields) as stored:
        asked = stored.asked(environ=environ)
        asked.around._run = lambda: run
        connection = stored.held.known.connection
        login = login or Login(connection.login, connection.password)
        return dialect.address(stored.held, connection, scheme, login, asked.around)


FIELDS = {"host": "db", "login": "app", "password": "pw", "schema": "orders"}
COMMON = {"user": "app", "password": "pw", "host": "db", "database": "orders"}


@pytest.mark.parametrize(
    ("scheme", "fields", "expected"),
    [
        (
            "postgresql+psycopg",
            {
                "conn_type": "postgres",
                **FIELDS,
                "port": 6000,
                "extra": {
                    "sslmode": "verify-full",
                    "keepalives": True,
                    "cursor": "dictcursor",
                    "aws_conn_id": "x",
                    "sqlalchemy_query": {"application_name": "etl"},
                },
            },
            {
                **COMMON,
                "port": 6000,
                "query": {"application_name": "etl"},
                "args": {"sslmode": "verify-full", "keepalives": 1},
            },
        ),
        (
            "redshift+redshift_connector",
            {"conn_type": "redshift", **FIELDS, "extra": {"iam": False, "ssl": True}},
            {**COMMON, "port": 5439, "query": {}, "args": {"ssl": True}},
        ),
        (
            "postgresql+psycopg",
            {"conn_type": "redshift", **FIELDS, "extra": {"sslmode": "verify-ca"}},
            {**COMMON, "port": 5439, "query": {}, "args": {"sslmode": "verify-ca"}},
        ),
        (
            "mysql+mysqldb",
            {"conn_type": "mysql", **FIELDS, "extra": {"ssl_mode": "VERIFY_CA", "charset": "utf8mb4"}},
            {**COMMON, "port": 3306, "query": {}, "args": {"ssl_mode": "VERIFY_CA", "charset": "utf8mb4"}},
        ),
        (
            "mysql+mysqlconnector",
            {
                "conn_type": "mysql",
                **FIELDS,
                "extra": {"ssl_mode": "VERIFY_IDENTITY", "ssl": {"ca": "/ca"}, "local_infile": "true"},
            },
            {
                **COMMON,
                "port": 3306,
                "query": {},
                "args": {
                    "ssl_ca": "/ca",
                    "ssl_verify_cert": True,
                    "ssl_verify_identity": True,
                    "allow_local_infile": True,
                },
            },
        ),
        (
            "mssql+pymssql",
            {"conn_type": "mssql", **FIELDS, "extra": {"login_timeout": "5", "encryption": "require"}},
            {**COMMON, "port": None, "query": {}, "args": {"login_timeout": 5, "encryption": "require"}},
        ),
        (
            "mssql+pyodbc",
            {"conn_type": "odbc", **FIELDS, "extra": {"driver": "ODBC 18", "Encrypt": "yes"}},
            {**COMMON, "port": None, "query": {"driver": "ODBC 18", "Encrypt": "yes"}, "args": {}},
        ),
        (
            "oracle+oracledb",
            {"conn_type": "oracle", **FIELDS, "extra": {"service_name": "sales", "thick_mode": True}},
            {**COMMON, "port": 1521, "database": None, "query": {"service_name": "sales"}, "args": {}},
        ),
        (
            "oracle+oracledb",
            {"conn_type": "oracle", **FIELDS, "extra": {"sid": "XE"}},
            {**COMMON, "port": 1521, "database": "XE", "query": {}, "args": {}},
        ),
        (
            "snowflake",
            {
                "conn_type": "snowflake",
                "login": "app",
                "password": "pw",
                "schema": "public",
                "extra": {
                    "account": "xy1",
                    "region": "eu-central-1",
                    "database": "a/b",
                    "warehouse": "wh",
                    "role": "r",
                    "session_parameters": {"QUERY_TAG": "x"},
                    "ocsp_fail_open": "false",
                },
            },
            {
                "user": "app",
                "password": "pw",
                "host": "xy1.eu-central-1",
                "port": None,
                "database": "a%2Fb/public",
                "query": {"warehouse": "wh", "role": "r"},
                "args": {"session_parameters": {"QUERY_TAG": "x"}, "ocsp_fail_open": False},
            },
        ),
        (
            "snowflake",
            {
                "conn_type": "snowflake",
                "login": "app",
                "extra": {
                    "account": "xy1",
                    "private_key_content": "-----BEGIN PRIVATE KEY-----\nAA\nBB\n-----END PRIVATE KEY-----",
                },
            },
            {
                "user": "app",
                "password": None,
                "host": "xy1",
                "port": None,
                "database": None,
                "query": {},
                "args": {"private_key": "AABB"},
            },
        ),
        (
            "presto",
            {"conn_type": "presto", **FIELDS, "extra": {"protocol": "https", "catalog": "lake"}},
            {
                **COMMON,
                "port": None,
                "database": "lake/orders",
                "query": {},
                "args": {"protocol": "https", "source": "airflow"},
            },
        ),
        (
            "databricks",
            {
                "conn_type": "databricks",
                "host": "https://dbc.example/",
                "password": "pw",
                "extra": {"http_path": "/sql/1"},
            },
            {
                "user": "token",
                "password": "pw",
                "host": "dbc.example",
                "port": 443,
                "database": None,
                "query": {"http_path": "/sql/1"},
                "args": {},
            },
        ),
        (
            "clickhousedb",
            {"conn_type": "clickhouse", **FIELDS, "port": 8443, "extra": {"secure": True}},
            {**COMMON, "port": 8443, "query": {"secure": "True"}, "args": {}},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_type_is_told_as_airflows_hook_does(scheme, fields, expected):
    made = address(scheme, fields)
    assert made._asdict() == {"scheme": scheme, **expected}
    assert "pw" not in repr(made)


def test_trino_is_told_who_asks_and_for_which_run():
    made = address(
        "trino",
        {
            "conn_type": "trino",
            **FIELDS,
            "password": None,
            "extra": {
                "catalog": "lake",
                "impersonate_as_owner": "true",
                "verify": "/ca.pem",
                "client_tags": ["a"],
            },
        },
        environ={"AIRFLOW_CTX_DAG_OWNER": "data"},
        run=Run("sales", "load", "run 1"),
    )
    info = json.loads(made.args["http_headers"]["X-Trino-Client-Info"])
    assert info == {"dag_id": "sales", "task_id": "load", "dag_run_id": "run 1"}
    assert (made.args["user"], made.args["verify"], made.args["client_tags"]) == ("data", "/ca.pem", ["a"])
    assert made.database == "lake/orders"


@pytest.mark.parametrize(
    ("extra", "kind"),
    [
        ({"protocol": "https"}, "BasicAuthentication"),
        ({"protocol": "https", "auth": "jwt", "jwt__token": "t"}, "JWTAuthentication"),
        (
            {"protocol": "https", "auth": "certs", "certs__client_cert_path": "/c"},
            "CertificateAuthentication",
        ),
    ],
)
def test_trino_is_logged_in_to_by_what_the_connection_names(extra, kind):
    password = None if "auth" in extra else "pw"
    made = address("trino", {"conn_type": "trino", **FIELDS, "password": password, "extra": extra})
    assert type(made.args["auth"]).__name__ == kind


@pytest.mark.parametrize(
    ("scheme", "fields", "expected"),
    [
        ("trino", {"conn_type": "trino", **FIELDS, "password": CANARY}, ("options", "malformed")),
        ("trino", {"conn_type": "trino", "host": "db", "extra": {"auth": CANARY}}, ("options", "malformed")),
        (
            "trino",
            {"conn_type": "trino", "host": "db", "extra": {"auth": "jwt", "jwt__file": f"/nowhere/{CANARY}"}},
            ("token", "missing"),
        ),
        ("snowflake", {"conn_type": "snowflake", "login": CANARY}, ("options", "missing")),
        (
            "snowflake",
            {"conn_type": "snowflake", "login": "x", "extra": {"account": "a", "refresh_token": CANARY}},
            ("options", "unknown"),
        ),
        (
            "databricks",
            {"conn_type": "databricks", "login": "x", "password": CANARY},
            ("authentication", "missing"),
        ),
        ("mssql+pymssql", {"conn_type": "mssql", "extra": {"timeout": CANARY}}, ("options", "malformed")),
        ("postgresql+psycopg", {"conn_type": "postgres", "host": f"\0{CANARY}"}, ("options", "malformed")),
        ("sqlite", {"conn_type": "sqlite", "extra": {"mode": [CANARY]}}, ("options", "malformed")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_told_is_refused_without_a_value(scheme, fields, expected):
    with pytest.raises(Exception, match="orders_db") as caught:
        address(scheme, fields)
    assert told(caught.value) == expected


TOKEN = Login("app", Secret("a token"), is_token=True)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, "require"),
        ({"sslmode": "disable"}, "require"),
        ({"sslrootcert": "/ca"}, "verify-full"),
        ({"sslmode": "verify-ca", "sslrootcert": "/ca"}, "verify-ca"),
    ],
    ids=str,
)
def test_a_token_goes_to_postgresql_over_tls_only(said, expected):
    made = address("postgresql+psycopg", {"conn_type": "postgres", **FIELDS, "extra": said}, login=TOKEN)
    assert made.args["sslmode"] == expected


@pytest.mark.parametrize("mode", [None, "DISABLED", "PREFERRED", "REQUIRED", "VERIFY_IDENTITY"])
def test_a_token_goes_to_mysql_over_tls_only(mode, tmp_path):
    files = {"ssl": {"ca": str(Authority(tmp_path).file)}}
    extra = {"ssl_mode": mode} if mode else {}
    bare = address("mysql+pymysql", {"conn_type": "mysql", **FIELDS, "extra": extra}, login=TOKEN)
    trusting = address("mysql+pymysql", {"conn_type": "mysql", **FIELDS, "extra": extra | files}, login=TOKEN)
    assert isinstance(bare.args["ssl"], ssl.SSLContext)
    is_verified = mode != "REQUIRED"
    assert trusting.args["ssl"].check_hostname is is_verified
    assert trusting.args["ssl"].verify_mode is (ssl.CERT_REQUIRED if is_verified else ssl.CERT_NONE)


@pytest.mark.parametrize("conn_type", sorted(set(families._SQL) - {"sqlite", "postgres"}))
def test_each_type_has_a_driver_or_says_what_to_install(conn_type):
    with kept("orders_db", conn_type=conn_type, host="db", extra={"account": "x"}) as stored:
        missing = None
        try:
            found = dialect.scheme_of(stored.held, 2).name
        except BackendConfigError as error:
            missing = error
    if missing is None:
        assert sa.engine.URL.create(found).get_dialect()
    else:
        assert told(missing) == ("driver", "missing")
        assert missing.hint.startswith("pip install ")


@pytest.mark.parametrize(
    ("extra", "release", "expected"),
    [
        ({}, 2, "postgresql+psycopg"),
        ({"sqlalchemy_scheme": "postgresql+psycopg"}, 2, "postgresql+psycopg"),
        ({"sqlalchemy_scheme": "postgresql+asyncpg"}, 2, "postgresql+asyncpg"),
    ],
    ids=str,
)
def test_the_driver_is_the_one_that_is_said_or_the_first_installed(extra, release, expected):
    with kept("orders_db", conn_type="postgres", extra=extra) as stored:
        assert dialect.scheme_of(stored.held, release).name == expected


def test_sqlalchemy_1_knows_no_psycopg_3():
    with kept("orders_db", conn_type="postgres") as stored, pytest.raises(BackendConfigError) as caught:
        dialect.scheme_of(stored.held, 1)
    assert "psycopg2" in str(caught.value)


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ({"host": "127.0.0.1", "port": 1}, ("tcp", "refused")),
        ({"host": "nowhere.invalid"}, ("name", "unknown")),
    ],
    ids=str,
)
def test_a_mysql_that_is_not_there_is_told_by_its_step(place, expected):
    fields = {"conn_type": "mysql", "login": "x", "password": CANARY, "extra": {"client": "pymysql"}}
    with (
        kept("orders_db", **fields, **place) as stored,
        pytest.raises(Exception, match="orders_db") as caught,
    ):
        number(engine.client(stored.held, stored.asked()))
    assert told(caught.value) == expected


# --- Trino ----------------------------------------------------------------------------------------------


@pytest.fixture
def coordinator(tmp_path):
    with trino(tmp_path) as server:
        yield server


def trino_fields(server, password, **extra):
    said = {"protocol": "https", "verify": server.ca, **extra}
    return {"conn_type": "trino", "login": "app", "password": password, "extra": said, **server.place}


def test_sessions_of_trino_follow(coordinator):
    coordinator.passwords["app"] = "first"
    with kept("lake", **trino_fields(coordinator, "first")) as stored:
        made = engine.client(stored.held, stored.asked())
        with made.connect() as session:
            assert session.execute(sa.text("SELECT 1")).scalar_one() == 1
        coordinator.passwords["app"] = "second"
        stored.write(**trino_fields(coordinator, "second"))
        made.dispose()
        with made.connect() as session:
            assert session.execute(sa.text("SELECT 1")).scalar_one() == 1
        assert (stored.questions, coordinator.refused) == (1, 1)
        made.dispose()


def test_what_goes_wrong_with_trino_is_told_by_its_step(coordinator, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for fields, expected in (
        (trino_fields(coordinator, CANARY), ("authentication", "credentials")),
        (trino_fields(coordinator, CANARY, verify=str(Authority(other).file)), ("tls", "untrusted")),
        (trino_fields(coordinator, CANARY) | {"port": 1}, ("tcp", "refused")),
    ):
        with kept("lake", **fields) as stored, pytest.raises(Exception, match="lake") as caught:
            engine.client(stored.held, stored.asked()).connect()
        assert told(caught.value) == expected


def test_trino_takes_a_token_from_a_file_as_it_is_then(coordinator, tmp_path):
    file = tmp_path / "token"
    file.write_text("first\n")
    coordinator.tokens.add("second")
    fields = trino_fields(coordinator, None, auth="jwt", jwt__file=str(file))
    with kept("lake", **fields) as stored:
        made = engine.client(stored.held, stored.asked())
        with pytest.raises(AccessDeniedError):
            made.connect()
        file.write_text("second\n")
        made.connect().close()
        made.dispose()


def test_a_mysql_that_accepts_and_says_nothing_is_not_waited_for_and_a_statement_is(account):
    told_once = {"connect_timeout": 1}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        fields = {"conn_type": "mysql", "host": "127.0.0.1", "port": silent.getsockname()[1]}
        with kept("orders_db", **fields, extra={"client": "pymysql"}) as stored:
            made = engine.client(stored.held, stored.asked(connect_args=told_once))
            with pytest.raises(Exception, match="orders_db") as caught:
                made.connect()
            assert told(caught.value) == ("tcp", "timeout")
    with kept("orders_db", **account.fields()) as stored:
        made = engine.client(stored.held, stored.asked(connect_args=told_once))
        with made.connect() as session:
            assert session.execute(sa.text("SELECT SLEEP(1.2)")).scalar_one() == 0
        made.dispose()
