"""
The page in the API server of Airflow 3, behind Airflow's own guard.

An application that a plugin mounts has no sign-in of its own there: without a guard everybody is answered. So
there is one route, for every path and method, and the guard stands before it. Loaded with the first request.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from strongroom.airflow import page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Message, Receive, Send], Awaitable[None]]

__all__ = ["application"]

_log = logging.getLogger("strongroom.airflow.page")


def application() -> Application:
    """Give the page behind the guard; where there is no guard that we know, what says so to everybody."""
    try:
        return _guarded()
    except Exception as error:  # noqa: BLE001 -- internals of Airflow's: whatever is other there, nothing is shown
        _log.error(
            "the Strongroom page is not served: no guard of Airflow's is found (%s)", type(error).__name__
        )
        return _closed


def _guarded() -> Application:
    from airflow.api_fastapi.core_api.security import (  # noqa: PLC0415 -- Airflow's, and internal
        get_user,
        requires_access_connection,
    )
    from fastapi import Depends, FastAPI, Request  # noqa: PLC0415 -- only here is there one
    from fastapi.exceptions import HTTPException  # noqa: PLC0415 -- as above

    from strongroom.airflow.places import known  # noqa: PLC0415 -- with the first request

    def serve(request, path, user):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 -- annotated below
        reply = page.answer(request.method, path, request.url.query, lambda: _sees(user), known)
        return _response(reply)

    # FastAPI looks annotations up among the names of the module, where it is not imported.
    serve.__annotations__ = {"request": Request, "path": str}
    serve.__defaults__ = (Depends(get_user),)

    def turned_away(request: Any, error: Any) -> Any:  # noqa: ANN401 -- FastAPI's
        is_page = request.scope.get("path", "").endswith("/strongroom/")
        return _response(page.refusal(error.status_code, is_page=is_page))

    made = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    made.add_api_route(
        "/{path:path}",
        serve,
        methods=list(page.METHODS),
        response_model=None,
        dependencies=[Depends(requires_access_connection("GET"))],
    )
    made.add_exception_handler(HTTPException, turned_away)
    application: Application = made
    return application


def _response(reply: page.Reply) -> Any:  # noqa: ANN401 -- Starlette's
    from fastapi import Response  # noqa: PLC0415 -- only here is there one

    return Response(reply.body, reply.status, dict(reply.headers))


def _sees(user: Any) -> page.Sees:  # noqa: ANN401 -- a user of Airflow's
    """Tell by Airflow's own sign-in which names *user* may see."""
    from airflow.api_fastapi.app import get_auth_manager  # noqa: PLC0415 -- Airflow's

    manager = get_auth_manager()

    def names(kind: str, team: str | None, asked: set[str]) -> set[str]:
        if kind == "connection":
            seen = manager.filter_authorized_connections(conn_ids=asked, user=user, team_name=team)
        else:
            seen = manager.filter_authorized_variables(variable_keys=asked, user=user, team_name=team)
        return set(seen)

    return page.Sees(bool(manager.is_authorized_variable(method="GET", user=user)), names)


async def _closed(scope: Message, _receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    reply = page.unguarded()
    headers = [(name.encode(), value.encode()) for name, value in reply.headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
