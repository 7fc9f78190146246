"""
URLs taken apart, as drivers write them: several hosts, any password that is percent-encoded.

Not `urllib.parse.urlsplit`, which remembers the texts it saw, passwords and all.

Source: RFC 3986 §3; each form's own page for what it allows beyond that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from strongroom.errors import InvalidInputError
from strongroom.transfer.forms.form import port_of, refused

__all__ = ["Url", "decoded", "host_and_port", "query_of", "quoted_query", "spelled", "split", "written"]

_MAX_HOSTS = 100
_END = re.compile(r"[/?#]")
_HIDDEN = re.compile(r"[\x00-\x1f\x7f]")
_BRACKETED = re.compile(r"\[([0-9A-Fa-f:.]{2,64}(?:%[\w.-]{1,32})?)\](?::([0-9]*))?")


class Url(NamedTuple):
    """
    The parts of a URL, decoded but for `place` and `query`.

    Args:
        scheme: in lower case.
        login: None where there is none, "" where it is empty.
        password: likewise.
        place: host and port, or several with commas between, as they stand.
        path: behind the authority, without its first slash; None where there is no slash. Not decoded.
        query: behind the `?`, not decoded.
        start: offset of the authority.
    """

    scheme: str
    login: str | None
    password: str | None
    place: str
    path: str | None
    query: str
    start: int

    @property
    def hosts(self) -> list[tuple[str, int | None]]:
        """Every host with its port; at most 100."""
        if self.place.count(",") >= _MAX_HOSTS:
            raise refused(f"there are more than {_MAX_HOSTS} hosts", offset=self.start)
        return [host_and_port(one, self.start) for one in self.place.split(",")]


def split(text: str) -> Url:
    """
    Take a URL apart.

    Raises:
        InvalidInputError: it holds control characters, has no `://`, or what is percent-encoded is not
            UTF-8.
    """
    odd = _HIDDEN.search(text)
    if odd:
        raise refused("a control character stands in the URL", offset=odd.start(), hint="percent-encode it")
    scheme, mark, rest = text.partition("://")
    if not mark:
        raise refused("there is no '://'", offset=0)
    start = len(scheme) + 3
    # The last '@' before the path counts, as drivers take it: passwords hold '@' more often than hosts do.
    end = _END.search(rest)
    authority, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    # A '#' in a password cuts the URL short, and its '@' is left over in the fragment.
    tail, hash_, fragment = tail.partition("#")
    if hash_ and "@" in fragment:
        raise refused("an '@' stands behind a '#', which ends the URL", offset=start, hint="write %23")
    user, at, place = authority.rpartition("@")
    login, colon, password = user.partition(":")
    path, _, query = tail.partition("?")
    return Url(
        scheme=scheme.lower(),
        login=decoded(login, start) if at else None,
        password=decoded(password, start) if colon else None,
        place=place,
        path=path[1:] if path else None,
        query=query,
        start=start,
    )


def decoded(text: str, offset: int | None = None, *, plus: bool = False) -> str:
    """
    Give *text* without its percent-encoding.

    Args:
        text: as it stands.
        offset: where, for the refusal.
        plus: whether `+` is a blank.

    Raises:
        InvalidInputError: the bytes are not UTF-8.
    """
    if plus:
        text = text.replace("+", " ")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        pass
    raise refused("a percent-encoded character is not UTF-8", offset=offset)


def host_and_port(text: str, offset: int | None = None) -> tuple[str, int | None]:
    """
    Give one host, decoded and without brackets, and its port.

    Raises:
        InvalidInputError: the port is none, or the brackets hold no address.
    """
    if text.startswith("["):
        match = _BRACKETED.fullmatch(text)
        if match is None:
            raise refused("'[' and ']' do not hold the host's IPv6 address", offset=offset)
        return match[1], port_of(match[2] or "", offset)
    host, _, port = text.partition(":")
    try:
        return decoded(host, offset), port_of(port, offset)
    except InvalidInputError as error:
        error.hint = error.hint or "percent-encode '/', '?', '#', ':' and '@' in the login and password"
        raise


def query_of(
    query: str, offset: int | None = None, *, plus: bool = False, joined: frozenset[str] = frozenset()
) -> dict[str, str]:
    """
    Give the parameters of a query, decoded.

    Args:
        query: as it stands.
        offset: where, for the refusal.
        plus: whether `+` is a blank.
        joined: those that may stand several times, their values then with commas between.

    Raises:
        InvalidInputError: one stands twice, has no name, or is not UTF-8.
    """
    found: dict[str, str] = {}
    for part in query.split("&") if query else ():
        if not part:
            continue
        key, _, value = part.partition("=")
        name = decoded(key, offset, plus=plus)
        if not name:
            raise refused("a parameter of the query has no name", offset=offset)
        if name in found and name not in joined:
            raise refused("a parameter stands twice in the query", offset=offset, hint="keep one of the two")
        more = decoded(value, offset, plus=plus)
        found[name] = f"{found[name]},{more}" if name in found else more
    return found


# --- writing -----------------------------------------------------------------------------------


def spelled(value: object) -> str:
    """Give a value of extra as a parameter says it."""
    import json  # noqa: PLC0415 -- most have none

    if isinstance(value, str):
        return value
    return json.dumps(value)


def quoted_query(pairs: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> str:
    """Give parameters with the `?` before them; "" where there are none."""
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    query = "&".join(f"{quote(key, safe='')}={quote(spelled(value), safe='')}" for key, value in items)
    return f"?{query}" if query else ""


def written(host: str | None, port: int | None, login: str | None = None, password: str | None = None) -> str:
    """Give the authority of a URL; a host with commas is several, and stays as it is."""
    place = quote(host or "", safe=",:[]" if host and "," in host else "")
    if host and ":" in host and "," not in host:
        place = f"[{host}]" if re.fullmatch(r"[0-9A-Fa-f:.]+", host) else place
    place += "" if port is None else f":{port}"
    if login is None and password is None:
        return place
    secret = "" if password is None else ":" + quote(password, safe="")
    return f"{quote(login or '', safe='')}{secret}@{place}"
