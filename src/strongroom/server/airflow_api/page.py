"""
Pages of a list as Airflow gives them: limit and offset, order, patterns, and how many there are in all.

Rules of this file:

1. Listed is what the inventory lists and the actor may describe, of the global names.
2. Columns to order by are an allow-list; nothing of a request becomes part of a query (facts CR10).
3. Whoever sees nothing at all is refused as Airflow refuses a Viewer, whether or not there is anything.
4. What has to be read before it can be ordered (a host, a port) is read of a bounded number of entries,
   and ordered as it is shown, never as it is stored.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import StrongroomError
from strongroom.model.entry import EntryState
from strongroom.model.ref import Ref
from strongroom.policy import Action
from strongroom.server.airflow_api.body import Problems, last_of, number_of
from strongroom.server.airflow_api.refusal import RefusedError
from strongroom.service.ordered import Way

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence

    from strongroom.model.ref import Kind
    from strongroom.server.endpoint import Call
    from strongroom.service.inventory import Row
    from strongroom.service.ordered import Ordered
    from strongroom.service.shelf import Column

__all__ = ["MAX_PAGE", "MAX_READ_TO_ORDER", "Asked", "Order", "asked_v2", "like", "page_of", "rows_of"]

FALLBACK_PAGE = 50  # Airflow 3: [api] fallback_page_limit
MAX_PAGE = 100  # [api] maximum_page_limit
MAX_READ_TO_ORDER = 2000  # entries read to order a list by what stands in them
_MAX_ORDERS = 10
_MAX_PATTERN = 1000  # characters
_MAX_TERMS = 50
_WORD = re.compile(r"[A-Za-z_]{1,40}", re.ASCII)


class Order(NamedTuple):
    """
    One column to order by.

    Args:
        column: `name`, `conn_type`, `description`, or one that *read* gives.
        is_descending: the greatest first.
    """

    column: str
    is_descending: bool = False


class Asked(NamedTuple):
    """
    Which part of a list is wanted, in which order.

    Args:
        fits: tells of a name whether it is wanted; None for all.
        prefix: which every wanted name has, where that is known.
        question: tells apart what *fits* wants.
    """

    limit: int
    offset: int
    orders: tuple[Order, ...] = (Order("name"),)
    fits: Callable[[str], bool] | None = None
    prefix: str = ""
    question: Hashable = None


# --- what is asked ---------------------------------------------------------------------------------------


def asked_v2(call: Call, columns: Mapping[str, str], name: str) -> Asked:
    """
    Read the query of a list of Airflow 3.

    Args:
        call: the request.
        columns: what `order_by` may say, and the column of ours.
        name: `connection_id` or `variable_key`: begins the names of the patterns' parameters.

    Raises:
        RefusedError: 422 a number that is none or below zero; 400 an order that is not allowed.
    """
    problems = Problems()
    limit = _not_negative(call, "limit", FALLBACK_PAGE, problems)
    offset = _not_negative(call, "offset", 0, problems)
    problems.check()
    orders = _orders(call.query.get("order_by", []), columns)
    pattern, prefix = last_of(call.query, f"{name}_pattern"), last_of(call.query, f"{name}_prefix_pattern")
    fits = [_pattern(pattern, problems, f"{name}_pattern"), _prefixes(prefix, problems)]
    problems.check()
    tests = [one for one in fits if one is not None]
    return Asked(
        limit=min(limit, MAX_PAGE),
        offset=offset,
        orders=orders,
        fits=_all(tests),
        prefix=_prefix_of(prefix),
        question=(pattern, prefix),
    )


def _all(tests: Sequence[Callable[[str], bool]]) -> Callable[[str], bool] | None:
    if len(tests) < 2:  # noqa: PLR2004 -- one needs nobody to ask it: it is asked of every name there is
        return tests[0] if tests else None
    return lambda text: all(test(text) for test in tests)


def _not_negative(call: Call, name: str, default: int, problems: Problems) -> int:
    text = last_of(call.query, name)
    if text is None:
        return default
    number = number_of(text, problems, ("query", name))
    if number is not None and number < 0:
        problems.add("greater_than_equal", ("query", name), "Input should be greater than or equal to 0")
    return number or 0


def _orders(asked: Sequence[str], columns: Mapping[str, str]) -> tuple[Order, ...]:
    if len(asked) > _MAX_ORDERS:
        raise RefusedError(400, f"Ordering with more than {_MAX_ORDERS} parameters is not allowed.")
    return tuple(order_of(text, columns) for text in asked) or (Order("name"),)


def order_of(text: str, columns: Mapping[str, str]) -> Order:
    """
    Read one order: `-port`.

    Raises:
        RefusedError: 400: it is none of *columns*.
    """
    bare = text.lstrip("-")
    column = columns.get(bare)
    if column is None:
        said = f"'{bare}'" if _WORD.fullmatch(bare) else "this"
        raise RefusedError(
            400, f"Ordering with {said} is disallowed or the attribute does not exist on the model"
        )
    return Order(column, text.startswith("-"))


def _terms(text: str) -> list[str]:
    """Give what stands between `|`; the whole where that is nothing."""
    terms = [term.strip() for term in text.split("|") if term.strip()] if "|" in text else []
    return terms or [text]


def _pattern(text: str | None, problems: Problems, name: str) -> Callable[[str], bool] | None:
    if text is None or text == "~":
        return None
    terms = _terms(text)
    if len(text) > _MAX_PATTERN or len(terms) > _MAX_TERMS:
        problems.add(
            "string_too_long", ("query", name), f"String should have at most {_MAX_PATTERN} characters"
        )
        return None
    tests = [like(f"%{term}%") for term in terms]
    return tests[0] if len(tests) == 1 else lambda found: any(test(found) for test in tests)


def like(pattern: str) -> Callable[[str], bool]:
    """
    Give what tells whether a text matches *pattern* as SQL's ILIKE does: `%` any, `_` one character.

    It takes time in proportion to both lengths, whatever the pattern: the pieces between `%` are looked for
    one after the other, never tried again.
    """
    head, *middle = pattern.lower().split("%")
    if not middle:
        whole = _piece(head)
        return lambda text: whole.fullmatch(text.lower()) is not None
    *inner, tail = middle
    if not head and not tail and len(inner) == 1 and "_" not in inner[0]:
        return lambda text: inner[0] in text.lower()
    first, last = _piece(head), _piece(tail)
    pieces = [_piece(piece) for piece in inner if piece]

    def matches(text: str) -> bool:
        text = text.lower()
        begin, end = len(head), len(text) - len(tail)
        if end < begin or not first.match(text) or not last.match(text, end):
            return False
        for piece in pieces:
            found = piece.search(text, begin, end)
            if found is None:
                return False
            begin = found.end()
        return True

    return matches


def _piece(text: str) -> re.Pattern[str]:
    return re.compile("".join("." if one == "_" else re.escape(one) for one in text), re.DOTALL)


def _prefixes(text: str | None, problems: Problems) -> Callable[[str], bool] | None:
    if text is None or text == "~":
        return None
    terms = _terms(text)
    if len(text) > _MAX_PATTERN or len(terms) > _MAX_TERMS:
        problems.add("string_too_long", ("query",), f"String should have at most {_MAX_PATTERN} characters")
        return None
    starts = tuple(_start(term) for term in terms)
    return lambda found: found.startswith(starts)


def _prefix_of(text: str | None) -> str:
    return "" if text is None or text == "~" or len(_terms(text)) > 1 else _start(_terms(text)[0])


def _start(term: str) -> str:
    """Give *term* without what stands after its last letter or digit: Airflow looks for no more."""
    while term and not term[-1].isalnum():
        term = term[:-1]
    return term


# --- the page --------------------------------------------------------------------------------------------


def page_of(
    call: Call, kind: Kind, asked: Asked, read: Callable[[Row, str], object] | None = None
) -> tuple[list[Ref], int]:
    """
    Give what stands on one page, and how many there are in all.

    Args:
        call: the request.
        kind: connection or variable.
        asked: which page.
        read: gives a column of a row that the inventory does not know.

    Raises:
        AccessDeniedError: the actor sees nothing here.
        RefusedError: 400: too many entries would have to be read to order them.
        BackendUnavailableError: a backend could not be listed; a part is never given for the whole.
    """
    ordered = call.room.inventory.ordered(kind, action=Action.DESCRIBE)
    if all(order.column in _COLUMNS for order in asked.orders):
        names, total = _window(ordered, asked, _ways(asked.orders))
    else:
        names, total = _read_and_sorted(call, ordered, asked, read)
    if not total and not ordered.has_any:
        call.place.guard.check(call.identity.actor, Action.DESCRIBE, None, None)
    return [Ref(kind, name) for name in names], total


def _window(ordered: Ordered, asked: Asked, ways: Sequence[Way]) -> tuple[list[str], int]:
    return ordered.window(
        ways, asked.offset, asked.limit, prefix=asked.prefix, fits=asked.fits, question=asked.question
    )


def _ways(orders: Sequence[Order]) -> list[Way]:
    known = [
        Way(column, order.is_descending) for order in orders if (column := _COLUMNS[order.column]) is not None
    ]
    return known or [Way("name", orders[0].is_descending)]


def rows_of(call: Call, kind: Kind, names: Sequence[str]) -> list[Row]:
    """Give the rows of those of *names* that there are and that the actor may describe, by name."""
    sight = call.place.guard.sight(call.identity.actor, Action.DESCRIBE)
    return [
        row
        for row in call.room.inventory.these(kind, names)
        # Of a row that was tampered with nothing is believed.
        if sight.sees(row.ref, None if row.state is EntryState.TAMPERED else row.metadata)
    ]


def _read_and_sorted(
    call: Call, ordered: Ordered, asked: Asked, read: Callable[[Row, str], object] | None
) -> tuple[list[str], int]:
    """Order by what must be read first, which is done for a bounded number."""
    everything = asked._replace(offset=0, limit=MAX_READ_TO_ORDER)
    names, total = _window(ordered, everything, [Way("name")])
    if total > MAX_READ_TO_ORDER:
        raise RefusedError(
            400,
            f"Ordering by what stands in entries is possible for {MAX_READ_TO_ORDER} of them at most: "
            "narrow the list with a pattern",
        )
    rows = rows_of(call, ordered.kind, names)
    for order in reversed(_with_name(asked.orders)):
        _sort(rows, order, read)
    page = rows[asked.offset : asked.offset + asked.limit]
    return [row.ref.name for row in page], len(rows)


def _with_name(orders: tuple[Order, ...]) -> tuple[Order, ...]:
    if any(order.column == "name" for order in orders):
        return orders
    return (*orders, Order("name", orders[0].is_descending))


def _sort(rows: list[Row], order: Order, read: Callable[[Row, str], object] | None) -> None:
    def key(row: Row) -> tuple[bool, object]:
        known = _KNOWN.get(order.column)
        value = known(row) if known is not None else _read(row, order.column, read)
        return value is not None, "" if value is None else value

    rows.sort(key=key, reverse=order.is_descending)


def _read(row: Row, column: str, read: Callable[[Row, str], object] | None) -> object:
    if read is None:
        return None
    try:
        return read(row, column)
    except StrongroomError:
        return None  # gone meanwhile, or unreadable: it stands with those that have none


_KNOWN: Mapping[str, Callable[[Row], object]] = {
    "name": lambda row: row.ref.name,
    "conn_type": lambda row: row.metadata.conn_type,
    "description": lambda row: row.metadata.description,
    "nothing": lambda _row: None,
}
_COLUMNS: Mapping[str, Column | None] = {
    "name": "name",
    "conn_type": "conn_type",
    "description": "description",
    "nothing": None,
}
