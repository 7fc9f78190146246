"""Shapes of tests of connections: asked for, done, waited for, and how they went before."""

# ruff: noqa: RUF012 -- msgspec gives every object an empty default of its own

from __future__ import annotations

from datetime import datetime  # noqa: TC003 -- msgspec reads annotations at run time
from typing import Annotated, Literal

from msgspec import Meta

from strongroom.model.ref import Kind  # noqa: TC001 -- as above
from strongroom.wire.shape import Asked, Given

__all__ = [
    "AgentStep",
    "AgentTested",
    "AskTest",
    "FailingRow",
    "FailingTests",
    "TestNotice",
    "TestQuery",
    "TestResult",
    "TestRow",
    "TestStep",
    "Tests",
]

MAX_STEPS = 16
MAX_ORDER_CHARACTERS = 64
_Word = Annotated[str, Meta(max_length=40)]


class AskTest(Asked, kw_only=True):
    """
    Which connection to test, and from where.

    Args:
        team: whose; unsaid, the global one.
        on: `server`, `agent` where there is one, or `agent:NAME`.
    """

    team: str | None = None
    on: str = "server"


class TestQuery(Asked, kw_only=True):
    """
    Whose tests to tell of.

    Args:
        team: whose; unsaid, the global one.
        order: tell of this one alone, which an agent was given; one that failed to come is an error.
    """

    team: str | None = None
    order: Annotated[str, Meta(max_length=MAX_ORDER_CHARACTERS)] | None = None


class TestStep(Given, kw_only=True):
    """
    One step of a test.

    Args:
        name: driver, options, name, address, tcp, tls, token, authentication or read.
        reason: of a failure, one word; "" otherwise.
        days_left: of the certificate that was shown; negative where it has expired.
    """

    name: str
    outcome: Literal["ok", "failed", "skipped"]
    reason: str
    milliseconds: float
    days_left: int | None = None


class TestRow(Given, kw_only=True):
    """
    How one test went.

    Args:
        at: None while an agent is waited for.
        by: who asked for it.
        place: `server`, `agent:NAME`, or `here` for a command on the host of the store.
        status: `waiting` for an agent.
        failed: the step that failed, or None.
        message: how it went, in one sentence.
        advice: what to do; "" where nothing is.
        version: of the connection that was tested.
        order: what an agent was given for it; "" where none was.
        until: an agent is waited for so long.
    """

    at: datetime | None
    by: str
    place: str
    status: Literal["ok", "failed", "waiting"]
    failed: str | None = None
    message: str = ""
    advice: str = ""
    version: str | None = None
    steps: list[TestStep] = []
    order: str = ""
    until: datetime | None = None


class TestResult(TestRow, kw_only=True):
    """How the test went that was asked for; or what an agent was given: `GET` with `order` tells more."""


class Tests(Given, kw_only=True):
    """
    The last tests of one connection, newest first; before them those that agents are waited for.

    Args:
        on: where the server lets connections be tested: `server`, and `agent:NAME` for each agent.
    """

    tests: list[TestRow]
    on: list[str] = []


class FailingRow(Given, kw_only=True):
    """A connection whose last test failed, and how."""

    name: str
    team: str | None
    test: TestRow


class FailingTests(Given, kw_only=True):
    """Every connection whose last test failed, by name."""

    tests: list[FailingRow]


class TestNotice(Given, kw_only=True):
    """
    What an agent is asked to test: the event `test` of `/v1/changes`.

    Args:
        order: its answer names it.
    """

    order: str
    kind: Kind
    name: str
    team: str | None


class AgentStep(Asked, kw_only=True):
    """One step, as `TestStep`."""

    name: _Word
    outcome: Literal["ok", "failed", "skipped"]
    reason: _Word
    milliseconds: float
    days_left: int | None = None


class AgentTested(Asked, kw_only=True):
    """
    How a test went that an agent was asked for.

    Args:
        order: as it was given.
        refused: why none was made; None where one was.
        version: of the connection, where it is told.
        steps: that were made.
    """

    order: Annotated[str, Meta(max_length=MAX_ORDER_CHARACTERS)]
    refused: Literal["settings", "busy", "absent", "denied", "invalid", "unavailable"] | None = None
    version: Annotated[str, Meta(max_length=1024)] | None = None
    steps: Annotated[list[AgentStep], Meta(max_length=MAX_STEPS)] = []
