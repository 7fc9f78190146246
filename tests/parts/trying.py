"""Tests of connections, as a server makes them and as a person does."""

from __future__ import annotations

from strongroom.live import probe
from strongroom.model.connection import Connection
from strongroom.model.extra import Extra
from strongroom.model.secret import Secret

CANARY = "c4nary-in-a-connection"
ANYWHERE = probe.Limits(networks=None, has_any_option=True)
LOOPBACK = probe.Limits(networks=("127.0.0.0/8", "::1/128"), has_any_option=False)


def made(conn_type, *, password=None, extra=None, **fields):
    return Connection(
        conn_type=conn_type,
        password=None if password is None else Secret(password),
        extra=None if extra is None else Extra(extra),
        **fields,
    )


def tried(connection, limits=ANYWHERE, *, around=None, also=None):
    """Test it, and look that nothing of it is told."""
    found = probe.tested("orders", connection, limits, around=around, also=also)
    told = repr(found)
    for secret in connection.secrets():
        assert len(secret) < 4 or secret not in told
    return found


def steps(found):
    """Give `name: outcome` of each step, with the reason where it failed."""
    return [f"{one.name}: {one.reason or one.outcome}" for one in found.steps]


def failed(found):
    """Give the step and the reason of what failed."""
    assert not found.is_ok
    assert found.advice
    return found.failed.name, found.failed.reason
