"""
Airflow's own APIs over our entries, so that its published clients work unchanged.

Not for what a client of Airflow cannot ask: history, explanations, policies (`server/api`).

The tables of Airflow 3 (`V2`, below `/api/v2`), of Airflow 2 (`V1`, below `/api/v1`) and of its auth manager
(`ROOT`). Every difference to a real Airflow stands in docs/airflow-api.md with its number and reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from strongroom.server.airflow_api import bulk, connections, place, v1, variables
from strongroom.server.airflow_api.refusal import errors_root, errors_v1, errors_v2
from strongroom.server.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.server.endpoint import Call

__all__ = ["ROOT", "V1", "V2", "errors_root", "errors_v1", "errors_v2"]

_ONE_CONNECTION = "/connections/{connection_id}"
_ONE_VARIABLE = "/variables/{variable_key:path}"
_LIST_COST = 2.0
_BULK_COST = 10.0


class AnyQuery(msgspec.Struct):
    """A query that is read as Airflow reads it: what is not known is left aside."""


def _get(path: str, handler: Callable[[Call], Any], summary: str, tag: str, *, cost: float = 1.0) -> Endpoint:
    return Endpoint("GET", path, handler, summary, tag, asks=AnyQuery, cost=cost)


def _told_to_all(path: str, handler: Callable[[Call], Any], summary: str) -> Endpoint:
    return _get(path, handler, summary, "place")._replace(is_public=True)


def _change(  # noqa: PLR0913 -- what an endpoint has
    method: str,
    path: str,
    handler: Callable[[Call], Any],
    summary: str,
    tag: str,
    *,
    status: int = 200,
    cost: float = 1.0,
) -> Endpoint:
    return Endpoint(
        method, path, handler, summary, tag, asks=AnyQuery, status=status, is_change=True, cost=cost
    )


def _named(handler: Callable[[Call], Any], name: str) -> Callable[[Call], Any]:
    """Give *handler* for a path whose last word is an id as well: `/connections/test`."""

    def handle(call: Call) -> Any:  # noqa: ANN401 -- whatever the handler gives
        call.params = {**call.params, "connection_id": name}
        return handler(call)

    return handle


def _about_one(
    path: str,
    get: Callable[[Call], Any],
    patch: Callable[[Call], Any],
    delete: Callable[[Call], Any],
) -> tuple[Endpoint, ...]:
    """Give what is done to one connection; where *path* is a word of Airflow's own, that is its id."""
    if "{" not in path:
        word = path.rpartition("/")[2]
        get, patch, delete = (_named(one, word) for one in (get, patch, delete))
    return (
        _get(path, get, "Give a connection", "connections"),
        _change("PATCH", path, patch, "Change a connection", "connections"),
        _change("DELETE", path, delete, "Delete a connection", "connections", status=204),
    )


def _one_v2(path: str) -> tuple[Endpoint, ...]:
    return _about_one(path, connections.get, connections.patch, connections.delete)


def _one_v1(path: str) -> tuple[Endpoint, ...]:
    return _about_one(path, v1.connection, v1.change_connection, v1.delete_connection)


V2: tuple[Endpoint, ...] = (
    _get("/connections", connections.list_, "List connections", "connections", cost=_LIST_COST),
    _change("POST", "/connections", connections.create, "Create a connection", "connections", status=201),
    _change(
        "PATCH", "/connections", bulk.change_connections, "Change connections", "connections", cost=_BULK_COST
    ),
    Endpoint(
        "POST",
        "/connections/test",
        place.test,
        "Test whether the host of a connection can be reached",
        "connections",
        asks=AnyQuery,
        cost=_BULK_COST,
    ),
    *_one_v2("/connections/test"),
    Endpoint(
        "POST",
        "/connections/enqueue-test",
        place.enqueue_test,
        "Refuse a test on a worker",
        "connections",
        asks=AnyQuery,
    ),
    _get("/connections/enqueue-test", place.poll_test, "Refuse the state of such a test", "connections"),
    *_one_v2("/connections/enqueue-test")[1:],
    Endpoint(
        "POST",
        "/connections/defaults",
        place.make_defaults,
        "Refuse to make Airflow's examples",
        "connections",
        asks=AnyQuery,
    ),
    *_one_v2("/connections/defaults"),
    *_one_v2(_ONE_CONNECTION),
    _get("/variables", variables.list_, "List variables", "variables", cost=_LIST_COST),
    _change("POST", "/variables", variables.create, "Create a variable", "variables", status=201),
    _change("PATCH", "/variables", bulk.change_variables, "Change variables", "variables", cost=_BULK_COST),
    _get(_ONE_VARIABLE, variables.get, "Give a variable", "variables"),
    _change("PATCH", _ONE_VARIABLE, variables.patch, "Change a variable", "variables"),
    _change("DELETE", _ONE_VARIABLE, variables.delete, "Delete a variable", "variables", status=204),
    _told_to_all("/version", place.version, "Give the release whose API this is"),
    _told_to_all("/monitor/health", place.health, "Give the health"),
    _get("/providers", place.providers, "List provider packages", "place"),
)

V1: tuple[Endpoint, ...] = (
    _get("/connections", v1.list_connections, "List connections", "connections", cost=_LIST_COST),
    _change("POST", "/connections", v1.create_connection, "Create a connection", "connections"),
    Endpoint(
        "POST",
        "/connections/test",
        v1.test_connection,
        "Test whether the host of a connection can be reached",
        "connections",
        asks=AnyQuery,
        cost=_BULK_COST,
    ),
    *_one_v1("/connections/test"),
    *_one_v1(_ONE_CONNECTION),
    _get("/variables", v1.list_variables, "List variables", "variables", cost=_LIST_COST),
    _change("POST", "/variables", v1.write_variable, "Write a variable", "variables"),
    _get(_ONE_VARIABLE, v1.variable, "Give a variable", "variables"),
    _change("PATCH", _ONE_VARIABLE, v1.change_variable, "Change a variable", "variables"),
    _change("DELETE", _ONE_VARIABLE, v1.delete_variable, "Delete a variable", "variables", status=204),
    _told_to_all("/version", v1.version, "Give the release whose API this is"),
    _told_to_all("/health", place.health, "Give the health"),
)

ROOT: tuple[Endpoint, ...] = (
    Endpoint(
        "POST",
        "/auth/token",
        place.token,
        "Begin a session with a name and a password",
        "place",
        asks=AnyQuery,
        status=201,
        is_public=True,
        cost=_LIST_COST,
        takes_media=("application/x-www-form-urlencoded",),
    ),
    Endpoint(
        "GET",
        "/auth/token",
        place.no_token,
        "Refuse a token without credentials",
        "place",
        asks=AnyQuery,
        is_public=True,
    ),
    Endpoint(
        "POST",
        "/auth/token/cli",
        place.token_for_command_line,
        "Begin a session with a name and a password",
        "place",
        asks=AnyQuery,
        status=201,
        is_public=True,
        cost=_LIST_COST,
    ),
)
