"""`/deployments`: entries beside each other in the deployments that the reader is signed in to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from strongroom.errors import AccessDeniedError, NotAuthenticatedError, StrongroomError
from strongroom.server.endpoint import Endpoint
from strongroom.server.siblings import holders, known_to
from strongroom.server.ui.frame import Twin, page, url_for
from strongroom.server.ui.texts import say
from strongroom.service.comparison import WHICH
from strongroom.wire.failure import without_paths
from strongroom.wire.shape import Asked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.server.endpoint import Answer, Call
    from strongroom.service.comparison import Cell, Grid, Holder

__all__ = ["ENDPOINTS"]

_PAGE = 50
_MOST_FIELDS = 3
_MARKS = {"same": "", "missing": "none", "unknown": "none", "untold": "none", "unreadable": "c"}


class GridQuery(Asked, kw_only=True):
    """
    Which lines.

    Args:
        only: one of `all`, `differing`, `missing`.
        begin: lines before the first.
        reference: the deployment that the others are compared with; unsaid, the server's first.
    """

    only: str = "all"
    begin: int = 0
    reference: str = ""


class Mark(NamedTuple):
    """
    One cell as it is shown.

    Args:
        shape: of its mark in the stylesheet.
        letter: of its content, or an en dash.
        said: the words beside it.
        full: all of them.
    """

    shape: str
    letter: str
    said: str
    full: str


def deployments(call: Call) -> Answer:
    """Show the grid."""
    asked = call.asked(GridQuery)
    only = asked.only if asked.only in WHICH else "all"
    columns, silent = _columns(call, asked.reference)
    grid, trouble = None, ""
    try:
        grid = call.house.comparison.grid(
            columns, which=only, begin=max(0, asked.begin // _PAGE * _PAGE), count=_PAGE
        )
    except AccessDeniedError:
        raise
    except StrongroomError as error:
        trouble = without_paths(str(error))
    names = [one.name for one in columns]
    return page(
        call,
        "deployments.html",
        nav="deployments",
        title="deployments.title",
        twin=_twin(names, only),
        grid=grid,
        trouble=trouble,
        only=only,
        names=names,
        reference=asked.reference if asked.reference in names else "",
        others=[name for name in known_to(call) if name not in names],
        silent=silent,
        marks=_marks(grid),
        begin=asked.begin,
        size=_PAGE,
        views=_views(call, grid, only, asked.reference),
        place=lambda **query: _address(call, {"only": only, "reference": asked.reference, **query}),
        sign_in=lambda name: _sign_in(call, name),
    )


def _columns(call: Call, reference: str) -> tuple[list[Holder], dict[str, str]]:
    """
    Give the deployments the reader may be shown, the one to compare with first, and why others are left out.

    What a deployment is that he has no session of is not told.
    """
    found: list[Holder] = []
    silent: dict[str, str] = {}
    for name in known_to(call):
        try:
            found += holders(call, [name])
        except NotAuthenticatedError:
            silent[name] = say("deployments.ended")
        except StrongroomError as error:
            if name == call.deployment:
                raise
            silent[name] = without_paths(str(error))
    first = reference if any(one.name == reference for one in found) else call.house.first
    return sorted(found, key=lambda one: one.name != first), silent


def _marks(grid: Grid | None) -> list[list[Mark]]:
    if grid is None:
        return []
    return [[_mark(cell) for cell in line.cells] for line in grid.lines]


def _mark(cell: Cell) -> Mark:
    if not cell.letter:
        said = str(say(f"deployments.cell.{cell.state}"))
        return Mark(_MARKS[cell.state], "!" if cell.state == "unreadable" else "\N{EN DASH}", said, said)
    shape = {"A": "", "B": "b"}.get(cell.letter, "c")
    more = len(cell.fields) - _MOST_FIELDS
    few = ", ".join(cell.fields[:_MOST_FIELDS])
    said = str(say("deployments.more", fields=few, count=more)) if more > 0 else few
    if cell.letter != "A" and not cell.fields:
        said = str(say("deployments.cell.apart"))
    return Mark(shape, cell.letter, said, ", ".join(cell.fields))


def _views(call: Call, grid: Grid | None, only: str, reference: str) -> list[dict[str, Any]]:
    counts = grid.counts if grid is not None else {}
    return [
        {
            "href": _address(call, {"only": word, "reference": reference}),
            "text": say(f"deployments.only.{word}"),
            "count": counts.get(word),
            "current": word == only,
        }
        for word in WHICH
    ]


def _address(call: Call, query: dict[str, object]) -> str:
    kept = {name: value for name, value in query.items() if value and (name, value) != ("only", "all")}
    return url_for(call, "/deployments", **kept)


def _sign_in(call: Call, name: str) -> str:
    place = "" if name == call.house.first else f"/d/{name}"
    return f"{place}/sign-in?{urlencode({'next': f'{place}/deployments'})}"


def _twin(names: Sequence[str], only: str) -> Twin:
    between = ",".join(names)
    query = urlencode({"between": between, "only": only}, safe=",")
    return Twin(f"strongroom diff --between {between} --only {only}", "GET", f"/v1/compare?{query}")


ENDPOINTS = (
    Endpoint(
        "GET", "/deployments", deployments, "Show deployments side by side", "page", asks=GridQuery, cost=2.0
    ),
)
