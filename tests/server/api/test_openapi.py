"""The OpenAPI document: valid, whole, and true of the table it is made of."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from schemathesis.specs.openapi import definitions

from strongroom.server import openapi
from strongroom.server.api import DESCRIBED
from strongroom.server.examples import EXAMPLES
from strongroom.server.idempotency import has_secret
from strongroom.wire import shapes as wire

DOCUMENT = json.loads(msgspec.json.encode(openapi.document(DESCRIBED, version="1.2.3")))
ROWS = pytest.mark.parametrize("endpoint", DESCRIBED, ids=[f"{row.method} {row.path}" for row in DESCRIBED])


def operation_of(endpoint) -> dict:
    return DOCUMENT["paths"][openapi.path_of(endpoint)][endpoint.method.lower()]


def test_the_document_is_valid_openapi_3_1():
    assert list(definitions.OPENAPI_31_VALIDATOR.iter_errors(DOCUMENT)) == []


def test_every_reference_of_the_document_leads_somewhere():
    for reference in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT)):
        found = DOCUMENT
        for part in reference.split("/"):
            found = found[part]
        assert found


def test_every_schema_is_used():
    text = json.dumps(DOCUMENT)
    unused = [name for name in DOCUMENT["components"]["schemas"] if f'schemas/{name}"' not in text]
    assert unused == []


@ROWS
def test_every_route_is_described(endpoint):
    operation = operation_of(endpoint)
    assert operation["summary"] == endpoint.summary
    assert operation["description"]
    assert operation["tags"] == [endpoint.tag]
    assert str(endpoint.status) in operation["responses"]


@ROWS
def test_every_parameter_of_a_path_and_a_query_is_described(endpoint):
    parameters = {(one["in"], one["name"]): one for one in operation_of(endpoint).get("parameters", ())}
    for name in re.findall(r"\{(\w+)(?::path)?\}", endpoint.path):
        assert parameters["path", name]["required"] is True
    if endpoint.asks is not None:
        for field in msgspec.structs.fields(endpoint.asks):
            found = parameters["query", field.encode_name]
            assert found["required"] is field.required
            assert "null" not in json.dumps(found["schema"])
    for one in parameters.values():
        assert one.get("description"), one["name"]


@ROWS
def test_every_route_names_the_errors_it_may_answer(endpoint):
    statuses = set(operation_of(endpoint)["responses"])
    assert {"400", "403", "429", "503"} <= statuses
    assert ("401" in statuses) or endpoint.is_public
    if endpoint.takes is not None:
        assert {"413", "415", "422"} <= statuses
    for status in statuses:
        assert operation_of(endpoint)["responses"][status]


@ROWS
def test_every_body_and_answer_has_an_example_that_fits_its_type(endpoint):
    for shape in (endpoint.takes, endpoint.gives):
        if shape is not None:
            msgspec.json.decode(msgspec.json.encode(EXAMPLES[shape]), type=shape)
    if endpoint.takes is not None:
        media = operation_of(endpoint)["requestBody"]["content"]["application/json"]
        assert media["example"] == json.loads(msgspec.json.encode(EXAMPLES[endpoint.takes]))


def test_every_type_and_member_that_needs_one_has_a_description():
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert schema["description"], name
        assert "Args:" not in schema["description"], name


def test_every_change_honours_idempotency_keys_and_says_so():
    for endpoint in DESCRIBED:
        names = {one["name"] for one in operation_of(endpoint).get("parameters", ())}
        assert ("Idempotency-Key" in names) is endpoint.is_change


def test_operation_ids_are_unique():
    ids = [operation_of(endpoint)["operationId"] for endpoint in DESCRIBED]
    assert len(set(ids)) == len(ids)


def test_AA01_only_logins_are_public():
    public = {endpoint.path for endpoint in DESCRIBED if endpoint.is_public}
    people = {
        "/login",
        "/login/code",
        "/login/ways",
        "/login/oidc/logout",
    }
    assert public == people | {
        "/seal",
        "/unseal",
        "/agents/enrol",
        "/agents/login",
        "/agents/login/certificate",
    }
    for endpoint in DESCRIBED:
        security = operation_of(endpoint).get("security", DOCUMENT["security"])
        assert (security == []) is endpoint.is_public


def test_IN11_every_body_and_query_refuses_what_it_does_not_know():
    for endpoint in DESCRIBED:
        for shape in (endpoint.takes, endpoint.asks):
            assert shape is None or shape.__struct_config__.forbid_unknown_fields, shape


def test_RT01_no_answer_but_those_that_hand_secrets_out_has_a_member_for_one():
    """The shapes of lists, views, diffs and errors have no place where a secret could stand."""
    allowed = {"/read", "/reveal/{kind}/{name:path}", "/login", "/login/code", "/tokens"}
    allowed |= {"/agents/invite", "/agents/login", "/agents/login/certificate"}
    for endpoint in DESCRIBED:
        if endpoint.path not in allowed and endpoint.gives not in (None, wire.EntryView):
            assert not has_secret(endpoint.gives), endpoint.path
