"""ODBC and ADO.NET strings."""

import pytest

from form_cases import check, check_refused
from strongroom.transfer.forms import read_any

ODBC = [
    (
        "DRIVER={SQL Server};SERVER=(local);Trusted_Connection=Yes;DATABASE=AdventureWorks",
        {
            "conn_type": "odbc",
            "host": "(local)",
            "schema": "AdventureWorks",
            "extra.driver": "SQL Server",
            "extra.Trusted_Connection": "Yes",
        },
    ),
    (
        "DSN=dsnname;UID=u;PWD={a}}b;c}",
        {"conn_type": "odbc", "login": "u", "password": "a}b;c", "extra.dsn": "dsnname"},
    ),
    (
        "Driver={PostgreSQL Unicode};Server=h;Port=5432;Database=d;Uid=u;Pwd=p;",
        {
            "conn_type": "odbc",
            "host": "h",
            "port": 5432,
            "schema": "d",
            "login": "u",
            "password": "p",
            "extra.driver": "PostgreSQL Unicode",
        },
    ),
    (
        "Driver={ODBC Driver 18 for SQL Server};Server=tcp:s.database.windows.net,1433;Database=d;Uid=u;Pwd=p;Encrypt=yes;TrustServerCertificate=no",  # noqa: E501 -- as its page has it
        {
            "conn_type": "odbc",
            "host": "tcp:s.database.windows.net,1433",
            "schema": "d",
            "login": "u",
            "password": "p",
            "extra.driver": "ODBC Driver 18 for SQL Server",
            "extra.Encrypt": "yes",
            "extra.TrustServerCertificate": "no",
        },
    ),
]
ADONET = [
    (
        "Server=tcp:acme.database.windows.net,1433;Initial Catalog=db;Persist Security Info=False;User ID=u;Password=p;MultipleActiveResultSets=False;Encrypt=True;TrustServerCertificate=False;Connection Timeout=30;",  # noqa: E501 -- as its page has it
        {
            "conn_type": "mssql",
            "host": "acme.database.windows.net",
            "port": 1433,
            "schema": "db",
            "login": "u",
            "password": "p",
            "extra.encryption": "require",
            "extra.login_timeout": 30,
        },
    ),
    (
        'Data Source=h\\inst;Database=d;UID=u;PWD="a;""b"',
        {"conn_type": "mssql", "host": "h\\inst", "schema": "d", "login": "u", "password": 'a;"b'},
    ),
    (
        "Host=h;Port=5432;Username=u;Password=p;Database=d;SSL Mode=VerifyFull",
        {
            "conn_type": "postgres",
            "host": "h",
            "port": 5432,
            "login": "u",
            "password": "p",
            "schema": "d",
            "extra.sslmode": "verify-full",
        },
    ),
    (
        "Server=h;Port=3306;Database=d;Uid=u;Pwd=p;SslMode=Required",
        {
            "conn_type": "mysql",
            "host": "h",
            "port": 3306,
            "schema": "d",
            "login": "u",
            "password": "p",
            "extra.ssl_mode": "REQUIRED",
        },
    ),
    (
        "Server=h;Port=5432;Database=d;User Id=u;Password=p",
        {"conn_type": "postgres", "host": "h", "port": 5432, "schema": "d", "login": "u", "password": "p"},
    ),
    (
        "Server=h;Database=d;Uid=u;Pwd=p;SslMode=VerifyCA",
        {
            "conn_type": "mysql",
            "host": "h",
            "schema": "d",
            "login": "u",
            "password": "p",
            "extra.ssl_mode": "VERIFY_CA",
        },
    ),
    (
        "Data Source=db.example.com:1521/orcl;User Id=u;Password=p",
        {"conn_type": "oracle", "login": "u", "password": "p", "extra.dsn": "db.example.com:1521/orcl"},
    ),
    (
        (
            "User Id=u;Password=p;Data Source=(DESCRIPTION=(ADDRESS=(PROTOCOL=TCP)(HOST=h)(PORT=1521))"
            "(CONNECT_DATA=(SERVICE_NAME=s)));"
        ),
        {
            "conn_type": "oracle",
            "login": "u",
            "password": "p",
            "extra.dsn": "(DESCRIPTION=(ADDRESS=(PROTOCOL=TCP)(HOST=h)(PORT=1521))"
            "(CONNECT_DATA=(SERVICE_NAME=s)))",
        },
    ),
]


@pytest.mark.parametrize(("text", "expected"), ODBC, ids=[text for text, _ in ODBC])
def test_an_odbc_string_says_the_connection(text, expected):
    check(text, "odbc", expected)


@pytest.mark.parametrize(("text", "expected"), ADONET, ids=[text for text, _ in ADONET])
def test_an_adonet_string_says_the_connection(text, expected):
    check(text, "adonet", expected)


@pytest.mark.parametrize(
    ("text", "form", "match"),
    [
        (";", "odbc", "nothing is said"),
        ("Driver={open", "odbc", "no end"),
        ("Driver={x}y;Server=h", None, "follows a value"),
        ("Driver=x;Server=h;SERVER=i", None, "stands twice"),
        ("Driver=x;UID=a;User=b", None, "say the same"),
        ("Driver=x;junk;Server=h", None, "no key and value"),
        ("Server=h;User ID=a;UID=b;Database=d", None, "say the same"),
        ("Data Source=app.db;Version=3;Password=hunter2", None, "SQLite"),
        ("Server=tcp:h,x;Database=d", None, "port is not"),
    ],
)
def test_a_broken_string_is_refused(text, form, match):
    check_refused(text, form, match)


def test_a_password_that_the_hook_would_break_is_told():
    assert any("without braces" in one for one in read_any("DSN=d;PWD={a;b}").warnings)


def test_a_string_that_mysql_writes_too_is_told():
    assert "Port=3306" in read_any("Server=h;Database=d;Uid=u;Pwd=p").warnings[0]
