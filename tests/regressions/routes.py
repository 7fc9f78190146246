"""Every route of every API that a server has, with its parameters filled in."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from strongroom.server.app import apis
from strongroom.server.endpoint import Endpoint

KINDS = ("connection", "variable", "config")


class Route(NamedTuple):
    """
    One method on one path.

    Args:
        template: the path with its prefix.
        names: the words in braces.
    """

    prefix: str
    endpoint: Endpoint

    @property
    def method(self):
        return self.endpoint.method

    @property
    def template(self):
        return self.prefix + self.endpoint.path

    @property
    def query_names(self):
        """What its query may hold, by the shape it is read into."""
        asks = self.endpoint.asks
        return () if asks is None else tuple(one.encode_name for one in msgspec.structs.fields(asks))

    def path(self, fill="x", *, kind="variable", name=None):
        """Fill in *fill* for every word in braces but a kind; *name* for that of an entry."""
        path = self.template.replace("{kind}", kind).replace("{name:path}", name or fill)
        while "{" in path:
            start = path.index("{")
            path = path[:start] + fill + path[path.index("}") + 1 :]
        return path


def routes():
    """Give every route of every API, streams left out: they do not end by themselves."""
    return [
        Route(one.prefix, endpoint) for one in apis() for endpoint in one.endpoints if not endpoint.stream
    ]


def route_id(route):
    return f"{route.method} {route.template}"
