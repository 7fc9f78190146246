"""SQLAlchemy URLs, from the pages of SQLAlchemy and of the dialects."""

from urllib.parse import unquote

import pytest

from form_cases import check, check_refused
from strongroom.model.connection import Connection
from strongroom.model.secret import Secret
from strongroom.transfer.forms import read_any, write_any

HOST = {"host": "localhost", "login": "scott", "password": "tiger"}
CASES = [
    (
        "postgresql+psycopg2://scott:tiger@localhost:5432/mydatabase",
        {"conn_type": "postgres", **HOST, "port": 5432, "schema": "mydatabase"},
    ),
    (
        "postgresql+pg8000://scott:tiger@localhost/mydatabase",
        {"conn_type": "postgres", **HOST, "schema": "mydatabase"},
    ),
    (
        "postgresql+asyncpg://scott:tiger@localhost/db?ssl=require",
        {"conn_type": "postgres", **HOST, "schema": "db", "extra.sslmode": "require"},
    ),
    (
        "postgresql+psycopg2://user:pass@/db?host=h1:5432,h2:5433",
        {
            "conn_type": "postgres",
            "host": "h1,h2",
            "login": "user",
            "password": "pass",
            "schema": "db",
            "extra.port": "5432,5433",
        },
    ),
    (
        "postgresql+psycopg2://dbuser:kx%40jj5%2Fg@pghost10/appdb",
        {
            "conn_type": "postgres",
            "host": "pghost10",
            "login": "dbuser",
            "password": "kx@jj5/g",
            "schema": "appdb",
        },
    ),
    (
        "cockroachdb://root@localhost:26257/defaultdb",
        {"conn_type": "postgres", "host": "localhost", "port": 26257, "login": "root", "schema": "defaultdb"},
    ),
    ("mysql+mysqldb://scott:tiger@localhost/foo", {"conn_type": "mysql", **HOST, "schema": "foo"}),
    (
        "mysql+pymysql://scott:tiger@localhost/foo?charset=utf8mb4&ssl_ca=/home/gord/ca.pem&ssl_key=/k.pem",
        {
            "conn_type": "mysql",
            **HOST,
            "schema": "foo",
            "extra.charset": "utf8mb4",
            "extra.ssl": {"ca": "/home/gord/ca.pem", "key": "/k.pem"},
        },
    ),
    ("mariadb+mariadbconnector://scott:tiger@localhost/foo", {"conn_type": "mysql", **HOST, "schema": "foo"}),
    (
        "mssql+pymssql://scott:tiger@localhost:1433/db",
        {"conn_type": "mssql", **HOST, "port": 1433, "schema": "db"},
    ),
    (
        "mssql+pyodbc://scott:tiger@mydsn",
        {
            "conn_type": "odbc",
            "login": "scott",
            "password": "tiger",
            "extra.dsn": "mydsn",
            "extra.sqlalchemy_scheme": "mssql+pyodbc",
        },
    ),
    (
        (
            "mssql+pyodbc://scott:tiger@myhost:49242/databasename?driver=ODBC+Driver+18+for+SQL+Server"
            "&TrustServerCertificate=yes"
        ),
        {
            "conn_type": "odbc",
            "host": "myhost",
            "port": 49242,
            "login": "scott",
            "password": "tiger",
            "schema": "databasename",
            "extra.driver": "ODBC Driver 18 for SQL Server",
            "extra.TrustServerCertificate": "yes",
            "extra.sqlalchemy_scheme": "mssql+pyodbc",
        },
    ),
    (
        "mssql+pyodbc:///?odbc_connect=DRIVER%3D%7BODBC+Driver+18%7D%3BSERVER%3Dh%3BUID%3Du%3BPWD%3Dp",
        {
            "conn_type": "odbc",
            "host": "h",
            "login": "u",
            "password": "p",
            "extra.driver": "ODBC Driver 18",
            "extra.sqlalchemy_scheme": "mssql+pyodbc",
        },
    ),
    (
        "oracle+cx_oracle://scott:tiger@localhost:1521/sidname",
        {"conn_type": "oracle", **HOST, "port": 1521, "extra.sid": "sidname"},
    ),
    (
        "oracle+oracledb://scott:tiger@localhost:1521?service_name=freepdb1",
        {"conn_type": "oracle", **HOST, "port": 1521, "extra.service_name": "freepdb1"},
    ),
    (
        "oracle+oracledb://scott:tiger@tnsalias",
        {"conn_type": "oracle", "login": "scott", "password": "tiger", "extra.dsn": "tnsalias"},
    ),
    ("sqlite:///foo.db", {"conn_type": "sqlite", "host": "foo.db"}),
    ("sqlite:////absolute/path/to/foo.db", {"conn_type": "sqlite", "host": "/absolute/path/to/foo.db"}),
    ("sqlite+aiosqlite:///:memory:", {"conn_type": "sqlite"}),
    (
        "snowflake://jsmith:kx%40pw@myorg-account123/testdb/public?warehouse=testwh&role=myrole",
        {
            "conn_type": "snowflake",
            "login": "jsmith",
            "password": "kx@pw",
            "schema": "public",
            "extra.account": "myorg-account123",
            "extra.database": "testdb",
            "extra.warehouse": "testwh",
            "extra.role": "myrole",
        },
    ),
    ("bigquery://acme-project", {"conn_type": "gcpbigquery", "extra.project": "acme-project"}),
    (
        "trino://user:pw@trino.example.com:443/hive/default",
        {
            "conn_type": "trino",
            "host": "trino.example.com",
            "port": 443,
            "login": "user",
            "password": "pw",
            "schema": "default",
            "extra.catalog": "hive",
            "extra.protocol": "https",
        },
    ),
    (
        "databricks://token:dapi123@adb-1.azuredatabricks.net?http_path=/sql/1.0/warehouses/a&catalog=main&schema=x",
        {
            "conn_type": "databricks",
            "host": "adb-1.azuredatabricks.net",
            "password": "dapi123",
            "extra.http_path": "/sql/1.0/warehouses/a",
            "extra.catalog": "main",
            "extra.schema": "x",
        },
    ),
    (
        "clickhousedb://default:pw@ch.example.com:8443/default?secure=true",
        {
            "conn_type": "clickhouse",
            "host": "ch.example.com",
            "port": 8443,
            "login": "default",
            "password": "pw",
            "schema": "default",
            "extra.secure": True,
        },
    ),
    (
        "redshift+redshift_connector://u:p@c.eu.redshift.amazonaws.com:5439/dev",
        {
            "conn_type": "redshift",
            "host": "c.eu.redshift.amazonaws.com",
            "port": 5439,
            "login": "u",
            "password": "p",
            "schema": "dev",
        },
    ),
    (
        "hive://svc@hive:10000/default?auth=NOSASL",
        {
            "conn_type": "hiveserver2",
            "host": "hive",
            "port": 10000,
            "login": "svc",
            "schema": "default",
            "extra.auth_mechanism": "NOSASL",
        },
    ),
    (
        "teradatasql://u:p@td.example.com/?database=sales",
        {"conn_type": "teradata", "host": "td.example.com", "login": "u", "password": "p", "schema": "sales"},
    ),
    (
        "awsathena+rest://AKIA:sec%2Fret@athena.us-west-2.amazonaws.com:443/default?s3_staging_dir=s3://b/p/",
        {
            "conn_type": "athena",
            "login": "AKIA",
            "password": "sec/ret",
            "schema": "default",
            "extra.region_name": "us-west-2",
            "extra.s3_staging_dir": "s3://b/p/",
        },
    ),
    (
        "druid://d:8082/druid/v2/sql/",
        {"conn_type": "druid", "host": "d", "port": 8082, "extra.endpoint": "/druid/v2/sql"},
    ),
    (
        "postgresql+psycopg2://u:p@/d?host=a:5432&host=b:5433&host=c",
        {
            "conn_type": "postgres",
            "host": "a,b,c",
            "login": "u",
            "password": "p",
            "schema": "d",
            "extra.port": "5432,5433,",
        },
    ),
    (
        "mssql://u:p@h/d?driver=ODBC+Driver+18+for+SQL+Server",
        {
            "conn_type": "odbc",
            "host": "h",
            "login": "u",
            "password": "p",
            "schema": "d",
            "extra.driver": "ODBC Driver 18 for SQL Server",
            "extra.sqlalchemy_scheme": "mssql+pyodbc",
        },
    ),
    (
        "mysql://h/d?ssl_ca=/ca.pem",
        {"conn_type": "mysql", "host": "h", "schema": "d", "extra.ssl": {"ca": "/ca.pem"}},
    ),
    (
        "druid://h:8082/druid/v2/sql/",
        {"conn_type": "druid", "host": "h", "port": 8082, "extra.endpoint": "/druid/v2/sql"},
    ),
]


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[text for text, _ in CASES])
def test_a_url_of_a_vendors_page_says_the_connection(text, expected):
    check(text, "sqlalchemy", expected, told=not text.startswith("druid"))


