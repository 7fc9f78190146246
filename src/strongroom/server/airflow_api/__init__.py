"""Airflow's own APIs, so that its published clients work unchanged. (Interface; filled in by the next commits.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.server.endpoint import Answer
from strongroom.server.errors import answer_of

if TYPE_CHECKING:
    from strongroom.errors import StrongroomError
    from strongroom.server.endpoint import Endpoint

__all__ = ["ROOT", "V1", "V2", "errors_v1", "errors_v2"]

V2: tuple[Endpoint, ...] = ()
V1: tuple[Endpoint, ...] = ()
ROOT: tuple[Endpoint, ...] = ()


def errors_v2(error: StrongroomError, request_id: str) -> Answer:
    """Give *error* as Airflow 3 does."""
    shaped = answer_of(error, request_id=request_id)
    return Answer(shaped.body, status=shaped.status)


def errors_v1(error: StrongroomError, request_id: str) -> Answer:
    """Give *error* as Airflow 2 does: RFC 7807."""
    return errors_v2(error, request_id)
