"""PostgreSQL's keyword strings and URIs; what libpq itself reads is asked where psycopg is installed."""

import pytest

from form_cases import check, check_refused, fields_of
from strongroom.transfer.forms import read_any
from strongroom.transfer.forms.libpq_keywords import parse_keywords

PG = {"conn_type": "postgres"}
KEYWORDS = [
    (
        "host=localhost port=5432 dbname=mydb connect_timeout=10",
        {**PG, "host": "localhost", "port": 5432, "schema": "mydb", "extra.connect_timeout": 10},
    ),
    (
        "host = 'local host'   user='it\\'s' password = a\\ b\\\\c",
        {**PG, "host": "local host", "login": "it's", "password": "a b\\c"},
    ),
    ("dbname=d password=''", {**PG, "schema": "d"}),
    ("host=h1,h2 port=1,2", {**PG, "host": "h1,h2", "extra.port": "1,2"}),
    ("host=h1,h2 port=5432,5432", {**PG, "host": "h1,h2", "port": 5432}),
    ("host=/var/run/postgresql dbname=d", {**PG, "host": "/var/run/postgresql", "schema": "d"}),
    (
        "host=h options='-c search_path=a,b' sslmode=verify-full",
        {**PG, "host": "h", "extra.options": "-c search_path=a,b", "extra.sslmode": "verify-full"},
    ),
    ("host=h password=a;b", {**PG, "host": "h", "password": "a;b"}),
]
URIS = [
    (
        "postgresql://host1:123,host2:456/somedb?target_session_attrs=any&application_name=myapp",
        {
            **PG,
            "host": "host1,host2",
            "schema": "somedb",
            "extra.port": "123,456",
            "extra.target_session_attrs": "any",
            "extra.application_name": "myapp",
        },
    ),
    (
        "postgresql:///mydb?host=localhost&port=5433",
        {**PG, "host": "localhost", "port": 5433, "schema": "mydb"},
    ),
    (
        "postgresql:///dbname?host=/var/lib/postgresql",
        {**PG, "host": "/var/lib/postgresql", "schema": "dbname"},
    ),
    (
        "postgresql://host/db?user=uri-user&port=12345",
        {**PG, "host": "host", "schema": "db", "login": "uri-user", "port": 12345},
    ),
    (
        "postgres://u:p@h/db?ssl=true",
        {**PG, "host": "h", "login": "u", "password": "p", "schema": "db", "extra.sslmode": "require"},
    ),
    (
        "postgresql://[2001:db8::1234]:1,h2/database",
        {**PG, "host": "2001:db8::1234,h2", "schema": "database", "extra.port": "1,"},
    ),
]


@pytest.mark.parametrize(("text", "expected"), KEYWORDS, ids=[text for text, _ in KEYWORDS])
def test_a_keyword_string_says_the_connection(text, expected):
    check(text, "libpq", expected)


@pytest.mark.parametrize(("text", "expected"), URIS, ids=[text for text, _ in URIS])
def test_a_uri_of_libpq_says_the_connection(text, expected):
    check(text, "libpq-uri", expected)


@pytest.mark.parametrize("text", [text for text, _ in KEYWORDS])
def test_libpq_itself_reads_the_same(text):
    conninfo = pytest.importorskip("psycopg.conninfo")
    ours = {key: value for key, value in parse_keywords(text).items() if value}
    theirs = {key: str(value) for key, value in conninfo.conninfo_to_dict(text).items() if value}
    assert ours == theirs


@pytest.mark.parametrize("text", [text for text, _ in URIS])
def test_libpq_itself_reads_the_same_of_a_uri(text):
    conninfo = pytest.importorskip("psycopg.conninfo")
    theirs = conninfo.conninfo_to_dict(text)
    ours = fields_of(read_any(text).connections[None])
    assert ours.get("host") == theirs.get("host")
    assert str(ours.get("extra.port", ours.get("port"))) == str(theirs.get("port"))
    assert ours.get("schema") == theirs.get("dbname")


@pytest.mark.parametrize("text", ["postgresql://u:p@h:5432/db?sslmode=require", "postgres://h/d"])
def test_a_uri_of_one_host_is_airflows_and_reads_the_same(text):
    read = read_any(text)
    assert read.form == "airflow-uri"
    assert read.connections == read_any(text, form="libpq-uri").connections


@pytest.mark.parametrize(
    ("text", "form", "match"),
    [
        ("host=h uzer=x", "libpq", "none of libpq's"),
        ("host=h host=i", "libpq", "stands twice"),
        ("host='h", "libpq", "no end"),
        ("host='h'x=1", "libpq", "follows a value"),
        ("host=h port=http", "libpq", "port is not"),
        ("postgresql://h1,h2?uzer=1", None, "none of libpq's"),
        ("postgresql://[::1,h2/db", None, r"'\[' and '\]'"),
    ],
)
def test_what_libpq_refuses_is_refused(text, form, match):
    check_refused(text, form, match)
