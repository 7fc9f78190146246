"""Which of seven shapes stands before an entry: database, cloud, HTTP, stream, shell, message, variable."""

from __future__ import annotations

from strongroom.catalog import FAMILIES

__all__ = ["SHAPES", "family"]

SHAPES = ("db", "cloud", "http", "stream", "term", "msg", "var")
"""As the icons are called: `t-db` and so on in static/icons.svg."""

_OF_FAMILY = {
    "databases": "db",
    "stores": "db",
    "warehouses": "cloud",
    "engines": "db",
    "aws": "cloud",
    "google": "cloud",
    "azure": "cloud",
    "microsoft": "cloud",
    "messaging": "msg",
    "web": "http",
    "files": "term",
    "platform": "cloud",
    "ml": "http",
}
_SHAPE = {name: _OF_FAMILY.get(family, "http") for family, names in FAMILIES.items() for name in names} | {
    "kafka": "stream",
    "amqp": "stream",
    "azure_service_bus": "stream",
    "vault": "http",
    "git": "http",
    "github": "http",
    "jenkins": "http",
    "msgraph": "http",
    "email": "msg",
    "chime": "msg",
}


def family(kind: str, conn_type: str | None = None) -> str:
    """Give the shape of an entry of *kind* (`connection` or `variable`) and, for a connection, its type."""
    if kind == "variable":
        return "var"
    return _SHAPE.get((conn_type or "").lower(), "http")
