"""PostgreSQL's keyword strings and URIs; what libpq itself reads is asked where psycopg is installed."""

import pytest
from psycopg import conninfo

from form_cases import check, check_many, check_refused, fields_of
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
    ours = {key: value for key, value in parse_keywords(text).items() if value}
    theirs = {key: str(value) for key, value in conninfo.conninfo_to_dict(text).items() if value}
    assert ours == theirs


@pytest.mark.parametrize("text", [text for text, _ in URIS])
def test_libpq_itself_reads_the_same_of_a_uri(text):
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


def test_sections_of_a_service_file_are_connections_by_name():
    check_many(
        "# c\n[a]\nhost=h\nport=5433\nuser=u\npassword=p = w#1\n\n[b c]\ndbname=d\nsslmode=require\n",
        "pg-service",
        {
            "a": {"conn_type": "postgres", "host": "h", "port": 5433, "login": "u", "password": "p = w#1"},
            "b c": {"conn_type": "postgres", "schema": "d", "extra.sslmode": "require"},
        },
    )


def test_lines_of_a_password_file_are_called_as_their_databases():
    check_many(
        "#hostname:port:database:username:password\nh:5432:a:u:p\\:w\\\\\n*:*:b:u:p:q",
        "pgpass",
        {
            "a": {
                "conn_type": "postgres",
                "host": "h",
                "port": 5432,
                "schema": "a",
                "login": "u",
                "password": "p:w\\",
            },
            "b": {"conn_type": "postgres", "schema": "b", "login": "u", "password": "p:q"},
        },
    )


def test_lines_of_a_password_file_whose_databases_are_the_same_are_called_by_more():
    read = read_any("h1:5432:a:u:p\nh2:5432:a:u:p\nh3:*:*:v:p")
    assert list(read.connections) == ["h1_a_u", "h2_a_u", "h3_v"]
    assert not read.warnings
    assert "* for host" in read_any("*:*:*:u:p").warnings[0]


@pytest.mark.parametrize(
    ("text", "form", "match"),
    [
        ("[a]\nhost=h\n[a]\nhost=g", None, "service stands twice"),
        ("[a]\nhost=h\nhost=hunter2", None, "stands twice"),
        ("[a]\nhost=h\njunk", "pg-service", "no key=value"),
        ("host=h", "pg-service", "no key=value"),
        ("# c", "pg-service", "no .service"),
        ("h:5432:a:u:p\nh:5432:a:u:hunter2", None, "a line stands twice"),
        ("h:5432:a:hunter2", "pgpass", "no host:port"),
        ("h:99999:a:u:hunter2", None, "port is not"),
        ("# c", "pgpass", "no host:port"),
    ],
)
def test_a_broken_file_of_postgresql_is_refused(text, form, match):
    check_refused(text, form, match)
