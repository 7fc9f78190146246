"""
The page inside Airflow, as answers: one static page, and the inventory it shows as JSON.

Not for who may see it: `page_fastapi.py` and `page_flask.py` put Airflow's own guard before everything here.

Rules of this file:

1. Nothing is kept by a browser or a proxy, and nothing is loaded from anywhere else: the page names the
   hashes of its own style and script, and no other runs.
2. What is refused or fails says why in one line: no value, no path, no text of a foreign exception.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from datetime import datetime, timezone
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs

from strongroom.airflow.inventory import ENDING_DAYS, Choice, chosen, is_ending

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from strongroom.airflow.inventory import Line, Taken

__all__ = ["METHODS", "Reply", "Sees", "answer", "refusal", "unguarded"]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
"""All that a guard stands before; `GET` and `HEAD` are answered."""
MAX_SIZE = 200
_SIZE = 50
_MAX_SEARCH = 200
_MAX_QUERY = 4000
_ONLY = ("", "hidden", "problems", "ending")
_HTML = "text/html; charset=utf-8"
_JSON = "application/json"
_FILE = Path(__file__).with_name("page.html")
_INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)

_log = logging.getLogger("strongroom.airflow.page")


class Reply(NamedTuple):
    """
    What is answered.

    Args:
        headers: names in lower case; they go with every answer.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Sees(NamedTuple):
    """
    What of the list whoever asks may see, beside being allowed to look at connections.

    Args:
        variables: whether he may look at variables.
        names: of a kind and a team those among some names that he may see; None for all of them.
    """

    variables: bool = True
    names: Callable[[str, str | None, set[str]], set[str]] | None = None

    def lines(self, lines: Sequence[Line]) -> list[Line]:
        """Give those of *lines* that he may see."""
        kept = [line for line in lines if self.variables or line.kind != "variable"]
        if self.names is None:
            return kept
        asked: dict[tuple[str, str | None], set[str]] = {}
        for line in kept:
            asked.setdefault((line.kind, line.team), set()).add(line.name)
        seen = {(*key, name) for key, names in asked.items() for name in self.names(*key, names)}
        return [line for line in kept if (line.kind, line.team, line.name) in seen]


def answer(method: str, path: str, query: str, sees: Callable[[], Sees], take: Callable[[], Taken]) -> Reply:
    """
    Answer a request that a guard let through.

    Args:
        method: of HTTP.
        path: below the page's own: "" is the page, `inventory` the list.
        query: of the list, as it came.
        sees: tells what of it whoever asks may see.
        take: gives what there is.
    """
    if method not in ("GET", "HEAD"):
        return _error(405, "method_not_allowed", "this page is only read", ("allow", "GET, HEAD"))
    if path not in ("", "inventory"):
        return _error(404, "not_found", "there is nothing here but the page and its inventory")
    try:
        made = _page() if path == "" else _inventory(query, sees, take)
    except _BadQueryError as error:
        return _error(400, "invalid_input", str(error))
    except Exception as error:  # noqa: BLE001 -- the edge to a server of Airflow's: nothing foreign is told
        _log.warning("the inventory cannot be shown: %s", type(error).__name__)
        return _error(500, "error", f"the inventory cannot be shown ({type(error).__name__})")
    return made._replace(body=b"") if method == "HEAD" else made


def refusal(status: int, *, is_page: bool) -> Reply:
    """Give what somebody is told whom Airflow's guard turned away."""
    text = _REFUSED.get(status, "Airflow refused this.")
    if not is_page:
        return _error(status, "not_authenticated" if status == 401 else "access_denied", text)  # noqa: PLR2004 -- HTTP's
    policy = "default-src 'none'; frame-ancestors 'self'"
    return Reply(status, _headers("text/plain; charset=utf-8", policy), text.encode())


_REFUSED = {
    401: "Sign in to Airflow to see this page.",
    403: "This page shows what connections there are, and you may not read connections in this Airflow.",
}


def unguarded() -> Reply:
    """Give what everybody is told where Airflow has no guard that this version of ours knows."""
    return _error(503, "unsupported", "this Airflow has no guard that this page knows, so nothing is shown")


# --- the page ----------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _page() -> Reply:
    text = _FILE.read_text(encoding="utf-8")
    sources: dict[str, list[str]] = {"style": [], "script": []}
    for tag, inside in _INLINE.findall(text):
        sources[tag].append(f"'sha256-{base64.b64encode(sha256(inside.encode()).digest()).decode()}'")
    styles, scripts = (" ".join(sources[tag]) for tag in ("style", "script"))
    policy = (
        f"default-src 'none'; style-src {styles}; script-src {scripts}; connect-src 'self'; img-src 'self';"
        " form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
    )
    return Reply(200, _headers(_HTML, policy), text.encode())


