"""
The native API for tests: one server a module, with an actor for each of the shipped roles.

    def test_something(api):
        assert api.ask("GET", "/entries").status == 200
        assert api.ask("GET", "/entries", role="viewer").status == 200
"""

from __future__ import annotations

from contextlib import contextmanager
from urllib.parse import quote, urlencode

from parts.server import serving
from strongroom.server import api
from strongroom.server.app import Api
from strongroom.service.sealing import Unsealing

ROLES = ("admin", "op", "user", "viewer", "reader")
SETTINGS = """
deployment = "prod"
chain = ["env", "native"]

[server.limits]
identity_per_second = 0
stranger_per_second = 0
"""


class Asking:
    """
    A server that runs, asked as one of the roles.

    Attributes:
        server: what `parts.server` gives.
    """

    def __init__(self, server):
        self.server = server
        self.tokens = {role: server.token(f"api-{role}", role) for role in ROLES}

    @property
    def house(self):
        return self.server.house

    def ask(self, method, path, body=None, *, role="admin", token=None, query=None, headers=None):
        """Ask below `/v1`; *path* is as it goes over the wire."""
        text = f"?{urlencode(query, doseq=True)}" if query else ""
        token = self.tokens[role] if role and token is None else token
        answer = self.server.ask(method, f"/v1{path}{text}", body, token=token, headers=headers)
        self.reopen()
        return answer

    def reopen(self):
        """Open what was sealed, so that the next request is answered too."""
        for name in self.house.seals.names:
            self.house.unseal(name, Unsealing(prove=lambda place: place.root.actor))

    def put(self, kind, name, body, **more):
        """Write an entry; fails where that does."""
        answer = self.ask("PUT", f"/entries/{kind}/{quote(name)}", body, **more)
        assert answer.status in (200, 201), answer.body
        return answer.json()


def native(home, settings="", **more):
    """Serve the native API alone; as `parts.server.serving`."""
    return serving(home, settings, served=(Api("/v1", api.ENDPOINTS),), **more)


@contextmanager
def asking(home, settings=SETTINGS, **more):
    """Serve the native API over a new store in the folder *home*."""
    with native(home, settings, **more) as server:
        yield Asking(server)
