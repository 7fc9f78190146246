"""The page in the webserver of Airflow 2, behind Airflow's own guard. Loaded where the webserver begins."""

from __future__ import annotations

import warnings
from typing import Any

from flask import Response, request
from flask_appbuilder import BaseView, expose

from strongroom.airflow import page

__all__ = ["PageView", "guard"]


def guard(function: Any) -> Any:  # noqa: ANN401 -- Airflow's decorators are untyped
    """Let only those through who may read connections; others are sent where Airflow sends them."""
    from airflow.security import permissions  # noqa: PLC0415 -- Airflow's
    from airflow.www.auth import has_access  # noqa: PLC0415 -- as above

    with warnings.catch_warnings():
        # Its successor for connections asks about those it is handed, and lets everybody through with none.
        warnings.simplefilter("ignore")
        return has_access([(permissions.ACTION_CAN_READ, permissions.RESOURCE_CONNECTION)])(function)  # noqa: AIR301 -- this is for 2


class PageView(BaseView):
    """One route for every path and method, with the guard before it."""

    route_base = "/strongroom"
    default_view = "serve"
    # Airflow makes a permission of each view; this page asks for that on connections instead.
    base_permissions: list[str] = []  # noqa: RUF012 -- as Flask-AppBuilder has it

    @expose("/", methods=list(page.METHODS))  # type: ignore[untyped-decorator]  # Flask-AppBuilder's
    @expose("/<path:path>", methods=list(page.METHODS))  # type: ignore[untyped-decorator]  # as above
    @guard
    def serve(self, path: str = "") -> Response:
        """Answer a request."""
        from strongroom.airflow.places import known  # noqa: PLC0415 -- with the first request

        reply = page.answer(request.method, path, request.query_string.decode("latin-1"), _sees, known)
        made = Response(reply.body, reply.status)
        made.headers.clear()
        made.headers.extend(reply.headers)
        return made


def _sees() -> page.Sees:
    from airflow.www.extensions.init_auth_manager import get_auth_manager  # noqa: PLC0415 -- Airflow's

    return page.Sees(bool(get_auth_manager().is_authorized_variable(method="GET")))
