"""Who may, as pages: from people and tokens to policies, their tester, approvals and break-glass."""

from __future__ import annotations

from strongroom.server.ui.access import (
    approvals,
    break_glass,
    grants,
    groups,
    home,
    people,
    policies,
    roles,
    services,
    tester,
    tokens,
)

__all__ = ["ENDPOINTS"]

ENDPOINTS = (
    *home.ENDPOINTS,
    *people.ENDPOINTS,
    *groups.ENDPOINTS,
    *services.ENDPOINTS,
    *tokens.ENDPOINTS,
    *roles.ENDPOINTS,
    *policies.ENDPOINTS,
    *grants.ENDPOINTS,
    *tester.ENDPOINTS,
    *approvals.ENDPOINTS,
    *break_glass.ENDPOINTS,
)
