"""Types as providers describe them: read whatever is wrong with them, and joined with ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.catalog import find
from strongroom.catalog.field import STANDARD, flag, text
from strongroom.catalog.foreign import INSTALLED, merge, parse
from strongroom.catalog.kind import ConnectionType

ROW = {
    "connection-type": "acme",
    "provider": "apache-airflow-providers-acme",
    "hook-name": "Acme",
    "ui-field-behaviour": {
        "hidden-fields": ["schema", "extra"],
        "relabeling": {"login": "Client ID"},
        "placeholders": {"host": "acme.example.com", "region": "eu"},
    },
    "conn-fields": {
        "region": {"label": "Region", "schema": {"type": ["string", "null"]}},
        "retries": {"label": "Retries", "schema": {"type": "integer", "default": 3}},
        "mode": {"label": "Mode", "schema": {"type": ["string"], "enum": ["fast", "safe"]}},
        "shown_token": {"schema": {"type": "string"}},
        "hidden": {"label": "Hidden", "schema": {"type": "string", "format": "password"}},
    },
}


def test_a_row_becomes_a_type():
    kind = parse(ROW)
    assert (kind.title, kind.family) == ("Acme", INSTALLED)
    assert kind.docs.endswith("/apache-airflow-providers-acme/stable/index.html")
    assert kind.hidden == ("schema",)
    assert kind.standard_field("login").label == "Client ID"
    assert kind.standard_field("host").placeholder == "acme.example.com"
    assert kind.extra_field("region").placeholder == "eu"
    assert (kind.extra_field("retries").type, kind.extra_field("retries").default) == ("integer", 3)
    assert kind.extra_field("mode").choices == ("fast", "safe")
    assert kind.extra_field("hidden").is_secret
    # A provider that forgot to say so: the name tells.
    assert kind.extra_field("shown_token").is_secret
    assert kind.others == ""


@pytest.mark.parametrize(
    ("provider", "page"),
    [
        (
            "apache_airflow_providers_acme",
            "https://airflow.apache.org/docs/apache-airflow-providers-acme/stable/index.html",
        ),
        ("airflow-provider-acme", "https://pypi.org/project/airflow-provider-acme/"),
        ("../acme?x", ""),
        ("", ""),
    ],
)
def test_a_type_leads_to_the_page_of_its_provider(provider, page):
    assert parse({"connection-type": "acme", "provider": provider}).docs == page


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        "provider",
        "hook-name",
        "ui-field-behaviour",
        "conn-fields",
        "hidden-fields",
        "relabeling",
        "placeholders",
    ]
)
json_objects = st.dictionaries(KEYS | st.text(max_size=8), json_values, max_size=5)


@given(
    json_objects, json_objects, st.dictionaries(st.text(max_size=8), json_objects | json_values, max_size=4)
)
def test_what_is_malformed_counts_as_not_told(row, behaviour, fields):
    told = {**row, "connection-type": "acme", "ui-field-behaviour": behaviour, "conn-fields": fields}
    kind = parse(told)
    assert {field.name for field in kind.extras} == set(fields)
    assert {field.name for field in kind.standard} <= set(STANDARD)


OURS = ConnectionType(
    name="acme",
    title="Acme Corp",
    family="web",
    docs="https://example.com",
    standard=(text("host", "Server", is_required=True),),
    extras=(
        text("region", "Region of Acme", about="Ours."),
        flag("tls", "TLS"),
        text("plain_hidden", "", aliases=("hidden",)),
    ),
)


def test_ours_wins_where_it_knows_more_and_takes_what_it_leaves_open():
    joined = merge(OURS, parse(ROW))
    assert (joined.title, joined.docs) == ("Acme Corp", "https://example.com")
    assert [field.name for field in joined.standard] == ["host"]
    assert joined.standard_field("host") == text(
        "host", "Server", is_required=True, placeholder="acme.example.com"
    )
    assert joined.extra_field("region") == text("region", "Region of Acme", about="Ours.", placeholder="eu")
    assert joined.extra_field("tls") == flag("tls", "TLS")
    assert [field.name for field in joined.extras][3:] == ["retries", "mode", "shown_token"]


def test_what_either_calls_a_secret_is_one():
    assert merge(OURS, parse(ROW)).extra_field("plain_hidden").is_secret


def test_a_type_only_theirs_stands_as_it_is():
    assert merge(None, parse(ROW)) == parse(ROW)


@pytest.mark.parametrize("name", ["postgres", "aws"])
def test_joining_with_nothing_told_changes_nothing(name):
    assert merge(find(name), parse({"connection-type": name, "ui-field-behaviour": {}})) == find(name)
