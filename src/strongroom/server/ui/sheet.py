"""
One form of an entry: what stands, what was typed over it, and how each field is drawn.

Not for drawing (`templates/form.html`), saving (`service/merging.py`) or asking (`form.py`).

Rules of this file:

1. A field of the form has four names: `f.PATH` is what was typed, `w.PATH` what stood there when the form
   was drawn, `s.PATH` a secret that replaces the sealed one, `c.PATH` that it is taken out. Equal `f` and
   `w` were not touched, and need not be sent.
2. A secret that was typed is drawn as sealed; it waits in a draft (`drafts.py`).
3. Looking at what was typed never compares it with a stored secret: who may edit need not be who may reveal.
"""

from __future__ import annotations

import json
import re
import secrets
from datetime import datetime, timezone
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup, escape

from strongroom import catalog
from strongroom.catalog.field import Field
from strongroom.catalog.layout import SECTIONS, layout
from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.entry import MAX_VALUE_BYTES
from strongroom.model.jsontext import decode
from strongroom.model.secret import Secret
from strongroom.server.ui.texts import say
from strongroom.service.entries import HIDDEN
from strongroom.service.kinds import Kinds
from strongroom.service.lint import Linter
from strongroom.service.merging import EXTRA, FACTS, FIELDS, edited, fields_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from strongroom.catalog.layout import Placed
    from strongroom.insight.remark import Remark
    from strongroom.server.form import Form
    from strongroom.service.entries import Described

__all__ = ["VALUE", "Box", "Part", "Sheet", "Way", "id_of", "remark_text", "text_of"]

VALUE = "value"
_FACT_FIELDS = ("description", "tags", "owner", "remind_at", "not_after", "references")
_MOMENTS = ("remind_at", "not_after", "expires_at")
_MAX_PORT = 65_535
_MAX_TEXT = {"description": 4096, "owner": 250}
_MOST_TAGS, _MOST_TAG = 50, 100
_PLAIN_ID = re.compile(r"[a-z0-9_.\-]{1,80}")
_CODE = re.compile(r"`([^`]+)`")
_LONG = 120  # characters of a value that is drawn as several lines


class Box(NamedTuple):
    """
    One field as it is drawn.

    Args:
        path: `host`, `extra.sslmode`, `value`, `tags`.
        id: of its control.
        shape: text, number, choice, flag, lines, date, or sealed, sealed_lines.
        label: what people call it.
        value: what stands in it now.
        was: what stood in it when the form was first drawn.
        state: of a sealed one: kept, typed, out, or none where there is nothing.
        is_changed: it says something else than what is stored.
        choices: (value, text) pairs.
        error, note: what is said of it.
        help: of the catalog.
        code: where it is stored, if its label does not say so.
        default: what counts where nothing is said.
    """

    path: str
    id: str
    shape: str
    label: str
    value: str = ""
    was: str = ""
    state: str = "none"
    is_changed: bool = False
    choices: tuple[tuple[str, str], ...] = ()
    error: str = ""
    note: str = ""
    help: str = ""
    code: str = ""
    default: str = ""
    placeholder: str = ""
    width: str = ""
    is_required: bool = False
    most: int = 0


class Way(NamedTuple):
    """One way of a group, as it is drawn."""

    title: str
    boxes: tuple[Box, ...]
    is_open: bool


class Part(NamedTuple):
    """One section, as it is drawn."""

    name: str
    boxes: tuple[Box, ...] = ()
    folded: tuple[Box, ...] = ()
    ways: Mapping[str, tuple[Way, ...]] = {}

    @property
    def all(self) -> Iterator[Box]:
        """Every box of it."""
        yield from self.boxes
        for each in self.ways.values():
            for way in each:
                yield from way.boxes
        yield from self.folded

    @property
    def opens(self) -> bool:
        """Whether something that is folded away needs to be seen."""
        return any(one.error or one.note or one.is_changed for one in self.folded)


