"""
The OpenAPI 3.1 document of an API, made from its table of endpoints and the types of the wire.

Rules of this file:

1. Nothing of the document is written by hand but the texts of what no type can say (headers, statuses).
2. A route without an example, or a type without a description, is a fault: tests/server/api/test_openapi.py.
"""

from __future__ import annotations

import inspect
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from strongroom.server.examples import EXAMPLES
from strongroom.wire import shapes as wire
from strongroom.wire.policy import ApprovalRow
from strongroom.wire.shape import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from strongroom.server.endpoint import Endpoint

__all__ = ["STATUSES", "document", "path_of"]

_REFS = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(\w+)(?::path)?\}")
_ARGUMENT = re.compile(r"^    (\w[\w, ]*): (.*)$")

STATUSES: Mapping[int, str] = {
    200: "Done.",
    201: "It was not there before, and is now.",
    202: "It waits for a second person.",
    204: "Done; there is no body.",
    302: "It is at the address of `Location`.",
    304: "It has not changed since the version in `If-None-Match`.",
    400: "The path, the query, a header or the JSON is malformed. `invalid_input`",
    401: "No valid identity came with the request. `not_authenticated`",
    403: "Policy says no, whether or not it exists; or the server is in read-only mode."
    " `access_denied`, `read_only`, `cross_site`, `step_up_required`",
    404: "Every place was asked and had nothing. `not_found`",
    405: "This path has no such method. `method_not_allowed`",
    409: "It exists already, or changed meanwhile. `conflict`",
    412: "`If-Match` or `If-None-Match` does not hold. `precondition_failed`",
    413: "The body, a value, a name or a batch is over its limit. `too_large`, `invalid_input`",
    415: "The body is not declared as JSON. `unsupported_media_type`",
    422: "A well-formed body has a wrong field; `field` names it. `invalid_field`",
    429: "Too much, too fast; `Retry-After` says how long to wait. `rate_limited`",
    502: "What a store holds cannot be used. `malformed_entry`, `tampered`",
    503: "No answer now: a store, the key or the audit record is missing."
    " `backend_unavailable`, `sealed`, `not_recorded`",
}
_ALWAYS = (400, 403, 404, 413, 429, 503)  # 413: a name, a header or the address too
_WITH_BODY = (415, 422)
_PATHS: Mapping[str, dict[str, Any]] = {
    "kind": {"schema": {"enum": ["connection", "variable", "config"]}, "description": "What kind of entry."},
    "name": {
        "schema": {"type": "string", "minLength": 1, "maxLength": 250},
        "description": "Its name; `/` may stand in it as it is.",
    },
}
_ID = {"schema": {"type": "string", "minLength": 1, "maxLength": 250}, "description": "Its id."}
_HEADERS: Mapping[str, dict[str, Any]] = {
    "If-Match": {
        "description": "Only if this version stands, in quotes; `*`: only if anything does.",
        "schema": {"type": "string", "maxLength": 300},
        "example": '"3"',
    },
    "If-None-Match": {
        "description": "`*`: only if nothing stands.",
        "schema": {"type": "string", "enum": ["*"]},
        "example": "*",
    },
    "Prefer": {
        "description": "`handling=lenient`: where the store cannot compare versions, what the condition says"
        " is looked at right before the write; otherwise such a write is refused.",
        "schema": {"type": "string", "maxLength": 300},
        "example": "handling=lenient",
    },
    "Idempotency-Key": {
        "description": "A text of the client's own for this change: sent again with it within a day, the"
        " change is not made twice and the first answer is given again.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        "example": "7f0c1a52-put-orders",
    },
    "Last-Event-ID": {
        "description": "The `id` of the last event that was seen; as `after`.",
        "schema": {"type": "string", "maxLength": 300},
    },
}
_INFO: Mapping[str, Any] = {
    "description": "Variables and connections of workflows. Every answer but those of `/read` and"
    " `/reveal` is free of secrets. The same under `/d/{deployment}/v1` for each deployment.",
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
}
_SCHEMES: Mapping[str, dict[str, str]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token `srm_…`, or the token of a session.",
    },
    "cookie": {"type": "apiKey", "in": "cookie", "name": "__Host-strongroom"},
}


