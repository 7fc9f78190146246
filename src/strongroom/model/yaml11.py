"""
YAML as Airflow reads it: version 1.1, safe, bounded.

ruamel.yaml only scans and parses into events; what an unquoted word means is decided in
`yamlscalar.py`. Texts as plain as an export are read by `yamlblock.py` alone, to the same values.

Rules of this file:

1. Equal to PyYAML's SafeLoader, or refused.
2. Refused: tags outside the core types, a name that stands twice in one object, an anchor inside
   itself, objects nested deeper than 64, more than 64 MiB once every alias is written out.
3. Errors carry line and offset; never a piece of the text.

Source: YAML 1.1 type repository (yaml.org/type); PyYAML 6.0.3 `resolver.py`, `constructor.py`;
vectors in tests/vectors/yaml11.json.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from strongroom.errors import InvalidInputError
from strongroom.model.yamlblock import read_block
from strongroom.model.yamlscalar import READERS, STARTS_TYPED, implicit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ruamel.yaml.error import YAMLError

__all__ = ["MAX_DEPTH", "MAX_FILE_BYTES", "parse_yaml"]

MAX_DEPTH = 64
MAX_FILE_BYTES = 64 * 1_048_576  # 64 MiB

_CORE = "tag:yaml.org,2002:"
_UNCERTAIN = re.compile("[\x85\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_yaml(text: str) -> object:
    """
    Give the one document of *text* as dicts, lists, text, numbers, booleans, None and dates.

    Names inside objects are as JSON would write them (`1: x` is named "1", `no: x` "false"), except
    at the top, where they are left as they were read, for the caller to refuse what is not text.

    Raises:
        InvalidInputError: it is not YAML, holds two documents, or is refused by rule 2.
    """
    if found := _UNCERTAIN.search(text):
        raise InvalidInputError(
            "the YAML holds a line break of which YAML 1.1 and 1.2 think differently",
            offset=found.start(),
            hint="write it as an escape inside double quotes",
        )
    if len(text) <= MAX_FILE_BYTES and (entries := read_block(text)) is not None:
        return entries  # it has no aliases, so its size is bounded by that of the text
    return _read_any(text)


def _read_any(text: str) -> object:
    # Most files are plain enough to do without the scanner, and then without the time to load it.
    from ruamel.yaml import YAML  # noqa: PLC0415
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    reader = YAML(typ="safe", pure=True)
    # A fixed version keeps a `%YAML 1.2` line from changing the rules; Airflow ignores it too.
    reader.version = (1, 1)
    try:
        return _Composer(iter(reader.parse(text))).document()
    except YAMLError as error:
        refusal = _refusal(error)
    except (RecursionError, ValueError):
        refusal = _refused("the YAML is malformed")
    # Outside `except`: the foreign error holds the text, and would stay as this one's context.
    raise refusal


def _refusal(error: YAMLError) -> InvalidInputError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is not None:
        return InvalidInputError(
            f"the YAML is malformed at line {mark.line + 1}, column {mark.column + 1}", offset=mark.index
        )
    # The reader's own errors carry a position, and the character, which may be part of a value.
    position = getattr(error, "position", None)
    return InvalidInputError(
        "the YAML holds a character that YAML forbids",
        offset=position if isinstance(position, int) else None,
    )


@dataclass(slots=True, repr=False)  # it holds plaintext on its way in
class _Node:
    """
    A value with what an alias to it would add.

    Attributes:
        size: characters and nodes once every alias inside is written out.
        height: levels of objects and lists, 0 for a scalar.
        role: "merge" for an unquoted `<<`, "value" for an unquoted `=`, else "".
    """

    value: Any
    size: int = 1
    height: int = 0
    role: str = ""


class _Composer:
    """Events → values, counting as it goes, so that a bomb is refused before it is built."""

    def __init__(self, events: Iterator[Any]) -> None:
        self._events = events
        self._anchors: dict[str, _Node | None] = {}
        self._size = 0

    def document(self) -> object:
        next(self._events)  # stream start
        event = next(self._events)
        if type(event).__name__ == "StreamEndEvent":
            return None
        node = self._node(next(self._events), 0)
        next(self._events)  # document end
        event = next(self._events)
        if type(event).__name__ != "StreamEndEvent":
            raise _refused("the file holds more than one YAML document", event)
        return node.value

    def _node(self, event: Any, depth: int) -> _Node:  # noqa: ANN401 -- ruamel's events are untyped
        kind = type(event).__name__
        if kind == "AliasEvent":
            node = self._alias(event, depth)
        else:
            if event.anchor in self._anchors:
                raise _refused("an anchor stands twice", event)
            if event.anchor is not None:
                self._anchors[event.anchor] = None  # open: an alias to it now would hold itself
            if depth >= MAX_DEPTH and kind != "ScalarEvent":
                raise InvalidInputError(
                    f"the YAML is nested deeper than {MAX_DEPTH} at line {_line(event)}", limit=MAX_DEPTH
                )
            if kind == "ScalarEvent":
                node = _scalar(event)
            elif kind == "SequenceStartEvent":
                node = self._sequence(event, depth)
            else:
                node = self._mapping(event, depth)
            if event.anchor is not None:
                self._anchors[event.anchor] = node
        if kind in ("AliasEvent", "ScalarEvent"):
            self._count(node.size)
        return node

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > MAX_FILE_BYTES:
            raise InvalidInputError(
                f"the YAML is over {MAX_FILE_BYTES} characters once its aliases are written out",
                limit=MAX_FILE_BYTES,
            )

    def _alias(self, event: Any, depth: int) -> _Node:  # noqa: ANN401
        if event.anchor not in self._anchors:
            raise _refused("an alias names an anchor that is not there", event)
        node = self._anchors[event.anchor]
        if node is None:
            raise _refused("an anchor holds an alias to itself", event)
        if depth + node.height > MAX_DEPTH:
            raise InvalidInputError(f"the YAML is nested deeper than {MAX_DEPTH}", limit=MAX_DEPTH)
        return node

    def _sequence(self, event: Any, depth: int) -> _Node:  # noqa: ANN401
        _check_tag(event, "seq")
        items: list[Any] = []
        size, height = 1, 0
        while type(item := next(self._events)).__name__ != "SequenceEndEvent":
            node = self._node(item, depth + 1)
            items.append(_plain(node, item))
            size, height = size + node.size, max(height, node.height)
        return _Node(items, size, height + 1)

    def _mapping(self, event: Any, depth: int) -> _Node:  # noqa: ANN401
        _check_tag(event, "map")
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        size, height = 1, 0
        while type(start := next(self._events)).__name__ != "MappingEndEvent":
            key = self._node(start, depth + 1)
            value_event = next(self._events)
            value = self._node(value_event, depth + 1)
            size, height = size + key.size + value.size, max(height, value.height)
            if key.role == "merge":
                merged.update(_merge(value.value, value_event))
                continue
            name = _name(key, start, depth)
            if name in own:
                raise _refused("a name stands twice in one object", start)
            own[name] = _plain(value, value_event)
        return _Node({**merged, **own}, size, height + 1)


def _merge(value: object, event: Any) -> dict[str, Any]:  # noqa: ANN401
    parts = [value] if isinstance(value, dict) else value
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise _refused("'<<' merges something that is not an object", event)
    found: dict[str, Any] = {}
    for part in reversed(parts):  # of several, the first wins
        found.update(part)
    return found


def _plain(node: _Node, event: Any) -> Any:  # noqa: ANN401
    if node.role:
        raise _refused(
            "an unquoted '<<' or '=' is not a value", event, hint="put it in quotes if it is meant as text"
        )
    return node.value


def _name(node: _Node, event: Any, depth: int) -> Any:  # noqa: ANN401 -- the top's names stay as they were read
    value = node.value
    if node.role == "value":
        return "="
    if node.height or isinstance(value, date):
        raise _refused("a name is not text", event, hint="put the name in quotes")
    if isinstance(value, str) or depth == 0:
        return value
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)


def _check_tag(event: Any, core: str) -> None:  # noqa: ANN401
    if event.tag not in (None, "!", _CORE + core):
        raise _refused("the YAML holds a tag that is not allowed", event, hint="remove the '!' tag")


def _scalar(event: Any) -> _Node:  # noqa: ANN401
    text = event.value
    size = len(text) + 1
    tag = event.tag
    if event.style == '"' and _SURROGATE.search(text):
        raise _refused("an escape stands for half a character", event)
    if tag is None or (tag == "!" and text and event.style is None):
        if event.style is not None or (text and text[0] not in STARTS_TYPED):
            return _Node(text, size)
        if text in ("<<", "="):
            return _Node(text, size, role="merge" if text == "<<" else "value")
        tag = _CORE + implicit(text)
    elif tag == "!":
        return _Node(text, size)
    read = READERS.get(tag.removeprefix(_CORE)) if tag.startswith(_CORE) else None
    if read is None:
        raise _refused("the YAML holds a tag that is not allowed", event, hint="remove the '!' tag")
    try:
        return _Node(read(text), size)
    except (ValueError, OverflowError):
        refusal = _refused("a number or date cannot be read", event, hint="put it in quotes")
    raise refusal


def _line(event: Any) -> int:  # noqa: ANN401
    return int(event.start_mark.line) + 1


def _refused(message: str, event: Any = None, *, hint: str | None = None) -> InvalidInputError:  # noqa: ANN401
    if event is None:
        return InvalidInputError(message, hint=hint)
    return InvalidInputError(f"{message} at line {_line(event)}", offset=event.start_mark.index, hint=hint)
