"""What lint says of a connection: a table of cases for each rule, and what holds for all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom import catalog
from strongroom.insight.leak import kind_of_secret
from strongroom.insight.lint import lint
from strongroom.insight.remark import RULES
from strongroom.model.connection import Connection
from strongroom.model.extra import path_of

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "lint.md"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n"


def remarks(*, has_references=False, extends=False, **fields):
    connection = Connection.from_dict(fields, "sdk")
    name = connection.conn_type or ""
    kind = catalog.find(name)
    near = () if kind is not None else catalog.nearest(name)
    return lint(connection, kind, nearest=near, has_references=has_references, extends=extends)


def told(**fields):
    """Give rule, level and field of every remark."""
    return [(one.rule, one.level, one.field) for one in remarks(**fields)]


def postgres(extra=None, **fields):
    return {"conn_type": "postgres", "host": "db", "login": "svc", "extra": extra} | fields


# fields of the connection, and what is said of it
CASES = {
    "no type": ({"host": "db"}, [("L2", "warning", "conn_type")]),
    "an unknown type": ({"conn_type": "posgres", "host": "db"}, [("L2", "warning", "conn_type")]),
    "a type in capitals": ({"conn_type": "Postgres", "host": "db"}, [("L2", "warning", "conn_type")]),
    "a misspelt key": (postgres({"sslmod": "require"}), [("L3", "warning", "extra.sslmod")]),
    "a key in other letters": (postgres({"sslMode": "require"}), [("L3", "warning", "extra.sslMode")]),
    "a sibling's key": (
        {"conn_type": "mysql", "extra": {"sslmode": "require"}},
        [("L3", "warning", "extra.sslmode")],
    ),
    "a key that nothing reads": (
        {"conn_type": "kubernetes", "extra": {"in_cluster": True, "colour": "red"}},
        [("L3", "note", "extra.colour")],
    ),
    "a password that nothing reads": (
        {"conn_type": "google_cloud_platform", "password": "unused"},
        [("L4", "note", "password")],
    ),
    "no host": ({"conn_type": "postgres"}, [("L5", "warning", "host")]),
    "no account": ({"conn_type": "snowflake", "login": "svc"}, [("L5", "warning", "extra.account")]),
    "no number": (postgres({"connect_timeout": "ten"}), [("L6", "warning", "extra.connect_timeout")]),
    "no yes or no": (
        {"conn_type": "aws", "extra": {"verify": "perhaps"}},
        [("L6", "warning", "extra.verify")],
    ),
    "no choice": (postgres({"sslmode": "please"}), [("L6", "warning", "extra.sslmode")]),
    "no JSON": ({"conn_type": "mysql", "extra": {"ssl": "ca=/ca.pem"}}, [("L6", "warning", "extra.ssl")]),
    "a number for a text": (postgres({"application_name": 5}), [("L6", "note", "extra.application_name")]),
    "an object for a text": (
        postgres({"application_name": {"a": 1}}),
        [("L6", "warning", "extra.application_name")],
    ),
    "a password in the host": (postgres(host="svc:hunter2@db"), [("L7", "error", "host")]),
    "a password in a JDBC URL": (
        {"conn_type": "jdbc", "host": "jdbc:postgresql://db/o?user=u&password=hunter22"},
        [("L7", "error", "host")],
    ),
    "a password in the description": (
        postgres(description="password: hunter2"),
        [("L7", "error", "description")],
    ),
    "the password as the login": (
        postgres(login="airflow", password="airflow"),
        [("L7", "warning", "login")],
    ),
    "the password within the schema": (
        postgres(schema="db?correct-horse", password="correct-horse"),
        [("L7", "error", "schema")],
    ),
    "a private key where an option stands": (
        postgres({"options": PEM}),
        [("L7", "error", "extra.options"), ("L8", "warning", "extra.options")],
    ),
    "a token in the host": (
        {"conn_type": "http", "host": "https://api.example.com/?token=abcdefgh"},
        [("L7", "error", "host")],
    ),
    "a line break in the host": (postgres(host="db\nx"), [("L8", "error", "host")]),
    "an invisible character": (postgres(login="sv\u200bc"), [("L8", "error", "login")]),
    "a line break behind the password": (postgres(password="hunter2\n"), [("L8", "warning", "password")]),
    "a blank behind the password": (postgres(password="hunter2 "), [("L8", "note", "password")]),
    "a blank before the schema": (postgres(schema=" orders"), [("L8", "warning", "schema")]),
    "an encoded login": (postgres(login="svc%40example.com"), [("L9", "warning", "login")]),
    "an encoded password": (postgres(password="p%40ss%2Fw"), [("L9", "note", "password")]),
    "a URL as the host": (postgres(host="postgresql://db"), [("L10", "error", "host")]),
    "a path in the host": (postgres(host="db/orders"), [("L10", "error", "host")]),
    "the end of a password in the host": (postgres(host="ss@db"), [("L8", "warning", "host")]),
    "a host in quotes": (postgres(host='"db"'), [("L8", "warning", "host")]),
    "a host of two words": (postgres(host="db\u00a01"), [("L8", "warning", "host")]),
    "the address of a webhook": (
        {"conn_type": "http", "host": f"https://hooks.slack.com/services/T0A1/B0A1/{'aB1' * 8}"},
        [("L7", "error", "host")],
    ),
    "a key of AWS in an old form": (
        {"conn_type": "aws", "extra": {"extra__aws__aws_secret_access_key": "s"}},
        [
            ("L12", "note", "extra.extra__aws__aws_secret_access_key"),
            ("L16", "warning", "extra.extra__aws__aws_secret_access_key"),
        ],
    ),
    "a key of AWS for its session": (
        {"conn_type": "aws", "extra": {"session_kwargs": {"aws_secret_access_key": "s"}}},
        [("L16", "warning", "extra.session_kwargs.aws_secret_access_key")],
    ),
    "a port in the host": (postgres(host="db:5432"), [("L11", "warning", "host")]),
    "another's port": ({"conn_type": "mysql", "port": 5432}, [("L11", "note", "port")]),
    "port 0": (postgres(port="0"), [("L11", "warning", "port")]),
    "https by http": (
        {"conn_type": "http", "host": "api.example.com", "port": 443},
        [("L11", "warning", "schema")],
    ),
    "a deprecated option": (
        {"conn_type": "sftp", "host": "h", "extra": {"key_file": "/k", "passphrase": "hunter2"}},
        [("L12", "note", "extra.passphrase")],
    ),
    "an old spelling": (
        {"conn_type": "aws", "extra": {"extra__aws__region_name": "eu-west-1"}},
        [("L12", "note", "extra.extra__aws__region_name")],
    ),
    "TLS turned off": (postgres({"sslmode": "disable"}), [("L13", "warning", "extra.sslmode")]),
    "no check, as text": (
        {"conn_type": "http", "host": "https://h", "extra": {"verify": "False"}},
        [("L13", "warning", "extra.verify")],
    ),
    "no check of the host's key": (
        {"conn_type": "ssh", "host": "h", "extra": {"no_host_key_check": True}},
        [("L13", "warning", "extra.no_host_key_check")],
    ),
    "files for the server": (
        {"conn_type": "mysql", "extra": {"local_infile": True}},
        [("L13", "warning", "extra.local_infile")],
    ),
    "any server": (
        {"conn_type": "odbc", "extra": {"TrustServerCertificate": "yes"}},
        [("L13", "warning", "extra.TrustServerCertificate")],
    ),
    "mail in clear": (
        {"conn_type": "smtp", "host": "h", "extra": {"disable_ssl": True, "disable_tls": True}},
        [("L13", "warning", "extra.disable_tls")],
    ),
    "two ways to sign in": (
        postgres({"iam": True}, password="hunter2"),
        [("L14", "warning", "extra.iam")],
    ),
    "two keys of Google": (
        {"conn_type": "google_cloud_platform", "extra": {"key_path": "/k", "keyfile_dict": {"a": 1}}},
        [("L14", "warning", "extra.key_path"), ("L16", "warning", "extra.keyfile_dict")],
    ),
    "half a certificate": (postgres({"sslcert": "/c.pem"}), [("L15", "warning", "extra.sslcert")]),
    "a key of AWS": (
        {"conn_type": "aws", "login": "AKIA", "password": "x"},
        [("L16", "warning", "password")],
    ),
    "a key of AWS in extra": (
        {"conn_type": "aws", "extra": {"aws_access_key_id": "a", "aws_secret_access_key": "s"}},
        [("L16", "warning", "extra.aws_secret_access_key")],
    ),
    "a key of Azure": (
        {"conn_type": "wasb", "host": "h", "extra": {"sas_token": "s"}},
        [("L16", "warning", "extra.sas_token")],
    ),
    "a mask": (postgres(password="***"), [("L17", "warning", "password")]),
    "a reference that is off": (postgres(host="${variable/host}"), [("L18", "warning", "host")]),
}

FINE = {
    "a plain database": postgres({"sslmode": "verify-full"}, port=5432, password="p@ss:w/rd?#[] %41%zz"),
    "another option of libpq": postgres({"keepalives": 1, "sslcrl": "/crl", "tcp_user_timeout": 5}),
    "text that says a number": postgres({"connect_timeout": "10", "sslmode": "Require"}),
    "nothing typed into the form": postgres({"sslmode": "", "connect_timeout": None}, schema="", password=""),
    "the path of a CA": {"conn_type": "aws", "extra": {"verify": "/etc/ca.pem", "region_name": "eu"}},
    "a session of AWS": {
        "conn_type": "aws",
        "extra": {"aws_access_key_id": "a", "aws_secret_access_key": "s", "aws_session_token": "t"},
    },
    "MinIO": {
        "conn_type": "aws",
        "login": "minio",
        "password": "hunter22",
        "extra": {"endpoint_url": "https://minio:9000"},
    },
    "a role": {"conn_type": "aws", "extra": {"role_arn": "arn:aws:iam::123456789012:role/etl"}},
    "Google by the machine": {"conn_type": "google_cloud_platform", "extra": {"project": "p"}},
    "headers of a request": {
        "conn_type": "http",
        "host": "https://h",
        "extra": {"Authorization": "Bearer x", "X-Tenant": "a"},
    },
    "an address of IPv6 with a zone": postgres(host="fe80::1%25eth0"),
    "several hosts of MongoDB": {"conn_type": "mongo", "host": "a:27017,b:27017"},
    "https by the schema": {"conn_type": "http", "host": "h", "schema": "https", "port": 443},
    "no type of a provider": {"conn_type": "generic", "host": "h", "extra": {"anything": [1]}},
    "mail with one of the two": {"conn_type": "smtp", "host": "h", "extra": {"disable_tls": True}},
    "a sentence about passwords": postgres(description="password: see the wiki, token from Vault"),
    "a description with a colon": postgres(description="secret of finance: quarterly numbers"),
    "IAM with a login": postgres({"iam": True, "aws_conn_id": "etl"}),
    "a token with the name whose it is": {
        "conn_type": "trino",
        "host": "h",
        "login": "u",
        "extra": {"auth": "jwt", "jwt__token": "x"},
    },
    "the path of SQLite": {"conn_type": "sqlite", "host": "relative", "schema": "path/to/db"},
    "the path of a socket": postgres(host="/var/run/postgresql"),
    "a descriptor of Oracle": {
        "conn_type": "oracle",
        "host": "(DESCRIPTION = (ADDRESS = (HOST = db)))",
        "login": "u",
    },
    "IAM turned off": postgres({"iam": False}, password="hunter2"),
    "what is still to be put together": {
        **postgres({"sslmode": "${variable/tls}"}, host="${variable/host}", password="x${variable/a}%40"),
        "has_references": True,
    },
    "what comes from another": {"extends": True, "extra": {"sslmode": "disable"}},
}


@pytest.mark.parametrize("case", CASES)
def test_what_looks_wrong_is_told_by_rule_level_and_field(case):
    fields, expected = CASES[case]
    assert told(**fields) == expected


@pytest.mark.parametrize("case", FINE)
def test_of_what_is_fine_nothing_is_said(case):
    assert remarks(**FINE[case]) == []


def test_a_misspelt_key_names_the_nearest():
    (remark,) = remarks(**postgres({"ssl_mode": "require"}))
    assert remark.fix == "did you mean sslmode?"
    (remark,) = remarks(conn_type="aws", extra={"region": "eu"})
    assert remark.fix == "call it region_name"


def test_an_unknown_type_names_the_nearest():
    (remark,) = remarks(conn_type="posgres", host="db")
    assert remark.fix == "did you mean postgres?"


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"conn_type": "aws", "login": "a", "password": "b"}, "IRSA"),
        ({"conn_type": "gcpbigquery", "extra": {"key_path": "/k"}}, "Workload Identity"),
        ({"conn_type": "azure", "login": "a", "password": "b"}, "managed identity"),
    ],
)
def test_a_static_key_comes_with_the_steps_to_a_role(fields, word):
    (remark,) = [one for one in remarks(**fields) if one.rule == "L16"]
    assert word in remark.fix


def test_a_document_in_place_of_options_is_looked_at_no_further_than_a_hundred_keys():
    extra = {f"key{number}{'x' * 500}": 1 for number in range(5000)}
    assert len(remarks(conn_type="kubernetes", extra=extra)) == 100


def test_a_key_that_is_no_word_is_not_named():
    (remark,) = [
        one for one in remarks(conn_type="kubernetes", extra={"hunter 2 \x1b": "x"}) if one.rule == "L3"
    ]
    assert remark.field == "extra.?"
    assert "hunter" not in str(remark)


@pytest.mark.parametrize(
    "key",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
        "ghp_" + "a1" * 18,
        "0123456789abcdef0123456789abcdef",
        "correct-horse-battery",
    ],
)
def test_a_secret_that_was_pasted_as_a_key_is_not_named(key):
    found = remarks(conn_type="kubernetes", password="correct-horse-battery", extra={key: "x"})
    assert [one.field for one in found if one.rule == "L3"] == ["extra.?"]
    assert key not in str(found)


def test_every_option_there_is_is_named():
    for name in catalog.names():
        for field in catalog.find(name).extras:
            assert path_of("extra", field.name) == f"extra.{field.name}"


@pytest.mark.parametrize("text", ["//:", "a:", "%41", "${variable/", "$", "password   ", "eyJ", " ", "\x00"])
def test_a_megabyte_of_anything_is_looked_at_in_one_pass(text):
    texts = dict.fromkeys(("host", "login", "schema"), text * (300_000 // len(text)))
    assert all(text * 5 not in str(one) for one in remarks(**postgres({}, **texts)))


# --- secrets in plain view -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "svc:hunter2@db",
        "https://svc:hunter2@db/x",
        "AccountName=a;AccountKey=Zm9vYmFyYmF6;",
        "https://acme.blob.core.windows.net/c?sv=2024&sig=abc%2Fdef",
        "Server=db;Pwd=hunter2",
        "Server=db;Pwd=xhunter2",
        "ghp_" + "a" * 36,
        "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
        "glpat-" + "a" * 20,
        "npm_" + "a" * 36,
        "Authorization: Bearer " + "a1" * 12,
        "https://discord.com/api/webhooks/123456789012345678/" + "a-1_" * 16,
        PEM,
    ],
)
def test_a_secret_is_known_by_its_shape_or_by_the_name_before_it(text):
    assert kind_of_secret(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "db.example.com",
        "fe80::1",
        "https://acme.example.com:8443/token",
        "svc@example.com",
        "password=***",
        "password={{ var.value.x }}",
        "token: ask the platform team",
        "Bearer of bad news",
        "https://hooks.slack.com/services",
        "",
    ],
)
def test_what_only_speaks_of_secrets_is_none(text):
    assert kind_of_secret(text) is None


# --- the page, and all of it together ---------------------------------------------------------------


def test_every_rule_is_documented_and_every_documented_rule_exists():
    sections = re.findall(r"^### (L\d+) ([a-z-]+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert dict(sections) == RULES
    assert len(sections) == len(RULES)


def test_every_rule_is_produced_but_the_one_for_what_cannot_be_read():
    produced = {rule for _, expected in CASES.values() for rule, _, _ in expected}
    assert produced == set(RULES) - {"L1"}


@pytest.mark.parametrize("kind", [catalog.find(name) for name in catalog.names()], ids=lambda kind: kind.name)
def test_what_is_dangerous_is_a_value_the_field_can_have(kind):
    for field in (*kind.standard, *kind.extras):
        assert bool(field.danger) == bool(field.dangerous)
        assert all(word == word.lower() and field.fits(word) for word in field.dangerous)


@pytest.mark.parametrize("version", ["airflow2", "airflow3"])
def test_nothing_that_airflow_exported_is_an_error(version):
    found = json.loads((ROOT / "tests" / "data" / version / "connections.json").read_text(encoding="utf-8"))
    seen = {}
    for name, fields in found.items():
        for remark in remarks(**fields):
            assert remark.level != "error", (name, remark)
            seen.setdefault(remark.rule, set()).add(name.rpartition("_")[0])
    assert seen == EXPORTED


# Why each finding in the exported connections is right. Their values were made to be hard to carry, not to
# work: passwords stand in types that have none, and required options are missing.
EXPORTED = {
    "L2": {"mssql_odbc", "my_custom_type"},  # types that no provider of Airflow has
    "L4": {"google_cloud_platform", "kafka", "kubernetes", "spark", "sqlite"},  # a password nothing reads
    "L5": {"kafka", "slack", "snowflake"},  # no servers, no token, no account
    "L8": {"ssh"},  # the password " lead and trail "
    "L13": {"ssh"},  # no_host_key_check
    "L14": {"ssh", "wasb"},  # a private key and a password; a SAS token and a service principal's tenant
    "L15": {"kafka"},  # sasl.password without sasl.username
    "L16": {"aws", "azure", "google_cloud_platform", "wasb"},  # keys that do not end
    "L17": {"generic", "google_cloud_platform", "snowflake"},  # the password "***"
}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 70000) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
CANARY = "kanarienvogel"


@settings(max_examples=200, deadline=None)
@given(st.data(), st.sampled_from(catalog.names()))
def test_whatever_stands_in_a_connection_no_remark_holds_a_value(data, name):
    kind = catalog.find(name)
    keys = st.sampled_from([field.name for field in kind.extras] or ["x"]) | st.text(min_size=1, max_size=8)
    extra = data.draw(st.dictionaries(keys, VALUES | st.just(f" {CANARY}%40 "), max_size=4))
    texts = st.none() | st.text(max_size=10) | st.sampled_from([CANARY, f"u:{CANARY}@h", f"pwd={CANARY}\n"])
    fields = {one: data.draw(texts) for one in ("host", "login", "schema", "password", "description")}
    for remark in remarks(conn_type=name, extra=extra, **fields):
        assert CANARY not in str(remark)
        assert remark.docs.startswith("docs/lint.md#l")