@lru_cache(maxsize=4)
def document(endpoints: tuple[Endpoint, ...], *, version: str, prefix: str = "/v1") -> dict[str, Any]:
    """
    Give the document of *endpoints*, plain JSON types; the same object for the same question.

    Args:
        endpoints: the table.
        version: of the product.
        prefix: where the paths of the table begin.
    """
    types: set[type] = {Failure, ApprovalRow}
    for endpoint in endpoints:
        types |= {one for one in (endpoint.takes, endpoint.asks, endpoint.gives) if one is not None}
    ordered = sorted(types, key=lambda one: one.__name__)
    shapes, components = msgspec.json.schema_components(ordered, ref_template=_REFS)
    refs = dict(zip(ordered, shapes, strict=True))
    described = {name: _described(schema, _classes().get(name)) for name, schema in components.items()}
    queries = {one for endpoint in endpoints if (one := endpoint.asks) is not None}
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, refs, described)
        paths.setdefault(path_of(endpoint), {})[endpoint.method.lower()] = operation
    for query in queries:
        described.pop(query.__name__, None)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Strongroom", "version": version, **_INFO},
        "servers": [{"url": prefix}],
        "security": [{"bearer": []}, {"cookie": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(endpoint.tag for endpoint in endpoints)],
        "paths": paths,
        "components": {
            "schemas": described,
            "responses": {str(status): _failure(status) for status in STATUSES if status >= 400},  # noqa: PLR2004 -- HTTP's errors
            "securitySchemes": dict(_SCHEMES),
        },
    }


def path_of(endpoint: Endpoint) -> str:
    """Give the endpoint's path as OpenAPI spells it."""
    return _PARAMETER.sub(r"{\1}", endpoint.path)


def _operation(
    endpoint: Endpoint, refs: Mapping[type, dict[str, Any]], components: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.tag}.{endpoint.handler.__name__.strip('_')}",
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "responses": _responses(endpoint, refs),
    }
    operation["description"] = inspect.getdoc(endpoint.handler) or f"{endpoint.summary}."
    parameters = [*_path_parameters(endpoint), *_query(endpoint, components), *_headers(endpoint)]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.takes is not None:
        content = {"schema": refs[endpoint.takes], "example": EXAMPLES[endpoint.takes]}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    if endpoint.is_public:
        operation["security"] = []
    return operation


# --- parameters --------------------------------------------------------------------------------------


def _path_parameters(endpoint: Endpoint) -> Iterable[dict[str, Any]]:
    names = _PARAMETER.findall(endpoint.path)
    for name in names:
        # `name` is that of an entry only beside its kind.
        about = _PATHS.get(name, _ID) if name != "name" or "kind" in names else _ID
        yield {"name": name, "in": "path", "required": True, **about}


def _query(endpoint: Endpoint, components: Mapping[str, dict[str, Any]]) -> Iterable[dict[str, Any]]:
    if endpoint.asks is None:
        return
    schema = components[endpoint.asks.__name__]
    for name, shape in schema["properties"].items():
        parameter = {"name": name, "in": "query", "required": name in schema.get("required", ())}
        about = dict(shape)
        if "description" in about:
            parameter["description"] = about.pop("description")
        yield {**parameter, "schema": _without_null(about)}


