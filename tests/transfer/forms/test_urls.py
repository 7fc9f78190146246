"""MongoDB, AMQP, Redis and web addresses, from the vendors' pages."""

import pytest

from form_cases import check, check_refused
from strongroom.transfer.forms import read_any

CASES = [
    (
        "https",
        "https://hooks.slack.com/services/T00000000/B00000000/hunter2",
        {
            "conn_type": "slackwebhook",
            "schema": "https",
            "host": "hooks.slack.com/services",
            "password": "T00000000/B00000000/hunter2",
        },
    ),
    (
        "https",
        "http://u:p@h:8080/api/v1?x=1",
        {"conn_type": "http", "schema": "http", "host": "h", "port": 8080, "login": "u", "password": "p"},
    ),
    (
        "airflow-uri",
        "http://u:p@h:80/https?headers=x",
        {
            "conn_type": "http",
            "schema": "https",
            "host": "h",
            "port": 80,
            "login": "u",
            "password": "p",
            "extra.headers": "x",
        },
    ),
    ("redis", "valkey://h:6379/0", {"conn_type": "redis", "host": "h", "port": 6379, "extra.db": 0}),
    ("redis", "valkeys://h", {"conn_type": "redis", "host": "h", "extra.ssl": True}),
    ("redis", "redis+socket:///r.sock", {"conn_type": "redis", "extra.unix_socket_path": "/r.sock"}),
    (
        "mongodb",
        "mongodb://myDatabaseUser:D1fficultP%40ssw0rd@mongodb0.example.com:27017/?authSource=admin",
        {
            "conn_type": "mongo",
            "host": "mongodb0.example.com",
            "port": 27017,
            "login": "myDatabaseUser",
            "password": "D1fficultP@ssw0rd",
            "extra.authSource": "admin",
        },
    ),
    (
        "mongodb",
        "mongodb://u:p@m0.example.com:27017,m1.example.com:27018/db?replicaSet=rs&ssl=true&maxPoolSize=50",
        {
            "conn_type": "mongo",
            "host": "m0.example.com:27017,m1.example.com:27018",
            "login": "u",
            "password": "p",
            "schema": "db",
            "extra.replicaSet": "rs",
            "extra.ssl": True,
            "extra.maxPoolSize": 50,
        },
    ),
    (
        "mongodb",
        "mongodb+srv://u:p@cluster0.example.mongodb.net/?retryWrites=true&w=majority",
        {
            "conn_type": "mongo",
            "host": "cluster0.example.mongodb.net",
            "login": "u",
            "password": "p",
            "extra.srv": True,
            "extra.retryWrites": True,
            "extra.w": "majority",
        },
    ),
    (
        "mongodb",
        "mongodb://%2Ftmp%2Fmongodb-27017.sock/db",
        {"conn_type": "mongo", "host": "/tmp/mongodb-27017.sock", "schema": "db"},
    ),
    (
        "amqp",
        "amqp://user:pass@host:10000/vhost",
        {
            "conn_type": "amqp",
            "host": "host",
            "port": 10000,
            "login": "user",
            "password": "pass",
            "schema": "vhost",
        },
    ),
    (
        "amqp",
        "amqp://user%61:%61pass@ho%61st:10000/v%2fhost",
        {
            "conn_type": "amqp",
            "host": "hoast",
            "port": 10000,
            "login": "usera",
            "password": "apass",
            "schema": "v/host",
        },
    ),
    ("amqp", "amqp://host/%2f", {"conn_type": "amqp", "host": "host", "schema": "/"}),
    ("amqp", "amqps://[::1]:5671", {"conn_type": "amqp", "host": "::1", "port": 5671, "extra.ssl": True}),
    (
        "redis",
        "redis://default:pw@redis-1.example.com:12000/0",
        {
            "conn_type": "redis",
            "host": "redis-1.example.com",
            "port": 12000,
            "login": "default",
            "password": "pw",
            "extra.db": 0,
        },
    ),
    (
        "redis",
        "rediss://:p%40ss@h:6380?ssl_cert_reqs=none&db=3",
        {
            "conn_type": "redis",
            "host": "h",
            "port": 6380,
            "password": "p@ss",
            "extra.ssl": True,
            "extra.ssl_cert_reqs": "none",
            "extra.db": 3,
        },
    ),
    (
        "redis",
        "unix:///var/run/redis.sock?db=1&password=p",
        {
            "conn_type": "redis",
            "password": "p",
            "extra.unix_socket_path": "/var/run/redis.sock",
            "extra.db": 1,
        },
    ),
    (
        "https",
        "https://user:pass@api.example.com/v1",
        {
            "conn_type": "http",
            "schema": "https",
            "host": "api.example.com",
            "login": "user",
            "password": "pass",
        },
    ),
]


@pytest.mark.parametrize(("form", "text", "expected"), CASES, ids=[text for _, text, _ in CASES])
def test_a_url_of_a_vendors_page_says_the_connection(form, text, expected):
    check(text, form, expected)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("redis+sentinel://:hunter2@h1:26379,h2:26379/mymaster/0", "Sentinel"),
        ("sentinel://h1:26379;sentinel://h2:26379", "Sentinel"),
        ("mongodb+srv://h:27017/", "names no port"),
        ("mongodb://h1,,h2/db", "empty"),
        ("mongodb://u:a/b@h/db", "port is not"),
        ("amqp://h/a/b", "virtual host"),
        ("amqp://h1,h2/v", "one host"),
        ("redis://h/zero", "number of a database"),
        ("redis://h1,h2/0", "one host"),
        ("https:///path", "no single host"),
        ("rediss://h:6380/\x07", "control character"),
    ],
)
def test_a_broken_url_is_refused(text, match):
    check_refused(text, None, match)


def test_a_login_that_mongos_hook_drops_is_told():
    assert "without a password" in read_any("mongodb://u@h/db").warnings[0]


def test_an_airflow_uri_of_an_unknown_type_names_the_nearest():
    assert read_any("mongdb://h").warnings[0].startswith("its type is none the catalog knows")
