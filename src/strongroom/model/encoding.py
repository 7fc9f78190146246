"""
What a secret looks like in text: a closed list of encodings, and what is too short or too common to be one.

The one list, of `masking.py` and of `airflow/masks.py`; docs/masking.md names each class.
"""

from __future__ import annotations

import base64
import html
import json
import re
import urllib.parse
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = [
    "MINIMUM_CHARACTERS",
    "TRIVIAL_VALUES",
    "common_forms",
    "is_maskable",
    "patterns_of",
    "texts_of_json",
]

MINIMUM_CHARACTERS = 5  # Airflow's `[logging] min_length_masked_secret`: what it masks, we mask
TRIVIAL_VALUES = frozenset(
    # What a log says about itself: masking these tells the reader the secret and spoils the rest.
    "true false null none undefined enabled disabled default airflow localhost 127.0.0.1 "  # noqa: SIM905
    # Options of connection extras.
    "allow disable prefer require verify-ca verify-full ascii utf-8 utf8mb4 https "
    # Passwords everybody tries first, each the name of a product or a role.
    "admin guest mysql password postgres postgresql public username".split()
)
"""Values never masked, in any case (`True`, `TRUE`); nor are numbers of up to 5 digits (ports)."""

_BLOCK_BYTES = 128  # far longer than any text that two secrets share by chance
_MIN_ENCODED = 6  # characters; fewer of base64 or hex occur by chance
_ENCODING_ERRORS = "surrogatepass"  # file names and argv may hold lone surrogates

_URL_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*", re.ASCII)
_URL_ESCAPE = re.compile(r"%[0-9A-F]{2}")
# What each quoter leaves alone of what the strictest one escapes, by its escape.
_URL_UNESCAPES = (
    {"%2F": "/"},  # urllib.parse.quote
    {"%20": "+"},  # urllib.parse.quote_plus
    {"%21": "!", "%27": "'", "%28": "(", "%29": ")", "%2A": "*"},  # JavaScript's encodeURIComponent
    {"%20": " ", "%2B": "+"},  # SQLAlchemy
)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_PEM_ARMOUR = re.compile(r"-----(?:BEGIN|END) [A-Z0-9 ]+-----")
_HTML_NUMERIC = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"})


def is_maskable(value: str, minimum: int) -> bool:
    """Tell whether *value* is worth masking: long enough, no trivial word and no port."""
    return not (len(value) < minimum or value.lower() in TRIVIAL_VALUES or _PORT.fullmatch(value))


def common_forms(value: str) -> tuple[str, ...]:
    """Give what logs hold most: *value* itself, percent, base64, JSON and repr; equal ones once."""
    raw = value.encode("utf-8", _ENCODING_ERRORS)
    quoted, encoded = urllib.parse.quote(raw, safe=""), base64.b64encode(raw).decode()
    return tuple(dict.fromkeys((value, quoted, encoded, json.dumps(value)[1:-1], repr(value)[1:-1])))


def patterns_of(values: Iterable[str], minimum: int) -> set[bytes]:
    """
    Give everything to look for, as UTF-8: each claimed encoding of each of *values*.

    One longer than 255 bytes comes as blocks of 125 to 255 bytes, cut between characters.

    Args:
        values: plaintexts.
        minimum: characters of a line of a longer value that is looked for by itself.
    """
    found: set[bytes] = set()
    for value in values:
        for form in set(_forms(value, minimum)):
            pattern = form.encode("utf-8", _ENCODING_ERRORS)
            if len(pattern) < 2 * _BLOCK_BYTES:
                found.add(pattern)
            else:
                found.update(_blocks(pattern))
    return found


def _forms(value: str, minimum: int) -> Iterator[str]:
    """Give *value* in every claimed encoding, and for several lines each line worth masking."""
    yield from _text_forms(value)
    yield from _byte_forms(value.encode("utf-8", _ENCODING_ERRORS))
    lines = value.splitlines()
    if len(lines) > 1:
        for line in map(str.strip, lines):
            if is_maskable(line, minimum) and _is_telling(line):
                yield from _text_forms(line)


def _is_telling(line: str) -> bool:
    # Rules of dashes and the armour of a PEM stand in public certificates and tables alike.
    return any(map(str.isalnum, line)) and not _PEM_ARMOUR.fullmatch(line)


def _text_forms(text: str) -> Iterator[str]:
    yield text
    if not _URL_PLAIN.fullmatch(text):
        yield from _url_forms(text)
        yield from _escaped_forms(text)


def _url_forms(text: str) -> Iterator[str]:
    strict = urllib.parse.quote(text.encode("utf-8", _ENCODING_ERRORS), safe="")
    lower = _URL_ESCAPE.sub(lambda escape: escape[0].lower(), strict)
    yield strict
    yield lower
    for unescapes in _URL_UNESCAPES:
        # A literal "%" is "%25" by now, so nothing is unescaped that was not escaped.
        in_upper, in_lower = strict, lower
        for escape, character in unescapes.items():
            in_upper = in_upper.replace(escape, character)
            in_lower = in_lower.replace(escape.lower(), character)
        yield in_upper
        yield in_lower


def _escaped_forms(text: str) -> Iterator[str]:
    for ensure_ascii in (True, False):
        inner = json.dumps(text, ensure_ascii=ensure_ascii)[1:-1]
        yield inner
        # Airflow keeps a connection's extra as JSON text inside JSON.
        yield json.dumps(inner, ensure_ascii=ensure_ascii)[1:-1]
    yield repr(text)[1:-1]
    # Inside the repr of a longer text with both kinds of quotes, "'" is escaped as well.
    yield repr("'\"" + text)[4:-1]
    yield repr(text.encode("utf-8", _ENCODING_ERRORS))[2:-1]
    yield html.escape(text)
    yield html.escape(text, quote=False)
    yield text.translate(_HTML_NUMERIC)
    yield text.replace("'", "'\"'\"'")  # shlex.quote
    yield text.replace("'", "'\\''")  # the shell's own `set -x`


def _byte_forms(data: bytes) -> Iterator[str]:
    forms = [data.hex(), data.hex().upper()]
    padded = base64.b64encode(data).decode()
    forms += [padded, padded.rstrip("=")]
    for shift in range(3):
        # The characters that depend on these bytes alone, wherever in a longer text they stand.
        encoded = base64.b64encode(bytes(shift) + data)
        forms.append(encoded[(8 * shift + 5) // 6 : 8 * (shift + len(data)) // 6].decode())
    for form in forms:
        if len(form) >= _MIN_ENCODED:
            yield form
            yield form.replace("+", "-").replace("/", "_")  # RFC 4648 §5, the URL's alphabet


def _blocks(pattern: bytes) -> Iterator[bytes]:
    """Cut a pattern longer than 255 bytes into blocks of 125 to 255 bytes, between characters."""
    start, size = 0, len(pattern)
    while size - start >= 2 * _BLOCK_BYTES:
        end = start + _BLOCK_BYTES
        while pattern[end] & 0xC0 == 0x80:  # noqa: PLR2004 -- RFC 3629 §3: a byte inside a character
            end += 1
        yield pattern[start:end]
        start = end
    yield pattern[start:]


def texts_of_json(text: str) -> Iterator[str]:
    """Give the texts inside *text* when it is a JSON object or array: programs log them one by one."""
    if text.lstrip()[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            yield from _texts(json.loads(text))


def _texts(found: object) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    elif isinstance(found, (dict, list)):
        for item in found.values() if isinstance(found, dict) else found:
            yield from _texts(item)
