"""What holds for every row of the catalog, and what may be shown of a connection by it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom import catalog
from strongroom.catalog import FAMILIES, classify, find, names, nearest, shows
from strongroom.catalog.field import STANDARD, Field, text
from strongroom.catalog.synonym import _SYNONYMS

TYPES = [find(name) for name in names()]
EVERY = pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)

SECRET = re.compile(
    r"pass(?!ive)|pwd|token|secret|credential|key|dsn|connection_string|certificate|cookie|keytab|private|sas|auth",
    re.IGNORECASE,
)
# Why a text whose name reads like a secret's may be shown; a path, a number, a word of a list is none.
PUBLIC = {
    "authSource": "the name of a database",
    "auth_mount_point": "a path of Vault",
    "authenticator": "the way of signing in, or an address",
    "authority": "the address of a login page",
    "aws_access_key_id": "AWS writes it into its logs: it names the key, the secret is apart",
    "consumer_key": "the ID of a connected app; its secret is consumer_secret",
    "dsn": "of Oracle and ODBC: where the server is; login and password stand apart",
    "host_key": "the public half",
    "key_secret_name": "the name of a secret in Secret Manager",
    "key_secret_project_id": "the project of that",
    "secret_manager_endpoint": "an address",
    "oauth2-server-uri": "an address",
    "oauth_username": "a user's name",
    "partition_key": "a path inside documents",
    "public_ssh_key": "the public half",
    "sasl.username": "a user's name",
    "sasl.kerberos.service.name": "the name of a service",
    "sasl.kerberos.principal": "the name of a principal",
    "sasl.oauthbearer.client.id": "the ID of a client",
    "sasl.oauthbearer.token.endpoint.url": "an address",
    "token_endpoint": "an address",
    "token_provider": "the name of a function",
    "token_type": "the type of a token",
    "federated_token_provider": "the name of a function",
}


def test_there_are_at_least_55_types_and_each_stands_in_one_family():
    counted = Counter(name for family in FAMILIES.values() for name in family)
    assert len(names()) >= 55
    assert set(counted.values()) == {1}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_index_names_what_the_family_holds(family):
    held = import_module(f"strongroom.catalog.{family}").TYPES
    assert tuple(kind.name for kind in held) == FAMILIES[family]
    assert {kind.family for kind in held} == {family}


@EVERY
def test_names_titles_and_addresses_are_written_as_they_are_used(kind):
    assert re.fullmatch(r"[a-z0-9_]+", kind.name)
    assert kind.title == kind.title.strip() != ""
    assert kind.docs.startswith("https://")
    assert re.fullmatch(r"[a-z0-9-]+", kind.icon)
    assert re.fullmatch(r"[a-z0-9_]+", kind.default_id)


@EVERY
def test_no_two_fields_share_a_spelling(kind):
    assert set(kind.hidden).isdisjoint(field.name for field in kind.standard)
    assert len({field.name for field in kind.standard}) == len(kind.standard) <= len(STANDARD)
    spelled = Counter(spelling for field in kind.extras for spelling in (field.name, *field.aliases))
    assert [spelling for spelling, count in spelled.items() if count > 1] == []
    for field in kind.extras:
        assert kind.extra_field(field.name) is field
        assert kind.extra_field(f"extra__{kind.legacy}__{field.name}") is field


@EVERY
def test_every_field_is_whole(kind):
    for field in (*kind.standard, *kind.extras):
        assert field.label
        assert field.help == "" or field.help.endswith((".", "…"))
        assert bool(field.choices) == (field.type == "choice")
        assert not (field.is_secret and field.default is not None)
        if field.default is None:
            continue
        if field.type == "choice":
            assert str(field.default) in field.choices
        else:
            wanted = {"integer": int, "number": (int, float), "boolean": bool}.get(field.type, str)
            assert isinstance(field.default, wanted)
        assert field.type != "integer" or not isinstance(field.default, bool)


@EVERY
def test_groups_name_fields_there_are(kind):
    known = {field.name for field in (*kind.standard, *kind.extras)}
    for group in kind.groups:
        assert group.title
        assert group.fields <= known, group.fields - known
        assert len(group.ways) == 1 if group.kind == "together" else len(group.ways) > 1
        assert len({way.fields for way in group.ways}) == len(group.ways) or kind.name == "vault"
        assert len({way.title for way in group.ways}) == len(group.ways)


@EVERY
def test_what_reads_like_a_secret_is_one_or_its_reason_is_listed(kind):
    for field in (*kind.standard, *kind.extras):
        for spelling in (field.name, *field.aliases):
            if field.is_public and field.type == "text" and SECRET.search(spelling):
                assert spelling in PUBLIC, f"{kind.name}.{spelling}"


def test_no_reason_is_left_over():
    fields = [field for kind in TYPES for field in kind.extras if field.type == "text" and field.is_public]
    assert set(PUBLIC) <= {spelling for field in fields for spelling in (field.name, *field.aliases)}


# --- what may be shown ---------------------------------------------------------------------------


@given(st.sampled_from([None, "", "no_such_type", *names()]), st.lists(st.text(), max_size=3))
def test_what_is_not_known_is_secret(conn_type, rest):
    kind = find(conn_type) if conn_type else None
    path = ("extra", *rest)
    known = kind is not None and len(rest) == 1 and kind.extra_field(rest[0]) is not None
    if not known:
        assert classify(conn_type, path) == "secret"


@given(st.sampled_from([None, "no_such_type", *names()]), st.text())
def test_only_standard_fields_are_public_outside_extra(conn_type, field):
    if field not in ("conn_type", "description", "host", "port", "schema", "login"):
        assert classify(conn_type, (field,)) == "secret"
    assert classify(conn_type, (field, "deeper")) == "secret" or field == "extra"


@pytest.mark.parametrize("conn_type", [None, "no_such_type", *names()])
def test_a_password_is_always_secret_and_a_port_never(conn_type):
    assert classify(conn_type, ("password",)) == "secret"
    assert classify(conn_type, ("port",)) == "public"
    assert classify(conn_type, ()) == "secret"
    assert classify(conn_type, ("extra",)) == "secret"


@pytest.mark.parametrize(
    ("conn_type", "path", "answer"),
    [
        ("postgres", ("extra", "sslmode"), "public"),
        ("postgres", ("extra", "sslmode", "deeper"), "secret"),
        ("postgres", ("extra", "sslpassword"), "secret"),
        ("postgres", ("login",), "public"),
        ("no_such_type", ("login",), "public"),
        ("no_such_type", ("extra", "sslmode"), "secret"),
        ("azure_service_bus", ("schema",), "secret"),
        ("slackwebhook", ("host",), "secret"),
        ("slack", ("login",), "secret"),
        ("openai", ("login",), "secret"),
        ("wasb", ("extra", "connection_string"), "secret"),
        ("wasb", ("extra", "extra__wasb__connection_string"), "secret"),
        ("wasb", ("extra", "extra__wasb__tenant_id"), "public"),
        ("wasb", ("extra", "tenantId"), "public"),
        ("gcpbigquery", ("extra", "extra__google_cloud_platform__project"), "public"),
        ("http", ("extra", "Authorization"), "secret"),
        ("http", ("extra", "proxies"), "secret"),
        ("kafka", ("extra", "sasl.password"), "secret"),
        ("aws", ("extra", "region_name"), "public"),
        ("aws", ("extra", "aws_secret_access_key"), "secret"),
    ],
)
def test_types_tell_what_may_be_shown(conn_type, path, answer):
    assert classify(conn_type, path) == answer


@pytest.mark.parametrize(
    ("conn_type", "key", "value", "is_shown"),
    [
        ("postgres", "sslmode", "require", True),
        ("postgres", "sslmode", "hunter2", False),
        ("postgres", "connect_timeout", 10, True),
        ("postgres", "connect_timeout", "10", True),
        ("postgres", "connect_timeout", "ten", False),
        ("postgres", "connect_timeout", True, False),
        ("postgres", "iam", True, True),
        ("postgres", "iam", "True", True),
        ("postgres", "iam", "hunter2", False),
        ("postgres", "application_name", "airflow", True),
        ("postgres", "application_name", None, True),
        ("http", "verify", "/etc/ssl/ca.pem", False),
        ("http", "timeout", 1.5, True),
        ("vault", "kv_engine_version", 2, True),
        ("no_such_type", "anything", True, False),
    ],
)
def test_a_value_of_another_type_than_its_field_is_not_shown(conn_type, key, value, is_shown):
    assert shows(conn_type, ("extra", key), value) is is_shown


# --- finding -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "first"),
    [
        ("postgresql", "postgres"),
        ("postgress", "postgres"),
        ("Postgres", "postgres"),
        ("postgresql+psycopg2", "postgres"),
        ("mariadb", "mysql"),
        ("gcp", "google_cloud_platform"),
        ("s3", "aws"),
        ("k8s", "kubernetes"),
        ("big query", "gcpbigquery"),
        ("cosmos", "azure_cosmos"),
        ("azure-blob-storage", "wasb"),
        ("snowflak", "snowflake"),
    ],
)
def test_the_nearest_name_comes_first(word, first):
    assert nearest(word)[0] == first


def test_nothing_is_near_to_nonsense():
    assert nearest("qqqqqqqq") == ()
    assert nearest("") == ()


def test_synonyms_lead_to_types_and_hide_none():
    assert set(_SYNONYMS.values()) <= set(names())
    assert set(_SYNONYMS).isdisjoint(names())


def test_a_type_that_is_not_there_is_none():
    assert find("no_such_type") is None


def test_only_the_family_that_is_asked_for_is_loaded():
    program = (
        "import sys; from strongroom import catalog; before = set(sys.modules); catalog.find('redis');"
        "print(sorted(name for name in set(sys.modules) - before if name.startswith('strongroom')))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    wanted = [f"strongroom.catalog{end}" for end in (".field", ".kind", ".stores")]
    assert said.strip() == repr(wanted)


def test_the_catalog_is_data():
    assert all(isinstance(kind, catalog.find("aws").__class__) for kind in TYPES)
    for row in (TYPES[0], TYPES[0].standard[0], TYPES[0].groups[0], TYPES[0].groups[0].ways[0]):
        with pytest.raises(AttributeError):
            row.name = "other"


@EVERY
def test_what_is_said_of_a_row_is_what_rows_of_its_class_have(kind):
    rows = [
        kind,
        *kind.standard,
        *kind.extras,
        *kind.groups,
        *(way for one in kind.groups for way in one.ways),
    ]
    for row in rows:
        assert vars(row).keys() <= row.as_dict().keys()
        assert row.replace() == row
        assert hash(row.replace()) == hash(row)
        assert row.as_dict() == {name: getattr(row, name) for name in row.as_dict()}


def test_rows_that_say_the_same_are_equal_and_others_are_not():
    told = text("region", "Region")
    assert told == Field(name="region", label="Region") != told.replace(label="Zone")
    assert told != ("region", "Region")
    assert repr(Field(name="region", label="Region")) == "Field(name='region', label='Region')"