@pytest.mark.parametrize(
    "text",
    [
        "postgres://u:p@h/d",
        "mysql://u:p@h/d?charset=utf8",
        "snowflake://u:p@/s?account=a&database=d",
        "trino://u@h:8080/schema?catalog=c",
        "databricks://@h?token=t",
        "sqlite://%2Fdata%2Fapp.db",
    ],
)
def test_a_url_that_airflow_reads_as_it_is_meant_is_airflows(text):
    assert read_any(text).form == "airflow-uri"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("firebird+fdb://u:p@h/d", "dialect is none"),
        ("sqlite+x://host/file", "SQLite has no host"),
        ("postgresql+psycopg2://h:99999/d", "port is not"),
        ("postgresql+psycopg2://u:a#b@h/d", "behind a '#'"),
        ("postgresql+psycopg2://u:%ff@h/d", "not UTF-8"),
        ("mysql+pymysql://h/d?a=1&a=2", "stands twice"),
    ],
)
def test_a_broken_url_is_refused(text, match):
    check_refused(text, "sqlalchemy", match)


@pytest.mark.parametrize("conn_type", ["postgres", "mysql", "mssql", "vertica"])
def test_sqlalchemy_itself_reads_the_same_of_what_is_written(conn_type):
    engine = pytest.importorskip("sqlalchemy.engine")
    odd = "p@s/s:w#o?r%d &+é"
    made = Connection(
        conn_type=conn_type, host="::1", port=1, login=odd, password=Secret(odd), schema="d/b c"
    )
    url = engine.make_url(write_any(made, "sqlalchemy").reveal())
    theirs = (url.host, url.port, url.username, url.password, unquote(url.database))
    assert theirs == ("::1", 1, odd, odd, "d/b c")


def test_what_airflow_has_no_place_for_is_told():
    assert "dataset" in read_any("bigquery://p/dataset").warnings[0]
    assert "HTTP" in read_any("clickhouse+native://h:9000/d").warnings[0]
