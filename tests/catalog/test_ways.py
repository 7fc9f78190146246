"""Ways to sign in as the hooks take them: what they read together is no contradiction, the rest is one."""

from __future__ import annotations

import json

import pytest

from strongroom.catalog import find
from strongroom.insight.lint import lint
from strongroom.model.connection import Connection


def contradictions(conn_type, extra, **fields):
    text = json.dumps({"conn_type": conn_type, "extra": extra} | fields)
    found = lint(Connection.parse(text), find(conn_type))
    return [remark.field for remark in found if remark.rule in ("L3", "L4", "L14")]


@pytest.mark.parametrize(
    ("conn_type", "extra", "fields"),
    [
        ("postgres", {"iam": True, "azure_conn_id": "azure_default"}, {"host": "db", "login": "svc"}),
        ("postgres", {"iam": True, "aws_conn_id": "aws_default"}, {"host": "db", "login": "svc"}),
        ("snowflake", {"account": "a", "private_key_file": "/k"}, {"login": "svc", "password": "phrase"}),
        ("snowflake", {"account": "a", "private_key_content": "k"}, {"login": "svc", "password": "phrase"}),
        (
            "snowflake",
            {"account": "a", "authenticator": "oauth", "grant_type": "client_credentials"},
            {"login": "id", "password": "secret"},
        ),
        (
            "snowflake",
            {"account": "a", "authenticator": "programmatic_access_token"},
            {"login": "svc", "password": "token"},
        ),
        ("ssh", {"key_file": "/k"}, {"host": "h", "password": "phrase"}),
        ("msgraph", {"tenant_id": "t", "certificate_path": "/c"}, {"login": "id", "password": "phrase"}),
        ("influxdb3", {"database": "d"}, {"host": "h", "password": "token"}),
        (
            "oracle",
            {"dsn": "orders_high", "wallet_location": "/w", "wallet_password": "phrase"},
            {"login": "svc", "password": "x"},
        ),
        ("aws", {"role_arn": "r", "assume_role_with_web_identity_federation": "file"}, {}),
    ],
)
def test_what_a_hook_reads_together_is_no_contradiction(conn_type, extra, fields):
    assert contradictions(conn_type, extra, **fields) == []


@pytest.mark.parametrize(
    ("conn_type", "extra", "fields"),
    [
        ("postgres", {"iam": True}, {"host": "db", "login": "svc", "password": "x"}),
        ("snowflake", {"account": "a", "private_key_file": "/k", "private_key_content": "k"}, {"login": "s"}),
        ("ssh", {"key_file": "/k", "private_key": "k"}, {"host": "h"}),
        ("influxdb3", {"database": "d", "token": "t"}, {"host": "h", "password": "other"}),
    ],
)
def test_what_a_hook_takes_one_of_is_one(conn_type, extra, fields):
    assert contradictions(conn_type, extra, **fields) != []


@pytest.mark.parametrize(
    ("conn_type", "key"),
    [
        ("oracle", "wallet_password"),
        ("snowflake", "oauth_password"),
        ("amqp", "password"),
        ("amqp", "connection_uri"),
        ("aws", "assume_role_with_saml"),
        ("ssh", "passphrase"),
    ],
)
def test_secrets_that_forms_do_not_ask_for_are_secret_all_the_same(conn_type, key):
    kind = find(conn_type)
    assert not kind.is_public(("extra", key))
