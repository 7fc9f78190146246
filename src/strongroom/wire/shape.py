"""
What every JSON shape of the HTTP API has in common: how strict each direction is, pages, the one error.

Rules of this package:

1. What is asked (`Asked`) refuses unknown members; what is given (`Given`) lets the reader pass over them, so
   that an older client understands a newer server.
2. Times are RFC 3339 in UTC, spans are seconds, both named by their unit or ending in `_at`.
3. Limits of size stand in the schema and are enforced by the handlers, which name the limit (413).
4. Members of answers that may hold a secret are named in `SECRET_MEMBERS`; no other ever holds one.
5. No shape prints what its members hold.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

__all__ = [
    "MAX_BATCH",
    "MAX_COMMENT_CHARACTERS",
    "MAX_PAGE",
    "MAX_RUN_CHARACTERS",
    "SECRET_MEMBERS",
    "UNSET",
    "Asked",
    "Failure",
    "Given",
    "Kind",
    "Order",
    "PageLimit",
    "PageQuery",
    "Problem",
    "Trouble",
    "UnsetType",
]

Kind = Literal["connection", "variable", "config"]
Order = Literal["asc", "desc"]

MAX_BATCH: Final = 1000  # Refs in one question
MAX_PAGE: Final = 1000  # rows in one page
MAX_COMMENT_CHARACTERS: Final = 500  # as long as the audit record keeps a reason
MAX_RUN_CHARACTERS: Final = 250  # of each name in what is said of a run, as the audit record keeps them

SECRET_MEMBERS: Final = frozenset({"value", "connection", "password", "token"})


PageLimit = Annotated[int, Meta(ge=1, le=MAX_PAGE)]


class _Shape(msgspec.Struct, kw_only=True):
    """What both have: none prints a value."""

    def __repr__(self) -> str:
        # By its members' names alone: a traceback's locals, a debugger and a failed assertion print it.
        return f"{type(self).__name__}({', '.join(self.__struct_fields__)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, "***") for name in self.__struct_fields__]


class Asked(_Shape, kw_only=True, forbid_unknown_fields=True):
    """What a client sends; unknown members are refused."""


class Given(_Shape, kw_only=True):
    """What the server answers; a reader passes over members it does not know."""


class PageQuery(Asked, kw_only=True):
    """
    Which page.

    Args:
        limit: rows at most.
        cursor: as the page before gave it; opaque, and good only for the same question by the same actor.
    """

    limit: PageLimit = 100
    cursor: str | None = None


class Problem(Given, kw_only=True, omit_defaults=True):
    """
    Why not: the one shape of every error.

    Args:
        code: stable, for machines; docs/api.md lists them.
        message: one clause for people. Holds nothing of the request's body.
        hint: what to change or try next.
        retry_after: seconds to wait before asking again.
        field: which member or parameter is meant.
        current_version: of a conflict: the version that stands, where that is known.
    """

    code: str
    message: str
    hint: str | None = None
    retry_after: float | None = None
    field: str | None = None
    current_version: str | None = None


class Failure(Given, kw_only=True):
    """The body of every answer that is an error."""

    error: Problem


class Trouble(Given, kw_only=True):
    """
    A backend that is missing from an answer, and why.

    Args:
        backend: its name in the chain.
    """

    backend: str
    error: Problem