class Sheet:
    """
    A form.

    Args:
        kind: connection or variable.
        found: what stands; None for a new entry.

    Attributes:
        seen: the version the form was made of.
        typed: what was typed into public fields, by path.
        was: what stood in them.
        secrets: what was typed as a secret, by path.
        out: sealed fields that are taken out.
        errors: what is wrong, by path.
    """

    def __init__(self, kind: str, found: Described | None = None) -> None:
        self.kind = kind
        self.found = found
        self.seen = None if found is None else found.version
        self.stored: dict[str, object] = {} if found is None else fields_of(found)
        self.typed: dict[str, str] = {}
        self.was: dict[str, str] = {}
        self.secrets: dict[str, str] = {}
        self.out: set[str] = set()
        self.errors: dict[str, str] = {}
        self._said: dict[str, list[Remark]] = {}
        self._remarks: tuple[Remark, ...] | None = None

    # --- in ------------------------------------------------------------------------------------------

    def read(self, form: Form, held: Mapping[str, str] | None = None) -> Sheet:
        """
        Take in what was typed.

        Args:
            form: as it was sent.
            held: secrets that were typed before.

        Raises:
            FieldError: a field came twice, or is too long.
        """
        self.secrets |= held or {}
        if "seen" in form:
            self.seen = form.text("seen", most=400) or None
        for name in form.names:
            letter, _, path = name.partition(".")
            if not path:
                continue
            if letter == "f":
                self.typed[path] = form.text(name).strip() if path != "description" else form.text(name)
                self.was.setdefault(path, form.text(f"w.{path}"))
            elif letter == "s" and form.text(name):
                self._take_secret(path, form.text(name))
            elif letter == "c" and form.flag(name):
                self.out.add(path)
                self.secrets.pop(path, None)
            elif letter == "u" and form.flag(name):  # not after all
                self.secrets.pop(path, None)
                self.out.discard(path)
        return self

    def _take_secret(self, path: str, text: str) -> None:
        if path != "extra":
            self.secrets[path] = text
            return
        try:
            found = decode(text, what="extra")
        except InvalidInputError as error:
            self.errors["extra"] = _sentence(error)
            return
        if not isinstance(found, dict):
            self.errors["extra"] = say("form.extra_object")
            return
        for key, value in found.items():
            self.put(f"{EXTRA}{key}", value)

    def put(self, path: str, value: object) -> None:
        """Put a value into the form, sealed where its field is secret."""
        if self._is_sealed(path, value):
            self.secrets[path] = value if isinstance(value, str) else json.dumps(value)
        else:
            self.was.setdefault(path, text_of(self.stored.get(path)))
            self.typed[path] = text_of(value)

    def put_connection(self, connection: Connection) -> tuple[int, int]:
        """Put what a connection says into the form; tells how many fields are public, and how many sealed."""
        if connection.conn_type:
            self.put("conn_type", connection.conn_type)
        before = len(self.typed), len(self.secrets)
        said = connection.to_dict(reveal=True)
        fields = {name: said[name] for name in FIELDS[1:]} | {
            f"{EXTRA}{key}": value for key, value in (said["extra"] or {}).items()
        }
        shows = {name: value for name, value in fields.items() if value is not None}
        for name, value in shows.items():
            self.put(name, value)
        return len(self.typed) - before[0], len(self.secrets) - before[1]

    # --- what is said --------------------------------------------------------------------------------

    @property
    def conn_type(self) -> str:
        """The type the form is laid out for."""
        return self.typed.get("conn_type", text_of(self.stored.get("conn_type")))

    def text(self, path: str) -> str:
        """Give what stands in a public field of the form."""
        return self.typed[path] if path in self.typed else text_of(self.stored.get(path))

    def changes(self) -> dict[str, object]:
        """Give what was changed, by field, as `Edit` takes it; what does not fit is told in `errors`."""
        found: dict[str, object] = {}
        for path, text in self.typed.items():
            if text != self.was.get(path, text_of(self.stored.get(path))):
                value = self._value(path, text)
                if path not in self.errors:
                    found[path] = value
        for path, text in self.secrets.items():
            value = self._secret_value(path, text)
            if path not in self.errors:
                found[path] = value
        return found | dict.fromkeys(self.out)

    def looks(self) -> dict[str, object]:
        """Give how the changed fields looked when the form was made, for `Edit.was`."""
        found: dict[str, object] = {}
        for path in self.changes():
            if path in self.was and self.was[path] != text_of(self.stored.get(path)):
                found[path] = self._value(path, self.was[path])
            else:
                found[path] = self.stored.get(path)
        return found

    def _value(self, path: str, text: str) -> object:
        """Give what *text* means in the field at *path*."""
        if path == "tags":
            return self._tags(text)
        if path == "references":
            return text == "true"
        if path in _MOMENTS:
            return self._moment(path, text)
        if path in _MAX_TEXT and len(text) > _MAX_TEXT[path]:
            self.errors[path] = say("form.too_long", most=_MAX_TEXT[path])
        if text == "":
            return None
        if path == "port":
            return self._port(text)
        field = self._field(path)
        return text if field is None or not path.startswith(EXTRA) else self._typed_value(path, field, text)

    def _port(self, text: str) -> int | None:
        if text.isascii() and text.isdecimal() and 0 <= int(text[:10]) <= _MAX_PORT:
            return int(text)
        key = "form.port"
        if text[:-1].isascii() and text[:-1].isdecimal() and text[-1:] in "oO":
            key = "form.port_letter"
        elif text.isascii() and text.isdecimal():
            key = "form.port_range"
        self.errors["port"] = say(key)
        return None

    def _typed_value(self, path: str, field: Field, text: str) -> object:
        old = self.stored.get(path)
        if field.type == "boolean":
            # What forms of Airflow saved as text stays text.
            return text if isinstance(old, str) and old != HIDDEN else text == "true"
        if field.type in ("integer", "number"):
            if not field.fits(text):
                self.errors[path] = say("form.whole" if field.type == "integer" else "form.number")
                return None
            if isinstance(old, str) and old != HIDDEN:
                return text
            return float(text) if field.type == "number" and "." in text else int(text)
        return text

    def _secret_value(self, path: str, text: str) -> object:
        field = self._field(path)
        if len(text.encode()) > MAX_VALUE_BYTES:
            self.errors[path] = say("form.too_big")
            return None
        if field is not None and field.type == "json" and path.startswith(EXTRA):
            try:
                return decode(text, what="the value")
            except InvalidInputError as error:
                self.errors[path] = _sentence(error)
                return None
        return Secret(text)

    def _tags(self, text: str) -> list[str]:
        found = [one for one in re.split(r"[\s,]+", text) if one]
        if len(found) > _MOST_TAGS or any(len(one) > _MOST_TAG for one in found):
            self.errors["tags"] = say("form.tags_too_many", most=_MOST_TAGS, characters=_MOST_TAG)
        return sorted(set(found))

    def _moment(self, path: str, text: str) -> datetime | None:
        if not text:
            return None
        try:
            found = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError:
            self.errors[path] = say("form.moment")
            return None
        return found if found.tzinfo else found.replace(tzinfo=timezone.utc)

    # --- looking -------------------------------------------------------------------------------------

    def connection(self) -> Connection | None:
        """Give the connection as the form says it, stored secrets in it as others that nobody knows."""
        if self.kind != "connection":
            return None
        base = Connection() if self.found is None or self.found.connection is None else self.found.connection
        changes = {name: value for name, value in self.changes().items() if name not in FACTS}
        unknown = {
            path: _stand_in(self._field(path), value)
            for path, value in self.stored.items()
            if path not in changes and path not in FACTS and self._is_sealed(path, value)
        }
        try:
            return edited(base, unknown | changes)
        except InvalidInputError as error:
            self.errors.setdefault("", _sentence(error))
            return None

    @property
    def is_begun(self) -> bool:
        """Whether enough was typed to tell what is missing."""
        return self.found is not None or any(text for path, text in self.typed.items() if path != "conn_type")

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What lint says of it."""
        if self._remarks is None:
            connection = self.connection()
            found: tuple[Remark, ...] = ()
            if connection is not None:
                has_references = self.text("references") == "true"
                extends = self.found is not None and bool(self.found.overlay)
                linter = Linter(Kinds({}, cache=Path()))
                found = linter.remarks(connection, has_references=has_references, extends=extends)
            self._remarks = tuple(one for one in found if one.rule not in ("L2", "L5") or self.is_begun)
            for one in self._remarks:
                self._said.setdefault(one.field, []).append(one)
        return self._remarks

    # --- out -----------------------------------------------------------------------------------------

    def parts(self) -> tuple[Part, ...]:
        """Give the sections of the form with their fields."""
        if self.kind == "variable":
            return (Part("value", (self._box(VALUE, _fields()[VALUE]),)),)
        kind = catalog.find(self.conn_type)
        used = {path for path, value in self.stored.items() if value not in (None, "")} | {
            path for path, text in self.typed.items() if text
        }
        used |= set(self.secrets)
        _ = self.remarks
        if kind is None:
            return self._plain_parts(used)
        parts = {one.name: self._part(one.name, one.fields, one.ways) for one in layout(kind, used)}
        placed = {box.path for part in parts.values() for box in part.all}
        rest = tuple(
            self._box(path, self._other(path)) for path in sorted(used) if self._is_other(path, placed)
        )
        more = parts.get("more", Part("more"))
        parts["more"] = more._replace(boxes=(*more.boxes, *rest))
        return tuple(parts[name] for name in SECTIONS if name in parts)

    def _plain_parts(self, used: set[str]) -> tuple[Part, ...]:
        """Give the sections of a type nobody knows: the standard fields, and what else there is."""
        where = tuple(self._box(path, _fields()[path]) for path in ("host", "port", "schema"))
        sign_in = tuple(self._box(path, _fields()[path]) for path in ("login", "password"))
        rest = tuple(self._box(path, self._other(path)) for path in sorted(used) if path.startswith(EXTRA))
        return Part("where", where), Part("sign_in", sign_in), Part("more", rest)

    def _is_other(self, path: str, placed: set[str]) -> bool:
        return path not in placed and path not in FACTS and path not in ("conn_type", VALUE)

    def _part(self, name: str, fields: tuple[Placed, ...], ways: Mapping[str, Any]) -> Part:
        boxes = [(self._box(one.path, one.field), one.is_folded) for one in fields]
        return Part(
            name,
            tuple(box for box, is_folded in boxes if not is_folded),
            tuple(box for box, is_folded in boxes if is_folded),
            {
                title: tuple(
                    Way(
                        one.title,
                        tuple(self._box(placed.path, placed.field) for placed in one.fields),
                        one.is_open or any(self._touched(placed.path) for placed in one.fields),
                    )
                    for one in branches
                )
                for title, branches in ways.items()
            },
        )

    def _touched(self, path: str) -> bool:
        return bool(path in self.secrets or self.typed.get(path) or path in self.errors)

    def about(self) -> tuple[Box, ...]:
        """Give the fields of what is public about the entry."""
        return tuple(self._box(name, _about()[name]) for name in _FACT_FIELDS)

    def box(self, path: str) -> Box:
        """Give one field as it is drawn."""
        field = self._field(path) or _about().get(path) or _fields().get(path)
        return self._box(path, field or self._other(path))

    def _box(self, path: str, field: Field) -> Box:
        stored = self.stored.get(path)
        error = self.errors.get(path, "")
        said = self._said.get(path, [])
        told = [one for one in said if one.level != "note"]
        shared = Box(
            path=path,
            id=id_of(path),
            shape="text",
            label=field.label if field.label != path else path.removeprefix(EXTRA),
            error=error or next((remark_text(one) for one in told if one.level == "error"), ""),
            note=""
            if error
            else self._note(path, next((one for one in told if one.level == "warning"), None)),
            help=_marked(field.help),
            code=_code(path, field),
            placeholder=field.placeholder,
            is_required=field.is_required,
        )
        if self._is_sealed(path, stored if stored is not None else None):
            return self._sealed_box(shared, path, field, stored)
        return self._open_box(shared, path, field, stored)

    def _note(self, path: str, remark: Remark | None) -> str:
        if remark is None:
            return ""
        was = text_of(self.stored.get(path))
        if remark.rule == "L13" and was and was != self.text(path) and self.seen:
            return say("form.had", said=remark_text(remark), version=self.seen, value=was)
        return remark_text(remark)

    def _sealed_box(self, shared: Box, path: str, field: Field, stored: object) -> Box:
        has = stored not in (None, "")
        state = "typed" if path in self.secrets else "out" if path in self.out else "kept" if has else "none"
        lines = field.type in ("json", "multiline") or path == VALUE
        return shared._replace(
            shape="sealed_lines" if lines else "sealed", state=state, is_changed=state in ("typed", "out")
        )

    def _open_box(self, shared: Box, path: str, field: Field, stored: object) -> Box:
        value, old = self.text(path), text_of(stored)
        was = self.was.get(path, old)
        default = "" if field.default is None else text_of(field.default)
        choices: tuple[tuple[str, str], ...] = ()
        shape = {"integer": "number", "number": "number", "boolean": "flag", "choice": "choice"}.get(
            field.type, "text"
        )
        if path in _MOMENTS:
            shape = "date"
        if shape in ("flag", "choice"):
            words = ("true", "false") if shape == "flag" else field.choices
            choices = self._choices(words, value, default, shape)
        elif shape == "text" and ("\n" in value or len(value) > _LONG or path == "description"):
            shape = "lines"
        if default and shape in ("number", "text") and not shared.placeholder:
            shared = shared._replace(placeholder=default)
        return shared._replace(
            shape=shape,
            value=value,
            was=was,
            is_changed=value != was,
            choices=choices,
            default=default,
            width="s" if shape == "number" else "m" if shape in ("flag", "choice", "date") else "",
            most=_MAX_TEXT.get(path, 0),
        )

    def _choices(
        self, words: tuple[str, ...], value: str, default: str, shape: str
    ) -> tuple[tuple[str, str], ...]:
        unsaid = say("form.unsaid_default", value=_word(default, shape)) if default else say("form.unsaid")
        pairs = [("", unsaid), *((word, _word(word, shape)) for word in words)]
        if value and value not in dict(pairs):
            pairs.append((value, value))
        return tuple(pairs)

    # --- what a field is -----------------------------------------------------------------------------

    def _field(self, path: str) -> Field | None:
        if path == VALUE:
            return _fields()[VALUE]
        kind = catalog.find(self.conn_type)
        if kind is None:
            return _fields().get(path)
        if path.startswith(EXTRA):
            return kind.extra_field(path[len(EXTRA) :])
        return kind.standard_field(path) or _fields().get(path)

    def _other(self, path: str) -> Field:
        return self._field(path) or Field(name=path, label=path.removeprefix(EXTRA), is_secret=True)

    def _is_sealed(self, path: str, value: object) -> bool:
        """Tell whether the field at *path* is sealed: by what it is, or as what stands there is hidden."""
        if path in FACTS or path == "conn_type":
            return False
        if value == HIDDEN or isinstance(value, (dict, list)) or path == VALUE:
            return True
        if value is not None and path.startswith(EXTRA):
            return not catalog.shows(self.conn_type, ("extra", path[len(EXTRA) :]), value)
        field = self._field(path)
        if field is None:
            return path.startswith(EXTRA) or path == "password"
        return not field.is_public or (path == "login" and field.is_secret)


def text_of(value: object) -> str:
    """Give *value* as a form shows it; what is hidden as nothing."""
    if value is None or value == HIDDEN or isinstance(value, (dict, Secret)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (tuple, list)):
        return ", ".join(str(one) for one in value)
    if isinstance(value, datetime):
        is_day = (value.hour, value.minute, value.second) == (0, 0, 0)
        return value.strftime("%Y-%m-%d" if is_day else "%Y-%m-%dT%H:%MZ")
    return str(value)


def id_of(path: str) -> str:
    """Give the id of the control of a field."""
    if _PLAIN_ID.fullmatch(path):
        return "f-" + path.replace(".", "-")
    return "f-x" + blake2b(path.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _stand_in(field: Field | None, value: object) -> object:
    """Give something in place of a secret that is not known here."""
    if isinstance(value, (dict, list)) or (field is not None and field.type == "json"):
        return {}
    return secrets.token_hex(8)


def _code(path: str, field: Field) -> str:
    """Give where a field is stored, where its label is another word."""
    name = path.removeprefix(EXTRA)
    return "" if field.label.lower().replace(" ", "_") == name.lower() or path in FACTS else name


def _word(text: str, shape: str) -> str:
    return {"true": say("form.yes"), "false": say("form.no")}.get(text, text) if shape == "flag" else text


def remark_text(remark: Remark) -> str:
    """Give what lint says as a page says it."""
    if remark.rule == "L5":
        return say("form.needed")
    what = remark.what.removeprefix(f"{remark.field} as it is: ") if remark.field else remark.what
    if remark.field and what.startswith(remark.field):
        what = f"`{remark.field.removeprefix(EXTRA)}`{what[len(remark.field) :]}"
    return _marked(f"{_capital(what)}." + (f" {_capital(remark.fix)}." if remark.fix else ""))


def _marked(text: str) -> str:
    """Give a text of the catalog or of lint for a page: what stands between backticks as code."""
    if isinstance(text, Markup):
        return text  # one of ours
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 -- escaped


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".")


def _sentence(error: InvalidInputError) -> str:
    return f"{_capital(str(error))}."


@cache
def _fields() -> Mapping[str, Field]:
    """Give the fields that no type describes, with their labels."""
    return {
        VALUE: Field(name=VALUE, label=str(say("form.value")), type="multiline", is_secret=True),
        "host": Field(name="host", label=str(say("form.host"))),
        "port": Field(name="port", label=str(say("form.port_label")), type="integer"),
        "schema": Field(name="schema", label=str(say("form.schema"))),
        "login": Field(name="login", label=str(say("form.login"))),
        "password": Field(name="password", label=str(say("form.password")), is_secret=True),
    }


@cache
def _about() -> Mapping[str, Field]:
    """Give the fields of what is public about an entry."""
    said: dict[str, dict[str, Any]] = {name: {"label": str(say(f"form.{name}"))} for name in _FACT_FIELDS}
    for name in ("tags", "owner", "remind_at", "not_after", "references"):
        said[name]["help"] = say(f"form.{name}_help")
    return {
        name: Field(name=name, type="boolean" if name == "references" else "text", **more)
        for name, more in said.items()
    }
