"""
The plugin of Airflow that brings the page "Strongroom".

Every process of Airflow's imports this, workers and the command line too: so it says where the page is, and
loads it where one is asked for.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.plugins_manager import AirflowPlugin

from strongroom.airflow.process import major

if TYPE_CHECKING:
    from strongroom.airflow.page_fastapi import Application, Message, Receive, Send

__all__ = ["StrongroomPlugin"]

_PREFIX = "/strongroom"
_IS_2 = major() == 2  # noqa: PLR2004 -- the major version


class _Page:
    """The page of Airflow 3: loaded with the first request."""

    def __init__(self) -> None:
        self._loaded: Application | None = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if self._loaded is None:
            from strongroom.airflow.page_fastapi import application  # noqa: PLC0415 -- see above

            self._loaded = application()
        await self._loaded(scope, receive, send)


class _Views:
    """The view of Airflow 2: made when the webserver asks for it, and none where there is no guard."""

    def __get__(self, _instance: object, _owner: type) -> list[dict[str, Any]]:
        # Only the webserver has Flask-AppBuilder loaded by the time it asks.
        if not _IS_2 or "flask_appbuilder" not in sys.modules:
            return []
        try:
            from strongroom.airflow.page_flask import PageView  # noqa: PLC0415 -- see above
        except Exception:  # noqa: BLE001 -- internals of Airflow's: whatever is other there, nothing is shown
            return []
        return [{"name": "Strongroom", "category": "Admin", "view": PageView()}]


def _href() -> str:
    """Give the address of the page, below that of this Airflow."""
    from airflow.configuration import conf  # noqa: PLC0415 -- loaded by then

    path = urlsplit(conf.get("api", "base_url", fallback="") or "").path
    return f"{path.rstrip('/')}{_PREFIX}/"


class StrongroomPlugin(AirflowPlugin):
    """The page "Strongroom" in Airflow's own interface."""

    name = "strongroom"
    fastapi_apps: list[dict[str, Any]] = (
        [] if _IS_2 else [{"app": _Page(), "url_prefix": _PREFIX, "name": "Strongroom"}]
    )
    external_views: list[dict[str, Any]] = (
        []
        if _IS_2
        else [
            {
                "name": "Strongroom",
                "href": _href(),
                "destination": "nav",
                "category": "browse",
                "url_route": "strongroom",
            }
        ]
    )
    appbuilder_views = _Views()
