"""One connection type: its form, where it is documented, and which of its values may be shown."""

from __future__ import annotations

from typing import Any, Literal

from strongroom.catalog.field import STANDARD, Field, Row

__all__ = ["ConnectionType", "Group", "Way", "airflow", "exclusive", "together", "way"]


class Way(Row):
    """One of the ways to fill a group: what it is called, and the fields that belong to it."""

    title: str
    fields: tuple[str, ...]


class Group(Row):
    """
    Fields that depend on one another.

    Args:
        title: what they are about, such as `Credentials`.
        kind: `exclusive`: one way of several, or none; `together`: all fields of the one way, or none.
        ways: one for `together`, two or more for `exclusive`; a way without fields is that of what the
            machine has by itself, such as an instance's role.
    """

    title: str
    kind: Literal["exclusive", "together"]
    ways: tuple[Way, ...]

    @property
    def fields(self) -> frozenset[str]:
        """Every field of every way."""
        return frozenset(name for way in self.ways for name in way.fields)


def way(title: str, *fields: str) -> Way:
    """Give one of the ways of a group."""
    return Way(title=title, fields=fields)


def exclusive(title: str, *ways: Way) -> Group:
    """Give a group of which one way is filled."""
    return Group(title=title, kind="exclusive", ways=ways)


def together(title: str, *fields: str) -> Group:
    """Give a group whose fields go together."""
    return Group(title=title, kind="together", ways=(way(title, *fields),))


def airflow(provider: str, page: str = "") -> str:
    """
    Give the address of a page of an Airflow provider's documentation.

    Args:
        provider: the end of its distribution's name.
        page: below `connections/`; `connections` where there is one page for all, "" where there is none.
    """
    place = {"": "index", "connections": "connections"}.get(page, f"connections/{page}")
    return f"https://airflow.apache.org/docs/apache-airflow-providers-{provider}/stable/{place}.html"


class ConnectionType(Row):
    """
    What one value of `conn_type` means.

    Args:
        name: as Airflow normalises it, with `_`.
        title: what people call it.
        family: the file of `catalog/` it stands in; `installed` for one read from a provider.
        docs: address of the page that documents it.
        standard: the standard fields it uses, in the order of the form; the others are hidden.
        extras: what it reads from extra, the important ones first.
        groups: which fields go together or exclude one another.
        others: what keys of extra that are not listed become, such as `request headers`; "" where
            nothing reads them, so that one is likely a slip of the pen.
        icon: slug of its picture; *name* if unsaid.
        default_id: connection id Airflow's hooks use by themselves; `<name>_default` if unsaid.
        legacy: the type in the old spelling `extra__<type>__<key>`, which Airflow read before 2.3;
            *name* if unsaid.

    Threads: immutable.
    """

    name: str
    title: str
    family: str
    docs: str
    standard: tuple[Field, ...] = ()
    extras: tuple[Field, ...] = ()
    groups: tuple[Group, ...] = ()
    others: str = ""
    icon: str = ""
    default_id: str = ""
    legacy: str = ""

    def __init__(self, *, name: str, **said: Any) -> None:  # noqa: ANN401 -- each attribute has its own type
        unsaid = {"icon": name.replace("_", "-"), "default_id": f"{name}_default", "legacy": name}
        super().__init__(name=name, **unsaid | said)

    @property
    def hidden(self) -> tuple[str, ...]:
        """The standard fields it does not use."""
        used = {field.name for field in self.standard}
        return tuple(name for name in STANDARD if name not in used)

    def standard_field(self, name: str) -> Field | None:
        """Give the standard field *name*, or None where the type does not use it."""
        return next((field for field in self.standard if field.name == name), None)

    def extra_field(self, key: str) -> Field | None:
        """Give the field of extra that *key* means in any of its spellings, or None."""
        plain = key.removeprefix(f"extra__{self.legacy}__")
        read = (field for field in self.extras if plain == field.name or plain in field.aliases)
        alike = (field for field in self.extras if plain in field.lookalikes)
        return next(read, None) or next(alike, None)

    def is_public(self, path: tuple[str, ...]) -> bool:
        """
        Tell whether the value at *path* may be shown: what is not known may not.

        Args:
            path: `("host",)`, or `("extra", "sslmode")`; what stands deeper in extra is never shown.
        """
        head, *rest = path
        if head == "extra":
            found = self.extra_field(rest[0]) if len(rest) == 1 else None
            return found is not None and found.is_public
        found = self.standard_field(head)
        if found is not None:
            return found.is_public
        # A login where none belongs may be a token put in the wrong place.
        return head not in ("login", "password")