def _without_null(shape: dict[str, Any]) -> dict[str, Any]:
    """Give the schema of what may be said: in a query nothing is said by leaving it out."""
    if shape.get("default", "") is None:
        shape = {key: value for key, value in shape.items() if key != "default"}
    options = [option for option in shape.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        return {**{key: value for key, value in shape.items() if key != "anyOf"}, **options[0]}
    if "enum" in shape:
        return {**shape, "enum": [value for value in shape["enum"] if value is not None]}
    return shape


def _headers(endpoint: Endpoint) -> Iterable[dict[str, Any]]:
    names = []
    if 412 in endpoint.errors:  # noqa: PLR2004 -- HTTP: a condition did not hold
        names += ["If-Match", *(["If-None-Match"] if endpoint.method == "PUT" else [])]
    if endpoint.method == "PUT" and endpoint.path.startswith("/entries/"):
        names.append("Prefer")
    if endpoint.is_change:
        names.append("Idempotency-Key")
    if endpoint.stream and endpoint.path == "/changes":
        names.append("Last-Event-ID")
    for name in names:
        yield {"name": name, "in": "header", "required": False, **_HEADERS[name]}


# --- answers -----------------------------------------------------------------------------------------


def _responses(endpoint: Endpoint, refs: Mapping[type, dict[str, Any]]) -> dict[str, Any]:
    statuses = {endpoint.status, *endpoint.errors, *_ALWAYS}
    if not endpoint.is_public:
        statuses.add(401)
    if endpoint.takes is not None:
        statuses |= set(_WITH_BODY)
    if endpoint.is_change:
        statuses |= {409, 422}  # an idempotency key that is in use, or came with another request
    return {str(status): _response(status, endpoint, refs) for status in sorted(statuses)}


def _response(status: int, endpoint: Endpoint, refs: Mapping[type, dict[str, Any]]) -> dict[str, Any]:
    if status >= 400:  # noqa: PLR2004 -- HTTP's errors
        return {"$ref": f"#/components/responses/{status}"}
    answer: dict[str, Any] = {"description": STATUSES[status]}
    if status == 202:  # noqa: PLR2004 -- HTTP: accepted
        content = {"schema": refs[ApprovalRow], "example": EXAMPLES[ApprovalRow]}
        answer["content"] = {"application/json": content}
    elif endpoint.stream:
        kinds = _STREAMS[endpoint.path]
        # No version of OpenAPI before 3.2 can say what one item of a stream is.
        item = {} if endpoint.gives is None else {"x-item": refs[endpoint.gives]}
        answer["content"] = {
            kind: {"schema": {"type": "string"}, "example": example, **item}
            for kind, example in kinds.items()
        }
    elif endpoint.gives is not None and status != 204:  # noqa: PLR2004 -- HTTP: no content
        content = {"schema": refs[endpoint.gives], "example": EXAMPLES[endpoint.gives]}
        answer["content"] = {"application/json": content}
    return answer


_STREAMS: Mapping[str, Mapping[str, str]] = {
    "/changes": {
        "text/event-stream": 'event: change\nid: djE.MTI\ndata: {"kind":"connection","name":"orders_db",'
        '"team":null,"version":"4"}\n\n'
    },
    "/audit/export": {
        "application/x-ndjson": '{"seq":17,"action":"read","outcome":"found"}\n',
        "text/csv": "seq,at,actor,action,outcome\r\n17,2026-11-21T12:00:00Z,service:ci,read,found\r\n",
        "text/plain": "<86>1 2026-11-21T12:00:00Z strongroom audit - 17 - read found\n",
    },
}


def _failure(status: int) -> dict[str, Any]:
    code = re.search(r"`([a-z_]+)`", STATUSES[status].rpartition(". ")[2] or STATUSES[status])
    example = {
        "error": {"code": code[1] if code else "error", "message": STATUSES[status].partition(".")[0].lower()}
    }
    answer: dict[str, Any] = {
        "description": STATUSES[status],
        "content": {
            "application/json": {"schema": {"$ref": _REFS.format(name="Failure")}, "example": example}
        },
    }
    if status == 429:  # noqa: PLR2004 -- HTTP: too many requests
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds to wait"}}
    return answer


# --- descriptions ------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _classes() -> Mapping[str, type]:
    return {name: found for name, found in vars(wire).items() if isinstance(found, type)}


def _described(schema: dict[str, Any], shape: type | None) -> dict[str, Any]:
    """Give *schema* with what the docstrings of *shape*, and of what it is made of, say of each member."""
    about, members = _parted(schema.get("description", ""))
    for above in shape.__mro__[1:] if shape is not None else ():
        inherited = _parted(inspect.cleandoc(above.__doc__ or ""))[1]
        members = inherited | members
    described = {**schema, "description": about}
    if "properties" in schema:
        described["properties"] = {
            name: {**shape, "description": members[name]} if name in members else shape
            for name, shape in schema["properties"].items()
        }
    return described


def _parted(text: str) -> tuple[str, dict[str, str]]:
    """Give what a docstring says of the whole, and of each member by its name on the wire."""
    whole, _, rest = text.partition("\nArgs:\n")
    members: dict[str, str] = {}
    names: list[str] = []
    for line in rest.splitlines():
        found = _ARGUMENT.match(line)
        if found:
            names = [name.strip().removesuffix("_") for name in found[1].split(",")]
            members |= dict.fromkeys(names, found[2])
        elif line.strip():
            members |= {name: f"{members[name]} {line.strip()}" for name in names}
    return " ".join(whole.split()), members
