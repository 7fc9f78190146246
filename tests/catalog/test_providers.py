"""
The catalog beside what the Airflow providers themselves say of their forms.

`tests/vectors/provider_forms.json` holds the metadata of the providers for Airflow 3.3.2, written by
`scripts/provider_forms.py`. Every difference stands in one of the two tables below, with its reason; one
that is gone must leave the table.

Not compared: whether a form ends in a box for the whole extra (ours always asks field by field), and what
ours leaves open or adds, which `foreign.merge` joins.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from strongroom.catalog import find, foreign, names

ROWS = {
    row["connection-type"]: row
    for row in json.loads(
        (Path(__file__).parent.parent / "vectors" / "provider_forms.json").read_text(encoding="utf-8")
    )
}

# Airflow's core names the first two and no provider; `amqp` is of hooks that others wrote.
WITHOUT_HOOK = {"generic", "email", "amqp"}
PROVIDED = [name for name in names() if name not in WITHOUT_HOOK]

KINDS = {
    ("text", "file"): "Airflow's forms have no type for a path",
    ("text", "json"): "Airflow's forms ask for JSON as text",
    ("text", "choice"): "the hook takes these words only; the form takes any",
    ("text", "multiline"): "a key has line breaks, which Airflow's text field loses",
}

UNUSED = "the hook has no form and never reads the field"
FORGOTTEN = "a secret that the provider forgot to mark as one"
PARTICULAR = {
    ("mysql", "schema", "label"): "what it is: a database",
    ("sqlite", "host", "label"): "what it is: the path of a file",
    ("sqlite", "login", "hidden"): UNUSED,
    ("sqlite", "password", "hidden"): UNUSED,
    ("sqlite", "port", "hidden"): UNUSED,
    ("sqlite", "schema", "hidden"): UNUSED,
    ("drill", "schema", "hidden"): UNUSED,
    ("hive_cli", "use_beeline", "default"): "the hook takes False where the key is not there",
    ("hiveserver2", "schema", "label"): "what it is: a database",
    ("hive_metastore", "login", "hidden"): UNUSED,
    ("hive_metastore", "password", "hidden"): UNUSED,
    ("hive_metastore", "schema", "hidden"): UNUSED,
    ("spark", "rest-port", "type"): "the hook makes a number of it",
    ("spark", "rest-port", "default"): "the same number, as a number",
    (
        "google_cloud_platform",
        "idp_extra_parameters",
        "name",
    ): "the form writes a key that the hook does not read",
    ("gcpbigquery", "idp_extra_parameters", "name"): "the form writes a key that the hook does not read",
    ("gcpssh", "host", "shown"): "the hook reads it where no instance is named",
    ("gcpssh", "login", "shown"): "the hook reads it",
    ("google_ads", "developer_token", "secret"): FORGOTTEN,
    ("dataprep", "host", "hidden"): UNUSED,
    ("dataprep", "login", "hidden"): UNUSED,
    ("dataprep", "password", "hidden"): UNUSED,
    ("dataprep", "port", "hidden"): UNUSED,
    ("dataprep", "schema", "hidden"): UNUSED,
    ("azure_fileshare", "connection_string", "secret"): FORGOTTEN,
    ("azure_cosmos", "login", "placeholder"): "an example instead of a repetition",
    ("azure_service_bus", "schema", "placeholder"): "the same, short enough to be read",
    ("msgraph", "certificate_data", "secret"): "it holds the private key",
    ("msgraph", "trust_env", "default"): "the hook takes False where the key is not there",
    ("smtp", "access_token", "secret"): FORGOTTEN,
    ("smtp", "client_secret", "secret"): FORGOTTEN,
    ("imap", "schema", "hidden"): UNUSED,
    ("influxdb3", "password", "shown"): "the hook reads it where extra has no token",
    ("slack", "proxy", "secret"): "its address may hold a password",
    ("slackwebhook", "proxy", "secret"): "its address may hold a password",
    ("discord", "webhook_endpoint", "secret"): "the webhook's token is in it",
    ("telegram", "host", "label"): "what the hook reads there",
    ("telegram", "password", "label"): "what the hook reads there",
    ("salesforce", "private_key_file_path", "secret"): "the path of a key is no secret",
    ("asana", "password", "label"): "what the provider's own example says",
    ("tableau", "port", "hidden"): "the hook never reads it: the port stands in the host",
    ("tableau", "schema", "label"): "what it is: http or https",
    ("datadog", "api_key", "secret"): FORGOTTEN,
    ("datadog", "app_key", "secret"): FORGOTTEN,
    ("ftp", "schema", "hidden"): UNUSED,
    ("vault", "schema", "label"): "what it is: the mount point of the engine",
    ("vault", "jwt_token", "secret"): FORGOTTEN,
    ("jenkins", "schema", "label"): "what it is: a prefix of paths",
    ("weaviate", "grpc_port", "type"): "the hook hands a port on",
}


def _standard(ours, theirs):
    ours, theirs = ({field.name: field for field in one.standard} for one in (ours, theirs))
    for name in ours.keys() - theirs.keys():
        yield name, "shown"
    for name in theirs.keys() - ours.keys():
        yield name, "hidden"
    for name in ours.keys() & theirs.keys():
        if ours[name].label != theirs[name].label:
            yield name, "label"
        if theirs[name].placeholder and ours[name].placeholder not in ("", theirs[name].placeholder):
            yield name, "placeholder"


def _extra(ours, theirs, told):
    if ours is None or ours.name != theirs.name:
        yield "name"
        return
    if ours.label != theirs.label:
        yield "label"
    if ours.type != theirs.type and (theirs.type, ours.type) not in KINDS:
        yield "type"
    if theirs.default not in (None, ours.default):
        yield "default"
    if theirs.choices and theirs.choices != ours.choices:
        yield "choices"
    # Not `theirs.is_secret`, which guesses by name as well.
    if ours.is_secret != (told["schema"].get("format") == "password"):
        yield "secret"


def differences(name):
    row, ours = ROWS[name], find(name)
    theirs = foreign.parse(row)
    found = set()
    if "ui-field-behaviour" in row:
        found |= set(_standard(ours, theirs))
    for field in theirs.extras:
        told = row["conn-fields"][field.name]
        found |= {(field.name, aspect) for aspect in _extra(ours.extra_field(field.name), field, told)}
    return {(name, *one) for one in found}


@pytest.mark.parametrize("name", PROVIDED)
def test_every_difference_from_the_provider_has_its_reason(name):
    listed = {one for one in PARTICULAR if one[0] == name}
    assert differences(name) == listed


def test_providers_of_all_types_were_read():
    assert set(PROVIDED) <= set(ROWS)
    assert WITHOUT_HOOK.isdisjoint(ROWS)
    assert all(row["version"] for row in ROWS.values())


@pytest.mark.parametrize("name", PROVIDED)
def test_joined_with_the_provider_nothing_of_ours_is_lost_and_nothing_of_theirs_missing(name):
    ours, theirs = find(name), foreign.parse(ROWS[name])
    joined = foreign.merge(ours, theirs)
    assert [field.name for field in joined.standard] == [field.name for field in ours.standard]
    assert {field.name for field in ours.extras} <= {field.name for field in joined.extras}
    assert all(joined.extra_field(field.name) for field in theirs.extras)
    assert len({field.name for field in joined.extras}) == len(joined.extras)
    for field in joined.extras:
        before = ours.extra_field(field.name)
        assert before is None or not before.is_secret or field.is_secret
