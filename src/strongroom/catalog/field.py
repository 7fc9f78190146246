"""
One field of a connection's form, and the words families write fields in.

The builders at the end are named for what a field holds (`text`, `flag`, `path`, `secret` …) or for the
standard field they describe (`host`, `login` …), so that a family reads as a list of its forms.

Fields and types are named tuples, frozen and without a `__dict__` as our dataclasses are, because a
thousand of them are made when the whole catalog is asked for: a frozen dataclass takes four times as long.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

__all__ = [
    "FALSE_SERVER",
    "IN_CLEAR",
    "STANDARD",
    "Field",
    "FieldType",
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


class Field(NamedTuple):
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


def text(name: str, label: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401 -- attributes of Field
    """Describe a short text that may be shown."""
    return Field(name=name, label=label, help=about, **more)


def secret(name: str, label: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Describe a text that may not be shown."""
    return Field(name=name, label=label, help=about, is_secret=True, **more)


def secret_lines(name: str, label: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Describe a text with line breaks that may not be shown, such as a private key."""
    return Field(name=name, label=label, help=about, type="multiline", is_secret=True, **more)


def integer(name: str, label: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Describe a whole number."""
    return Field(name=name, label=label, help=about, type="integer", **more)


def number(name: str, label: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Describe a number with decimals, such as seconds."""
    return Field(name=name, label=label, help=about, type="number", **more)


def flag(name: str, label: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Describe a yes or no."""
    return Field(name=name, label=label, help=about, type="boolean", **more)


def choice(name: str, label: str, choices: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Describe one of several words; *choices* holds them, with blanks between."""
    return Field(name=name, label=label, help=about, type="choice", choices=tuple(choices.split()), **more)


def path(name: str, label: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Describe the path of a file or folder where the task runs."""
    return Field(name=name, label=label, help=about, type="file", **more)


def document(name: str, label: str, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Describe a JSON object or list."""
    return Field(name=name, label=label, help=about, type="json", **more)


def host(label: str = "Host", about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Show the standard field `host`."""
    return Field(name="host", label=label, help=about, **more)


def port(default: int | None = None, about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Show the standard field `port`."""
    return Field(name="port", label="Port", type="integer", default=default, help=about, **more)


def schema(label: str = "Schema", about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Show the standard field `schema`."""
    return Field(name="schema", label=label, help=about, **more)


def login(label: str = "Login", about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Show the standard field `login`."""
    return Field(name="login", label=label, help=about, **more)


def password(label: str = "Password", about: str = "", **more: Any) -> Field:  # noqa: ANN401
    """Show the standard field `password`."""
    return Field(name="password", label=label, help=about, is_secret=True, **more)
