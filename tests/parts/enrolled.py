"""
An agent of a test's server: invited, enrolled in a folder, as `strongroom agent enrol` leaves it.

    with serving(tmp_path) as server:
        enrolled_in(tmp_path / "agent", server, role="reader")
        client = client_of(tmp_path / "agent")
"""

from __future__ import annotations

from strongroom.agent.enrol import enrol
from strongroom.caller import ServerAddress
from strongroom.policy import Role


def invited(server, name="host-1", role="reader", *, deployment=None, **more):
    """Invite as the local owner, and give the code."""
    root = server.house.deployment(deployment).root
    roles = [] if role is None else [Role(role)]
    return root.access.agents.invite(name, roles=roles, **more).code


def enrolled_in(folder, server, name="host-1", role="reader", *, url=None, deployment=None, **more):
    """Enrol what is in *folder* with *server*, reached at *url*, and give what was kept."""
    code = invited(server, name, role, deployment=deployment, **more)
    return enrol(folder, ServerAddress(url or server.address, deployment), code)
