"""Tests of connections to databases: PostgreSQL over TLS, MariaDB, SQLite, each of them real."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from parts import mariadb_tls
from parts.certificates import Authority
from parts.postgres_tls import PASSWORD, tls_server
from parts.trying import CANARY, LOOPBACK, failed, made, steps, tried

ALL = ["name: ok", "tcp: ok", "tls: ok", "authentication: ok", "read: ok"]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def postgres(authority):
    with tls_server(authority) as running:
        yield running


def at(postgres, *, password=PASSWORD, host="127.0.0.1", schema="store", **extra):
    fields = {"host": host, "port": postgres.port, "login": "keeper", "schema": schema}
    return made("postgres", password=password, extra=extra, **fields)


def test_every_step_to_a_database_is_made_timed_and_tells_the_days_of_its_certificate(postgres):
    found = tried(at(postgres, sslmode="verify-full", sslrootcert=str(postgres.ca)))
    assert steps(found) == ALL
    assert all(step.milliseconds > 0 for step in found.steps)
    assert [step.days_left for step in found.steps] == [None, None, 0, None, None]


def test_a_test_for_others_makes_the_same_steps_with_the_address_that_was_looked_at(postgres):
    assert steps(tried(at(postgres), LOOPBACK)) == ALL
    assert steps(tried(at(postgres, host="localhost"), LOOPBACK)) == ALL


def test_a_wrong_password_is_told_as_one(postgres):
    assert failed(tried(at(postgres, password=CANARY))) == ("authentication", "credentials")


def test_a_database_that_is_not_there_is_told_as_one(postgres):
    assert failed(tried(at(postgres, schema=CANARY))) == ("read", "unknown")


def test_a_certificate_for_another_name_is_told_as_one(postgres):
    extra = {"sslmode": "verify-full", "sslrootcert": str(postgres.ca)}
    assert failed(tried(at(postgres, host="localhost", **extra))) == ("tls", "wrong_host")
    assert tried(at(postgres, host="localhost", **{**extra, "sslmode": "verify-ca"})).is_ok


def test_a_certificate_of_another_authority_is_told_as_one(postgres, tmp_path):
    other = Authority(tmp_path, "other")
    extra = {"sslmode": "verify-ca", "sslrootcert": str(other.file)}
    assert failed(tried(at(postgres, **extra))) == ("tls", "untrusted")


def test_a_file_of_certificates_that_is_not_there_is_told_as_one(postgres):
    extra = {"sslmode": "verify-ca", "sslrootcert": "/nowhere"}
    assert failed(tried(at(postgres, **extra))) == ("tls", "malformed")


def test_SS05_an_option_that_is_not_on_the_list_is_not_used_for_others(postgres, mariadb):
    for connection in (at(postgres, sslrootcert="/etc/passwd"), on(mariadb, local_infile=True)):
        found = tried(connection, LOOPBACK)
        assert [(step.name, step.reason) for step in found.steps] == [("options", "forbidden")]
        assert "--on agent" in found.advice


def test_SS05_a_name_of_a_database_is_no_address(postgres):
    there = f"host=127.0.0.9 port=1 dbname={CANARY}"
    assert failed(tried(at(postgres, schema=there), LOOPBACK)) == ("read", "unknown")
    assert failed(tried(at(postgres, schema="postgresql://127.0.0.9:1/x"), LOOPBACK)) == ("read", "unknown")


@pytest.fixture(scope="module")
def mariadb(authority):
    with mariadb_tls.tls_server(authority) as running:
        yield running


def on(mariadb, *, password=mariadb_tls.PASSWORD, **extra):
    fields = {"host": "127.0.0.1", "port": mariadb.port, "login": "keeper", "schema": "store"}
    return made("mysql", password=password, extra={"client": "pymysql", **extra}, **fields)


def test_mariadb_is_tested_with_and_without_tls(mariadb):
    checked = on(mariadb, ssl_mode="verify_identity", ssl={"ca": str(mariadb.ca)})
    assert steps(tried(checked)) == ALL
    assert steps(tried(on(mariadb, ssl_mode="required"), LOOPBACK)) == ALL
    assert steps(tried(on(mariadb), LOOPBACK)) == [step.replace("tls: ok", "tls: skipped") for step in ALL]


def test_a_wrong_password_of_mariadb_and_a_certificate_nobody_knows_are_told_as_such(mariadb):
    assert failed(tried(on(mariadb, password=CANARY))) == ("authentication", "credentials")
    assert failed(tried(on(mariadb, ssl_mode="verify_ca"))) == ("tls", "untrusted")


def test_sqlite_is_opened_as_it_is(tmp_path):
    path = tmp_path / "orders.db"
    with closing(sqlite3.connect(path)) as opened:
        opened.execute("CREATE TABLE orders (number INTEGER)")
    assert steps(tried(made("sqlite", host=str(path)))) == ["read: ok"]
    (tmp_path / "text.db").write_text("no database at all, but long enough to be looked at as one" * 9)
    assert failed(tried(made("sqlite", host=str(tmp_path / "text.db")))) == ("read", "other")


def test_a_test_of_sqlite_makes_no_file(tmp_path):
    path = tmp_path / "nowhere.db"
    assert failed(tried(made("sqlite", host=str(path)))) == ("read", "unknown")
    assert not path.exists()


@pytest.mark.parametrize("conn_type", ["sqlite", "fs"])
def test_SS03_SS05_a_test_for_others_opens_no_file(conn_type):
    assert failed(tried(made(conn_type, host="/etc/passwd"), LOOPBACK)) == ("options", "forbidden")


def test_a_login_by_a_token_takes_the_connection_it_names_and_says_where_that_is_missing(postgres):
    there = at(postgres, password=None, iam=True, aws_conn_id="cloud")
    cloud = made("aws", login="AKIA", password=CANARY, extra={"region_name": "eu-west-1"})
    assert failed(tried(there, also={"cloud": cloud})) == ("authentication", "credentials")
    assert failed(tried(there)) == ("options", "missing")
