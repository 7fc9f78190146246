"""
A table as it was parsed → the dataclass it must be.

Not for what the settings are (`shape.py`) nor for where tables come from (`find.py`).

Rules of this file:

1. An unknown key is refused with the nearest name; a wrong value with what would be right. Errors
   name keys and never values.
2. Numbers carry the unit the key says; paths are relative to the file they stand in.
3. A text from the environment becomes whatever type its setting has; one from a file must have it.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from strongroom.errors import SettingsError
from strongroom.model.secret import Secret
from strongroom.settings.source import Fetcher, SecretSource, resolve

__all__ = ["PERSONAL_FOLDER", "Converter", "Placed", "Table", "Text", "check_most", "parse", "unknown"]

T = TypeVar("T")

PERSONAL_FOLDER = ".strongroom"
_MAX_NUMBER = 1_000_000_000  # of seconds, about 31 years: clocks and locks cannot count much further
_SOURCES = frozenset({"file", "env", "command"})
_IN_ENVIRONMENT = 'lists as a,b or ["a", "b"], tables as { key = "value" }'
_FETCHED_FROM = 'write { file = "/path" }, { env = "NAME" } or { command = ["program", "argument"] }'


class Table:
    """
    A table of the settings, and how it is called.

    Args:
        prefix: what stands before its keys: `cache.`, or "" at the top.
        folder: what relative paths in it are relative to.
    """

    def __init__(self, values: dict[str, Any], prefix: str, folder: Path) -> None:
        self.values = values
        self.prefix = prefix
        self.folder = folder

    def section(self, name: str) -> Table:
        key = self.prefix + name
        found = self.values.get(name, {})
        if isinstance(found, Text):
            found = Converter(key, self.folder, {}).convert(found, dict)
        if not isinstance(found, dict):
            raise SettingsError(f"{key} must be a table", key=key, hint=f"[{key}]")
        return Table(found, f"{key}.", self.folder)

    def check_keys(self, known: Sequence[str]) -> None:
        for key in self.values:
            if key not in known:
                raise unknown("setting", self.prefix, key, known)

    def take(self, key: str, hint: Any, default: T) -> Any | T:  # noqa: ANN401 -- the type is the hint's
        if key not in self.values:
            return default
        return Converter(self.prefix + key, self.folder, {}).convert(self.values[key], hint)

    def build(
        self,
        shape: type[T],
        environ: Mapping[str, str] | None = None,
        *,
        defaults: Mapping[str, object] | None = None,
        given: Mapping[str, object] | None = None,
    ) -> T:
        """
        Make a *shape* of this table.

        Args:
            shape: a dataclass.
            environ: where secrets in it are fetched from.
            defaults: for members that *shape* has no default for.
            given: members that are not settings.
        """
        given = given or {}
        members = [member for member in fields(shape) if member.name not in given and member.init]  # type: ignore[arg-type]  # a dataclass
        self.check_keys([member.name for member in members])
        hints = _hints(shape) if self.values else {}  # type: ignore[arg-type]  # a class can be hashed
        made = {**(defaults or {}), **given}
        for member in members:
            if member.name in self.values:
                converter = Converter(self.prefix + member.name, self.folder, environ or {})
                made[member.name] = converter.convert(self.values[member.name], hints[member.name])
            elif member.name not in made and member.default is MISSING and member.default_factory is MISSING:
                key = self.prefix + member.name
                raise SettingsError(f"{key} is missing", key=key)
        return shape(**made)


@cache
def _hints(shape: type) -> dict[str, Any]:
    # Evaluating them takes nine tenths of the time that settings take.
    return get_type_hints(shape)


class Converter:
    """Turn what stands under one key into the type it must have."""

    def __init__(self, key: str, folder: Path, environ: Mapping[str, str]) -> None:
        self._key = key
        self._folder = folder
        self._environ = environ

    def convert(self, value: Any, hint: Any) -> Any:  # noqa: ANN401 -- any type a dataclass may name
        origin = get_origin(hint) or hint
        if origin in (Union, UnionType):
            return self._either(value, get_args(hint))
        if origin is Literal:
            return self._choice(value, get_args(hint))
        if is_dataclass(origin) and origin is not SecretSource:
            table = Table(self._mapping(value), f"{self._key}.", self._folder)
            return table.build(origin, self._environ)  # type: ignore[arg-type]  # a class: it came from a hint
        if origin in (tuple, list, Sequence):
            (inner_hint, *_) = get_args(hint) or (object,)
            made = (self.convert(item, inner_hint) for item in self._items(value))
            return list(made) if origin is list else tuple(made)
        if origin in (dict, Mapping) and Secret in _choices(hint):
            return self._fetched(self._mapping(value))
        read = self._READERS.get(origin)
        return value if read is None else read(self, value)

    def _either(self, value: Any, choices: tuple[Any, ...]) -> Any:  # noqa: ANN401 -- as `convert`
        """Take the first of *choices* that *value* can be."""
        if value is None and NoneType in choices:
            return None
        refusals = []
        for choice in choices:
            if choice is not NoneType:
                try:
                    return self.convert(value, choice)
                except SettingsError as refusal:
                    refusals.append(refusal)
        # Of several, the last is meant to be the plainest: what people write most.
        raise refusals[-1]

    def _wrong(self, must: str, hint: str | None = None) -> SettingsError:
        return SettingsError(f"{self._key} must be {must}", key=self._key, hint=hint)

    def _choice(self, value: object, choices: tuple[object, ...]) -> object:
        if value not in choices:
            raise self._wrong(f"one of {', '.join(map(str, choices))}")
        return str(value) if isinstance(value, str) else value

    def _items(self, value: object) -> list[Any]:
        if isinstance(value, Text):
            if not value.lstrip().startswith("["):
                return [Text(item.strip()) for item in value.split(",") if item.strip()]
            value = self._toml(value)
        if not isinstance(value, list):
            raise self._wrong("a list")
        return value

    def _mapping(self, value: object) -> dict[str, Any]:
        if isinstance(value, Text):
            value = self._toml(value)
        if not isinstance(value, dict):
            raise self._wrong("a table")
        return value

    def _fetched(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """Give a stranger's table with its secrets fetched, at any depth; the rest as it is written."""
        made: dict[str, Any] = {}
        for key, item in value.items():
            inner = Converter(f"{self._key}.{key}", self._folder, self._environ)
            is_named = isinstance(item, dict) and len(item) == 1 and not _SOURCES.isdisjoint(item)
            if is_named or isinstance(item, SecretSource):
                made[key] = inner._secret(item)
            else:
                made[key] = inner._fetched(item) if isinstance(item, dict) else item
        return made

    def _toml(self, text: str) -> object:
        try:
            return parse(f"value = {text}".encode(), Path(self._key))["value"]
        except (SettingsError, KeyError):
            raise self._wrong("written as in the file", hint=_IN_ENVIRONMENT) from None

    def _text(self, value: object) -> str:
        if not isinstance(value, str):
            raise self._wrong("text")
        return str(value)

    def _flag(self, value: object) -> bool:
        if isinstance(value, Text):
            value = {"true": True, "false": False}.get(value.lower(), value)
        if not isinstance(value, bool):
            raise self._wrong("true or false")
        return value

    def _number(self, value: object) -> float:
        if isinstance(value, Text):
            with suppress(ValueError):
                value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong("a number")
        with suppress(OverflowError):  # a whole number of any length
            if math.isfinite(value):
                return float(value)
        raise self._wrong("a number")

    def _integer(self, value: object) -> int:
        if isinstance(value, Text):
            with suppress(ValueError):
                value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong("a whole number")
        return value

    def _duration(self, value: object) -> timedelta:
        seconds = self._number(value)
        check_most(abs(seconds), self._key)
        return timedelta(seconds=seconds)

    def path(self, value: object) -> Path:
        """Give the path *value* names."""
        text = self._text(value)
        if not text or "\0" in text:
            raise self._wrong("a path")
        try:
            path = Path(text).expanduser()
        except RuntimeError:
            raise self._wrong("a path: nobody here has the home that '~' stands for") from None
        if not isinstance(value, Placed):
            return self._folder / path
        if value.folder.name == PERSONAL_FOLDER and path.parts[:1] == ("..",):
            # The folder is no link, so this is what '..' means; messages read better without it.
            return value.folder.parent.joinpath(*path.parts[1:])
        return value.folder / path

    def _source(self, value: object) -> SecretSource:
        if isinstance(value, SecretSource):
            return replace(value, key=self._key)
        if isinstance(value, Text) and not value.lstrip().startswith("{"):
            return SecretSource(kind="text", argument=(str(value),), key=self._key)
        if isinstance(value, str) and not isinstance(value, Text):
            raise self._wrong("fetched from elsewhere, not written out", hint=_FETCHED_FROM)
        table = self._mapping(value)
        if len(table) == 1:
            ((kind, argument),) = table.items()
            inner = Converter(f"{self._key}.{kind}", self._folder, {})
            if kind == "file":
                return SecretSource(kind="file", argument=(str(inner.path(argument)),), key=self._key)
            if kind == "env":
                return SecretSource(kind="env", argument=(inner._text(argument),), key=self._key)
            if kind == "command":
                return SecretSource(kind="command", argument=inner._words(argument), key=self._key)
        raise self._wrong("one of { file = … }, { env = … } or { command = […] }", hint=_FETCHED_FROM)

    def _words(self, value: object) -> tuple[str, ...]:
        words = tuple(self._text(word) for word in self._items(value))
        if not words:
            raise self._wrong("a program and its arguments")
        return words

    def _secret(self, value: object) -> Secret[str]:
        return resolve(self._source(value), environ=self._environ)

    def _fetcher(self, value: object) -> Callable[[], Secret[str]]:
        """A secret that its user may fetch again: one that is replaced while the process runs."""
        return Fetcher(self._source(value), self._environ)

    _READERS: ClassVar[dict[Any, Callable[[Converter, Any], Any]]] = {
        bool: _flag,
        int: _integer,
        float: _number,
        str: _text,
        Path: path,
        timedelta: _duration,
        Secret: _secret,
        SecretSource: _source,
        Callable: _fetcher,
        dict: _mapping,
        Mapping: _mapping,
    }


