"""`/test`: whether the host of a connection can be reached from here, and how tests of it went before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.server.api.asked import entry_of
from strongroom.server.endpoint import Endpoint
from strongroom.server.reach import tried
from strongroom.wire.entry import TeamQuery, TestResult, TestRow, Tests

if TYPE_CHECKING:
    from strongroom.server.endpoint import Call

__all__ = ["ENDPOINTS"]


def test(call: Call) -> TestResult:
    """Tell whether the host of a connection can be reached from the server."""
    trial = tried(call, entry_of(call, call.asked(TeamQuery).team))
    if trial.is_reached:
        return TestResult(status="reachable", message="the host answers")
    return TestResult(status="not_reachable", message="the host gives no answer that the server may ask for")


def tests(call: Call) -> Tests:
    """Tell how the last tests of a connection went, newest first."""
    ref = call.room.entries.describe(entry_of(call, call.asked(TeamQuery).team)).ref
    return Tests(
        tests=[
            TestRow(
                at=one.at,
                by=one.by,
                place=one.place,
                status="reachable" if one.is_reached else "not_reachable",
                version=one.version,
            )
            for one in call.place.trials.of(ref)
        ]
    )


ENDPOINTS = (
    Endpoint(
        "POST",
        "/test/{kind}/{name:path}",
        test,
        "Test whether the host of a connection can be reached",
        "test",
        asks=TeamQuery,
        gives=TestResult,
        errors=(404, 502, 503),
        cost=10.0,
    ),
    Endpoint(
        "GET",
        "/test/{kind}/{name:path}",
        tests,
        "Tell how the last tests of a connection went",
        "test",
        asks=TeamQuery,
        gives=Tests,
        errors=(404, 502, 503),
    ),
)