def _headers(media: str, policy: str, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return (
        ("content-type", media),
        ("content-security-policy", policy),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "SAMEORIGIN"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
        *more,
    )


def _error(status: int, code: str, message: str, *more: tuple[str, str]) -> Reply:
    return _json(status, {"error": {"code": code, "message": message}}, *more)


def _json(status: int, told: Mapping[str, Any], *more: tuple[str, str]) -> Reply:
    policy = "default-src 'none'; frame-ancestors 'none'"
    return Reply(status, _headers(_JSON, policy, *more), json.dumps(told).encode())


# --- the list ----------------------------------------------------------------------------------------


class _BadQueryError(ValueError):
    """A query of the list is none. Says what, and nothing of it."""


class _Query(NamedTuple):
    choice: Choice
    number: int
    size: int


def _inventory(query: str, sees: Callable[[], Sees], take: Callable[[], Taken]) -> Reply:
    asked, seen, taken = _read(query), sees(), take()
    now = datetime.now(timezone.utc)
    found = chosen(seen.lines(taken.lines), asked.choice, now)
    pages = max(1, -(-len(found.lines) // asked.size))
    number = min(asked.number, pages)
    begin = (number - 1) * asked.size
    return _json(
        200,
        {
            "at": _time(taken.at),
            "asked": taken.asked,
            "server": taken.server,
            "ending_days": ENDING_DAYS,
            "shows_variables": seen.variables,
            "notes": [note._asdict() for note in taken.notes],
            "places": [
                {
                    "id": place.id,
                    "label": place.label,
                    "order": place.order,
                    "is_listable": place.is_listable,
                    "trouble": place.trouble,
                }
                for place in taken.places
            ],
            "counts": found.counts,
            "total": len(found.lines),
            "page": number,
            "pages": pages,
            "first": begin + 1,
            "entries": [_row(line, now) for line in found.lines[begin : begin + asked.size]],
        },
    )


def _row(line: Line, now: datetime) -> dict[str, Any]:
    return {
        "kind": line.kind,
        "name": line.name,
        "team": line.team,
        "place": line.place,
        "conn_type": line.conn_type,
        "shadows": list(line.shadows),
        "shadowed_by": line.shadowed_by,
        "state": line.state,
        "problem": line.problem,
        "version": line.version,
        "changed_at": _time(line.changed_at),
        "read_at": _time(line.read_at),
        "expires_at": _time(line.expires_at),
        "is_ending": is_ending(line, now),
        "owner": line.owner,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(timezone.utc).isoformat(timespec="seconds")


def _read(query: str) -> _Query:
    """
    Read a query.

    Raises:
        _BadQueryError: there is something in it that is not asked for here.
    """
    if len(query) > _MAX_QUERY:
        raise _BadQueryError(f"the query is over {_MAX_QUERY} characters")
    try:
        said = parse_qs(query, keep_blank_values=True, max_num_fields=100, errors="strict")
    except ValueError:
        said = {"": []}
    if not set(said) <= {"search", "place", "kind", "only", "page", "size"}:
        raise _BadQueryError("the query takes search, place, kind, only, page and size")
    kinds = frozenset(said.get("kind", ()))
    if not kinds <= {"connection", "variable"}:
        raise _BadQueryError("kind is connection or variable")
    search, only = _one(said, "search", ""), _one(said, "only", "")
    if len(search) > _MAX_SEARCH:
        raise _BadQueryError(f"search is over {_MAX_SEARCH} characters")
    if only not in _ONLY:
        raise _BadQueryError("only is hidden, problems or ending")
    choice = Choice(search.strip(), frozenset(said.get("place", ())), kinds, only)
    return _Query(choice, _number(said, "page", 1, 1_000_000), _number(said, "size", _SIZE, MAX_SIZE))


def _one(said: Mapping[str, list[str]], name: str, unsaid: str) -> str:
    values = said.get(name, [unsaid])
    if len(values) != 1:
        raise _BadQueryError(f"{name} is said twice")
    return values[0]


def _number(said: Mapping[str, list[str]], name: str, unsaid: int, most: int) -> int:
    text = _one(said, name, str(unsaid))
    if text.isascii() and text.isdigit() and len(text) < 9 and 1 <= int(text) <= most:  # noqa: PLR2004 -- digits
        return int(text)
    raise _BadQueryError(f"{name} is a whole number from 1 to {most}")