def _choices(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401 -- as `Converter.convert`
    """Give what the values of a mapping may be."""
    return get_args(get_args(hint)[-1]) if get_args(hint) else ()


class Text(str):
    """A value from the environment: text, whatever type the setting has."""

    __slots__ = ()


class Placed(str):
    """A text from another file than the settings' own: a path in it is relative to that one's folder."""

    __slots__ = ("folder",)
    folder: Path

    def __new__(cls, text: str, folder: Path) -> Placed:
        made = super().__new__(cls, text)
        made.folder = folder
        return made


def parse(data: bytes, path: Path) -> dict[str, Any]:
    """
    Parse what stands in a settings file.

    Raises:
        SettingsError: it is no TOML in UTF-8. Where is told; what stands there is not.
    """
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 -- no file, no parser
    else:
        import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
    try:
        return dict(tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n")))
    except UnicodeDecodeError:
        raise SettingsError(f"the settings file {path} is not UTF-8") from None
    except (ValueError, RecursionError) as error:  # ValueError: also a number of over 4300 digits
        # The parser's text may quote the line; where it is, is enough.
        where = re.search(r"\(at (line \d+, column \d+|end of document)\)", str(error))
        raise SettingsError(
            f"the settings file {path} is not TOML{f' at {where[1]}' if where else ''}"
        ) from None


def check_most(value: float, key: str) -> None:
    """
    Check that clocks and locks can count *value*.

    Raises:
        SettingsError: they cannot.
    """
    if value > _MAX_NUMBER:
        raise SettingsError(f"{key} must be at most {_MAX_NUMBER}", key=key)


def unknown(what: str, prefix: str, name: str, known: Iterable[str]) -> SettingsError:
    """Give the refusal of a *name* that is none of the *known*, with the nearest of them."""
    import difflib  # noqa: PLC0415 -- only a mistake pays for it

    # What stands where a name belongs may be a secret in the wrong place: show what looks like a name.
    shown = name if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) else "…"
    known = sorted(known)
    near = difflib.get_close_matches(name, known, 1, 0.6)
    return SettingsError(
        f"there is no {what} {prefix}{shown}",
        key=f"{prefix}{shown}" if what == "setting" else what,
        hint=f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(known)}",
    )
