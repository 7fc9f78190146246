"""
Fill in a template: the text of a file with references, `${connection.password/orders_db}`.

Not for references inside stored values (`template.py`, whose syntax this is), nor for reading or writing
files.

Rules of this file:

1. A value is written as the format of the file wants it at that very place: inside double quotes, inside
   single quotes, or bare, where it gets quotes of its own if it needs any.
2. Whatever was written is proven: the file, read by a parser of its format, must be the template's own
   document with the value in the place of the reference, and nothing else. A value that would break out is
   refused.
3. A port that stands bare is a number; everything else is text.
4. No message holds any of a value.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from strongroom.errors import InvalidInputError
from strongroom.model import dotenv, template
from strongroom.model.template import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Escape", "escape_of", "fill", "quoted_for_env", "references_in"]

Escape = Literal["json", "yaml", "toml", "ini", "env", "shell", "xml", "text"]

_ENDINGS: Mapping[str, Escape] = {
    "cfg": "ini",
    "ini": "ini",
    "env": "env",
    "json": "json",
    "sh": "shell",
    "toml": "toml",
    "xml": "xml",
    "yaml": "yaml",
    "yml": "yaml",
}
_PLAIN = re.compile(r"[A-Za-z0-9_./@+-]+", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_LINE_BREAK = re.compile("[\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029]")
_COMMENT_LINE = re.compile(r"^[ \t]*#.*$", re.MULTILINE)
_SUBSTITUTION = re.compile(r"\$[(\[]|\(\(|`")
_BRACKETS = re.compile(r"\$?\(\(|\$\(|[()]")
_TAKEN_IN_DOUBLE = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ODD = frozenset(
    "\x7f\x85\xa0\u2028\u2029\ufeff"
)  # Unicode says printable, YAML or a reader of lines does not
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_XML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;", "\n": "&#10;", "\r": "&#13;"}
_XML |= {"\t": "&#9;"}

_HINTS = {"ini": "it has a line break", "shell": "have it in a variable first, in a line of its own: x=${…}"}

Quote = Literal["", '"', "'"]


class _Spot(NamedTuple):
    """
    Where a reference stands.

    Args:
        quote: inside which quotes.
        is_whole: bare, it is all of its value.
        field: of the connection; None of a variable.
        is_evaluated: what stands there is read by a shell once more, with quotes of its own.
    """

    quote: Quote
    is_whole: bool
    field: str | None
    is_evaluated: bool = False


def escape_of(filename: str) -> Escape:
    """Tell by the end of *filename* how values are written in it; `text` where it says nothing."""
    name = filename.rsplit("/", 1)[-1].lower()
    return _ENDINGS.get(name.rsplit(".", 1)[-1], "text") if "." in name else "text"


def references_in(text: str) -> tuple[Reference, ...]:
    """
    Give what *text* refers to, each once, in order.

    Raises:
        InvalidInputError: what follows a `${` is no reference; `offset` is where it begins.
    """
    return tuple(dict.fromkeys(part for part in template.parse(text) if isinstance(part, Reference)))


def fill(text: str, escape: Escape, value: Callable[[Reference], str]) -> str:
    """
    Give *text* with every reference replaced by what *value* gives for it.

    Raises:
        InvalidInputError: the template is not of its format, or a value cannot stand where it would.
        As `references_in`, and whatever *value* raises.
    """
    parts = template.parse(text)
    if escape not in get_args(Escape):
        raise InvalidInputError("there is no such way to write values", hint=", ".join(get_args(Escape)))
    values = [value(part) for part in parts if isinstance(part, Reference)]
    words = _words(parts)
    spots = list(_spots(parts, words, escape))
    expected = _joined(
        parts, [_spelled(word, spot, escape) or word for word, spot in zip(words, spots, strict=True)]
    )
    spelled = [
        _checked(part, spelled_value, spot, escape)
        for part, spelled_value, spot in zip(_references(parts), values, spots, strict=True)
    ]
    filled = _joined(parts, spelled)
    bare = [word for word, spot in zip(words, spots, strict=True) if not spot.quote]
    _Proof(dict(zip(words, values, strict=True)), bare, escape).check(expected, filled)
    return filled


def _references(parts: Sequence[str | Reference]) -> list[Reference]:
    return [part for part in parts if isinstance(part, Reference)]


def _words(parts: Sequence[str | Reference]) -> list[str]:
    """Give a word for each reference that no text of the template holds, and that is plain everywhere."""
    texts = "".join(part for part in parts if isinstance(part, str))
    mark = sha256(texts.encode("utf-8", "surrogatepass")).hexdigest()
    return [f"x{mark}x{number}x" for number in range(len(_references(parts)))]


def _joined(parts: Sequence[str | Reference], spelled: Sequence[str]) -> str:
    remaining = iter(spelled)
    return "".join(part if isinstance(part, str) else next(remaining) for part in parts)


def _checked(reference: Reference, value: str, spot: _Spot, escape: Escape) -> str:
    spelled = None if "\0" in value else _spelled(value, spot, escape)
    if spelled is None:
        raise _misplaced(f"the value of {_called(reference)}", escape)
    return spelled


def _called(reference: Reference) -> str:
    field = "" if reference.field is None else f".{reference.field}"
    return f"${{{reference.kind}{field}/{reference.name}}}"


def _misplaced(what: str, escape: Escape) -> InvalidInputError:
    hint = _HINTS.get(escape, "put double quotes around the reference")
    return InvalidInputError(f"{what} cannot stand where the template puts it, as {escape}", hint=hint)


# --- where a reference stands ----------------------------------------------------------------------


def _spots(parts: Sequence[str | Reference], words: Sequence[str], escape: Escape) -> Iterator[_Spot]:
    whole = _joined(parts, words)
    at = 0
    remaining = iter(words)
    scan = _Scan(escape)
    for part in parts:
        if isinstance(part, str):
            scan.take(part)
            at += len(part)
            continue
        word = next(remaining)
        end = at + len(word)
        before, after = whole[:at].rpartition("\n")[2], whole[end:].partition("\n")[0]
        is_evaluated = escape == "shell" and _may_be_evaluated(whole[:at])
        yield _Spot(scan.quote, _is_whole(before, after), part.field, is_evaluated)
        scan.take(word)
        at = end


def _is_whole(before: str, after: str) -> bool:
    """Tell whether what stands bare between these is all of a value, so that quotes may be put around it."""
    begins = re.search(r"(?:[:=\[{,][ \t]*|-[ \t]+|^[ \t]*)$", before)
    return begins is not None and re.match(r"[ \t]*(?:$|[,\]}#]|\r$)", after) is not None


def _may_be_evaluated(before: str) -> bool:
    """
    Tell whether a substitution or a calculation of a shell may be open behind *before*.

    Rather yes than no: it looks at no quotes, which begin anew inside of one, and in the same line any counts
    as open.
    """
    text = _COMMENT_LINE.sub("", before)
    if _SUBSTITUTION.search(text.rpartition("\n")[2]) or text.count("`") % 2:
        return True
    depth = 0
    for found in _BRACKETS.finditer(text):
        if depth or len(found[0]) > 1:
            depth += -1 if found[0] == ")" else found[0].count("(")
    return depth > 0


class _Scan:
    """
    Follows the quotes of a text of one format.

    It may be wrong where a format is richer than this; then what is written does not prove right, and the
    template is refused rather than filled in wrongly.

    Attributes:
        quote: the one that is open.
    """

    def __init__(self, escape: Escape) -> None:
        self.quote: Quote = ""
        self._quotes = {"json": '"', "yaml": "\"'", "toml": "\"'", "env": "\"'", "shell": "\"'"}.get(
            escape, ""
        )
        self._comment = escape in ("yaml", "toml", "env", "shell")
        self._must_begin = escape in ("yaml", "env")  # elsewhere in a bare value a quote is a character
        self._is_comment = False
        self._is_escaped = False
        self._before = "\n"

    def take(self, text: str) -> None:
        """Go on over *text*."""
        if self._quotes:
            for character in text:
                self._step(character)
                self._before = character

    def _step(self, character: str) -> None:
        if self._is_escaped:
            self._is_escaped = False
        elif self._is_comment:
            self._is_comment = character != "\n"
        elif self.quote:
            if character == self.quote:
                self.quote = ""
            self._is_escaped = character == "\\" and self.quote == '"'
        elif self._comment and character == "#" and self._before in " \t\n\r;":
            self._is_comment = True
        elif character in self._quotes and (not self._must_begin or self._before in " \t\n\r[{,:=-"):
            self.quote = '"' if character == '"' else "'"


# --- how a value is written there ------------------------------------------------------------------


def _spelled(value: str, spot: _Spot, escape: Escape) -> str | None:
    """Give *value* as it stands in *spot*; None where it cannot."""
    return _SPELLINGS[escape](value, spot)


def _in_json(value: str, spot: _Spot) -> str | None:
    if spot.quote:
        return json.dumps(value, ensure_ascii=False)[1:-1]
    return value if _is_port(value, spot) else json.dumps(value, ensure_ascii=False)


def _in_yaml(value: str, spot: _Spot) -> str | None:
    if spot.quote == "'":
        return None if _LINE_BREAK.search(value) or not _is_printable(value) else value.replace("'", "''")
    return _in_double(value, spot)


def _in_toml(value: str, spot: _Spot) -> str | None:
    if spot.quote == "'":
        return None if "'" in value or not _is_printable(value) else value
    return _in_double(value, spot)


def _in_double(value: str, spot: _Spot) -> str | None:
    if spot.quote:
        return _double(value)
    if _is_port(value, spot):
        return value
    if spot.is_whole:
        return f'"{_double(value)}"'
    return value if _PLAIN.fullmatch(value) else None


def _is_port(value: str, spot: _Spot) -> bool:
    return spot.field == "port" and spot.is_whole and _PORT.fullmatch(value) is not None


def _is_printable(value: str) -> bool:
    return all(character.isprintable() and character not in _ODD for character in value)


def _double(value: str) -> str:
    """Write *value* for double quotes, as YAML and TOML both read them."""
    return "".join(_TAKEN_IN_DOUBLE.get(character) or _shown(character) for character in value)


def _shown(character: str) -> str:
    if character.isprintable() and character not in _ODD:
        return character
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 -- four hex digits


def _in_ini(value: str, spot: _Spot) -> str | None:
    del spot
    return None if _LINE_BREAK.search(value) else value


def _in_env(value: str, spot: _Spot) -> str | None:
    if spot.quote == "'":
        return None if re.search(r"['\\\n\r]", value) else value
    if spot.quote:
        return _within_double_env(value)
    return quoted_for_env(value) if spot.is_whole else (value if _PLAIN.fullmatch(value) else None)


def quoted_for_env(value: str) -> str:
    """Give *value* as it stands after the `=` of a line of a `.env`, in quotes where it needs any."""
    if _PLAIN.fullmatch(value):
        return value
    # Single quotes where they do: in double ones a shell, and some readers, expand what begins with a dollar.
    if re.search(r"['\\]", value) is None and not _LINE_BREAK.search(value):
        return f"'{value}'"
    return f'"{_within_double_env(value)}"'


def _within_double_env(value: str) -> str:
    # What is quoted by `format_value` is read back by every reader of such files that we know.
    return dotenv.format_value(f'"{value}')[3:-1]


def _in_shell(value: str, spot: _Spot) -> str | None:
    if spot.is_evaluated:
        return None
    if spot.quote == "'":
        return value.replace("'", "'\\''")
    if spot.quote:
        # A dollar in double quotes stands in single ones beside them, which no reader takes otherwise.
        escaped = re.sub(r'([\\"])', r"\\\1", value)
        return re.sub(r"[$`]+", lambda run: f"\"'{run[0]}'\"", escaped)
    return value if _PLAIN.fullmatch(value) else "'" + value.replace("'", "'\\''") + "'"


def _in_xml(value: str, spot: _Spot) -> str | None:
    del spot
    if _NOT_IN_XML.search(value):
        return None
    return "".join(_XML.get(character, character) for character in value)


def _as_it_is(value: str, spot: _Spot) -> str | None:
    del spot
    return value


_SPELLINGS: Mapping[Escape, Callable[[str, _Spot], str | None]] = {
    "json": _in_json,
    "yaml": _in_yaml,
    "toml": _in_toml,
    "ini": _in_ini,
    "env": _in_env,
    "shell": _in_shell,
    "xml": _in_xml,
    "text": _as_it_is,
}


# --- the proof -------------------------------------------------------------------------------------


class _Proof:
    """
    Shows that a filled-in text is the template's document with values in it.

    Args:
        values: by the word that stands for each.
        bare: words that stand in no quotes of the template's.
    """

    def __init__(self, values: Mapping[str, str], bare: Sequence[str], escape: Escape) -> None:
        self._values = values
        self._escape = escape
        self._words = re.compile("|".join(values))
        # Quotes that were put around a value are gone once it is read; in a block of text they would stay.
        self._quoted = [f'"{word}' for word in bare]

    def check(self, expected: str, filled: str) -> None:
        """
        Check that *filled* is the document of *expected* with each word replaced by its value.

        Raises:
            InvalidInputError: it is not, or the template is not of its format.
        """
        read = _READERS.get(self._escape)
        if read is None or not self._values:
            return
        document = _read(read, expected)
        if document is None:
            raise InvalidInputError(
                f"the template is not {self._escape}",
                hint="say another escape, or put quotes around its references",
            )
        found = _read(read, filled)
        if found is None or not self._agrees(document[0], found[0]):
            raise _misplaced("one of the values", self._escape)

    def _agrees(self, expected: object, found: object) -> bool:
        if isinstance(expected, str):
            return self._is_filled(expected, found)
        if isinstance(expected, (list, tuple)):
            return (
                isinstance(found, (list, tuple))
                and len(found) == len(expected)
                and all(self._agrees(one, other) for one, other in zip(expected, found, strict=True))
            )
        return type(expected) is type(found) and expected == found

    def _is_filled(self, expected: str, found: object) -> bool:
        if any(word in expected for word in self._quoted):
            return False
        text = self._words.sub(lambda word: self._values[word[0]], expected)
        is_number = self._words.fullmatch(expected) is not None and type(found) is int
        return (str(found) if is_number else found) == text


def _read(read: Callable[[str], object], text: str) -> tuple[object] | None:
    # The errors of parsers quote what they read; nothing of them goes on from here.
    with suppress(Exception):
        return (read(text),)
    return None


def _plain(value: object) -> object:
    """Give *value* with mappings as lists of pairs, so that keys are compared, too, and their order."""
    if isinstance(value, Mapping):
        return [(key, _plain(inner)) for key, inner in value.items()]
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


def _read_json(text: str) -> object:
    return json.loads(text, object_pairs_hook=lambda pairs: ["an object", *pairs])


def _read_yaml(text: str) -> object:
    from ruamel.yaml import YAML  # noqa: PLC0415 -- only where a template is YAML

    reader = YAML(typ="safe", pure=True)
    return [_event(event) for event in reader.parse(text)]


def _event(event: Any) -> object:  # noqa: ANN401 -- the library's own, untyped
    value = getattr(event, "value", None)
    kind = type(event).__name__
    # A port that is a bare number is the one thing whose style may differ from its word's.
    return (f"event {kind}", event.anchor if hasattr(event, "anchor") else None, _tag(event), value)


def _tag(event: Any) -> str:  # noqa: ANN401 -- as above
    return str(getattr(event, "tag", None) or "")


def _read_toml(text: str) -> object:
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 -- only where a template is TOML
    else:
        import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
    return _plain(tomllib.loads(text))


def _read_ini(text: str) -> object:
    from configparser import RawConfigParser  # noqa: PLC0415 -- only where a template is one

    reader = RawConfigParser(allow_no_value=True, default_section="")
    reader.optionxform = str  # type: ignore[assignment, method-assign]  # names as they are
    reader.read_string(text)
    return [[name, _plain(dict(section))] for name, section in reader.items()]


def _read_env(text: str) -> object:
    return _plain(dotenv.parse_dotenv(text))


def _read_shell(text: str) -> object:
    import shlex  # noqa: PLC0415 -- only where a template is a script

    if "<<" in text:
        raise InvalidInputError("in a here-document nothing can be quoted")
    return shlex.split(text, comments=True)


def _read_xml(text: str) -> object:
    from xml.etree import ElementTree as ET  # noqa: PLC0415 -- only where a template is XML

    if "<!ENTITY" in text:
        raise InvalidInputError("a template declares no entities")
    return _element(ET.fromstring(text))  # noqa: S314 -- our own template, without entities


def _element(element: Any) -> object:  # noqa: ANN401 -- the library's own
    inner = [_element(each) for each in element]
    return [element.tag, list(element.attrib.items()), element.text or "", element.tail or "", inner]


_READERS: Mapping[Escape, Callable[[str], object]] = {
    "json": _read_json,
    "yaml": _read_yaml,
    "toml": _read_toml,
    "ini": _read_ini,
    "env": _read_env,
    "shell": _read_shell,
    "xml": _read_xml,
}
