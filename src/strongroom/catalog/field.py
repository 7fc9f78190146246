"""
One field of a connection's form, and the words families write fields in.

The builders at the end are named for what a field holds (`text`, `flag`, `path`, `secret` …) or for the
standard field they describe (`host`, `login` …), so that a family reads as a list of its forms.

Fields and types are made a thousand at a time when the whole catalog is asked for, which is why they are
rows: checked as dataclasses are, and cheaper to define and to make than those and than named tuples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_: bool) -> Any:  # noqa: ANN401 -- a decorator, which only type checkers need
        return lambda decorated: decorated


__all__ = [
    "FALSE_SERVER",
    "IN_CLEAR",
    "STANDARD",
    "Field",
    "FieldType",
    "Row",
    "choice",
    "document",
    "flag",
    "host",
    "integer",
    "login",
    "number",
    "password",
    "path",
    "port",
    "schema",
    "secret",
    "secret_lines",
    "text",
]

FieldType = Literal["text", "integer", "number", "boolean", "json", "choice", "file", "multiline"]

STANDARD = ("host", "port", "schema", "login", "password")
"""The fields every connection has beside `extra`, in the order a form shows them."""

FALSE_SERVER = "a false server is not found out, and gets the password"
IN_CLEAR = "passwords and data go over the network in clear"

_BOOLEANS = ("true", "false")
_MAX_DIGITS = 40


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Row:
    """
    Something written once, as data: what is not said of it is as its class says.

    Type checkers take it for a frozen dataclass whose attributes are given by name; nothing checks them
    when it is made. Two are equal that say the same.

    Threads: immutable.
    """

    def __init__(self, **said: Any) -> None:  # noqa: ANN401 -- each attribute has its own type
        object.__setattr__(self, "__dict__", said)

    def __setattr__(self, name: str, _value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} is not changed: {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Row) and type(other) is type(self) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash(tuple(self.as_dict().values()))

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"
        )

    def as_dict(self) -> dict[str, Any]:
        """Give every attribute by its name, in the order of the class."""
        return {name: getattr(self, name) for name in type(self).__annotations__}

    def replace(self, **changes: Any) -> Self:  # noqa: ANN401 -- each attribute has its own type
        """Give the same with *changes*."""
        return type(self)(**vars(self) | changes)


class Field(Row):
    """
    What a form asks for under one name.

    Args:
        name: of a standard field, or the key in extra.
        label: what people call it.
        type: `file` is the path of a file where the task runs, `multiline` a text with line breaks,
            `json` an object or a list.
        default: what counts where nothing is said, as far as the provider has one; never a secret.
        choices: the values there are, of a `choice`; matched as written.
        help: one or two sentences, or "".
        placeholder: an example, or "".
        is_secret: typed without echo, and never shown.
        is_required: without it nothing can be reached.
        is_deprecated: still read, but not to be written any more; `help` says what instead.
        aliases: other keys under which Airflow's hook reads the same.
        lookalikes: keys that mean the same in sibling types, and that this one does not read.
        danger: what may happen with one of the values *dangerous*, or "".
        dangerous: values that lint warns of, in lower case.
    """

    name: str
    label: str
    type: FieldType = "text"
    default: str | int | float | bool | None = None
    choices: tuple[str, ...] = ()
    help: str = ""
    placeholder: str = ""
    is_secret: bool = False
    is_required: bool = False
    is_deprecated: bool = False
    aliases: tuple[str, ...] = ()
    lookalikes: tuple[str, ...] = ()
    danger: str = ""
    dangerous: tuple[str, ...] = ()

    @property
    def is_public(self) -> bool:
        """Whether a value may be shown: a document never, since nobody knows what stands in it."""
        return not self.is_secret and self.type not in ("json", "multiline")

    def fits(self, value: object) -> bool:
        """Tell whether *value* is of the field's type: itself, or text that says it, as forms save it."""
        if self.type == "boolean":
            return isinstance(value, bool) or (isinstance(value, str) and value.lower() in _BOOLEANS)
        if self.type in ("integer", "number"):
            return _is_number(value, has_decimals=self.type == "number")
        if self.type == "choice":
            words = {one.lower() for one in self.choices}
            return isinstance(value, (str, int)) and str(value).lower() in words
        return isinstance(value, str) if self.type != "json" else isinstance(value, (str, dict, list))


def _is_number(value: object, *, has_decimals: bool) -> bool:
    if isinstance(value, str):
        # Without `re`: a pattern takes longer to compile than the whole file to load.
        digits = value.lstrip("+-").replace(".", "", 1) if has_decimals else value.lstrip("+-")
        signs = len(value) - len(value.lstrip("+-"))
        return signs <= 1 and len(value) <= _MAX_DIGITS and digits.isascii() and digits.isdecimal()
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole or (has_decimals and isinstance(value, float))


# The builders take a field's other attributes by name; `about` is its help.


def _field(type: FieldType, name: str, label: str, about: str, said: dict[str, Any]) -> Field:  # noqa: A002
    # What `Field(…)` does but for one more copy of what is said, which a thousand fields add up to.
    made = Field.__new__(Field)
    said["name"], said["label"], said["help"], said["type"] = name, label, about, type
    object.__setattr__(made, "__dict__", said)
    return made


def text(name: str, label: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401 -- attributes of Field
    """Describe a short text that may be shown."""
    return _field("text", name, label, about, more)


def secret(name: str, label: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Describe a text that may not be shown."""
    return _field("text", name, label, about, {"is_secret": True, **more})


def secret_lines(name: str, label: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Describe a text with line breaks that may not be shown, such as a private key."""
    return _field("multiline", name, label, about, {"is_secret": True, **more})


def integer(name: str, label: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Describe a whole number."""
    return _field("integer", name, label, about, more)


def number(name: str, label: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Describe a number with decimals, such as seconds."""
    return _field("number", name, label, about, more)


def flag(name: str, label: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Describe a yes or no."""
    return _field("boolean", name, label, about, more)


def choice(name: str, label: str, choices: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Describe one of several words; *choices* holds them, with blanks between."""
    return _field("choice", name, label, about, {"choices": tuple(choices.split()), **more})


def path(name: str, label: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Describe the path of a file or folder where the task runs."""
    return _field("file", name, label, about, more)


def document(name: str, label: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Describe a JSON object or list."""
    return _field("json", name, label, about, more)


def host(label: str = "Host", about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Show the standard field `host`."""
    return _field("text", "host", label, about, more)


def port(default: int | None = None, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Show the standard field `port`."""
    return _field("integer", "port", "Port", about, {"default": default, **more})


def schema(label: str = "Schema", about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Show the standard field `schema`."""
    return _field("text", "schema", label, about, more)


def login(label: str = "Login", about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Show the standard field `login`."""
    return _field("text", "login", label, about, more)


def password(label: str = "Password", about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Show the standard field `password`."""
    return _field("text", "password", label, about, {"is_secret": True, **more})
