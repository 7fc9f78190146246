"""
Hide what programs are handed, and what they write, before they have it: for the public face and the hook.

Not for how a text is hidden (`masks.py`), nor for what Airflow itself looks up (`question.py`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from strongroom.airflow.masks import amask, mask
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.model.connection import Connection
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Kind

    Value = str | Secret[str] | Connection
    Change = Callable[[str | None], Value | None]

__all__ = ["ahide", "hide", "hiding", "telling"]


def hide(kind: Kind, name: str, value: object) -> None:
    """
    Hide *value* from the logs of this process. Never raises.

    Args:
        kind: of the entry.
        name: of the entry, for a warning.
        value: text, a Secret, a Connection, or a tuple that holds what JSON says. What is none of these is
            refused where it is written.
    """
    mask(kind, name, *_texts(value))


async def ahide(kind: Kind, name: str, value: object) -> None:
    """As `hide`, from a coroutine."""
    await amask(kind, name, *_texts(value))


def hiding(kind: Kind, name: str, change: Change) -> Change:
    """Give *change*, which `update` calls, with what it is given and what it gives hidden first."""

    def changed(text: str | None) -> Value | None:
        if text is not None:
            hide(kind, name, text)
        new = change(text)
        if new is not None:
            hide(kind, name, new)
        return new

    return changed


def telling(kind: Kind, name: str, on_change: Callable[[Entry], None] | None) -> Callable[[Entry], None]:
    """Give what hides each new entry, and then tells *on_change* of it."""

    def told(entry: Entry) -> None:
        hide(kind, name, entry.secret)
        if on_change is not None:
            on_change(entry)

    return told


def _texts(value: object) -> tuple[str, Connection | None]:
    if isinstance(value, str):
        return value, None
    if isinstance(value, Secret):
        return value.reveal(), None
    if isinstance(value, tuple):
        return json.dumps(value[0]), None
    from strongroom.model.connection import Connection  # noqa: PLC0415 -- loaded by whoever has one

    return (value.format("json").reveal(), value) if isinstance(value, Connection) else ("", None)
