"""A server that is sealed while its agents run: what they hold serves, and nothing is denied."""

from __future__ import annotations

import pytest

from parts.agent import agent, until
from parts.server import serving
from strongroom import remote
from strongroom.errors import BackendUnavailableError, StrongroomError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Actor, Assurance
from strongroom.service.entries import Change
from strongroom.service.sealing import Unsealing

SETTINGS = """
chain = ["remote"]
[cache]
ttl = 1
stale_if_error = 60
"""


def code_of(client, name):
    """Give the code of the error that reading *name* ends with; "" where it does not."""
    try:
        client.variable(name)
    except StrongroomError as error:
        return error.code
    return ""


def test_agents_serve_what_they_hold_and_deny_nothing_while_their_server_is_sealed(tmp_path):
    (tmp_path / "server").mkdir()
    (tmp_path / "host").mkdir()
    with serving(tmp_path / "server") as server, agent(tmp_path / "host", SETTINGS, start=False) as one:
        house = server.house
        root = house.deployment().root
        for name in ("region", "other"):
            root.entries.write(Change(ref=Ref("variable", name), secret=Secret(f"{name}-one")))
        one.enrol(server)
        one.configure(f'{SETTINGS}\n[agent.server]\nurl = "{server.address}"\n')
        one.start()
        client = one.client()
        # Once it listens for changes nothing drops what it holds.
        until(lambda: house.deployment().feed.listeners > 0, what="the agent to listen")
        until(lambda: client.variable("region") and one.status()["cache"]["hits"] > 2, what="what it holds")
        house.seal("default", root.actor, reason="a drill")
        # Its lifetime ends, and what it was is served on.
        until(lambda: one.status()["cache"]["stale"] > 0 or client.variable("region") != "region-one")
        assert client.variable("region") == "region-one"
        assert code_of(client, "other") == BackendUnavailableError.code
        assert code_of(client, "nowhere") == BackendUnavailableError.code
        owner = Actor(root.actor.id, Assurance.HOST_USER)
        house.unseal("default", Unsealing(prove=lambda _: owner))
        until(lambda: code_of(client, "other") == "", what="the agent to ask again")
        assert client.variable("other") == "other-one"
        assert client.variable("nowhere") is None


def test_a_program_that_asks_a_sealed_server_is_told_so(tmp_path):
    with serving(tmp_path) as server:
        token = server.token()
        house = server.house
        house.seal("default", house.deployment().root.actor)
        environ = {
            "HOME": str(tmp_path),
            "STRONGROOM_URL": server.address,
            "STRONGROOM_TOKEN": token,
        }
        with remote.open_room(environ=environ) as room, pytest.raises(StrongroomError) as caught:
            room.lookup.variable("region")
        assert caught.value.code in ("sealed", "backend_unavailable")
        assert "sealed" in str(caught.value)
