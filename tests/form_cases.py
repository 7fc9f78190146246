"""What every form's test asks: a text, its form, and the fields it says."""

from __future__ import annotations

import pytest

from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection
from strongroom.transfer.forms import read_any, write_any


def fields_of(connection: Connection) -> dict[str, object]:
    """Give what is there, with extra's keys among the fields, as in `extra.sslmode`."""
    found = {key: value for key, value in connection.to_dict(reveal=True).items() if value is not None}
    extra = found.pop("extra", {})
    return found | {f"extra.{key}": value for key, value in extra.items()}


def check(text: str, form: str, expected: dict[str, object], *, told: bool = True) -> None:
    """Check that *text* is of *form* and says *expected*; *told* False gives the form beforehand."""
    read = read_any(text, form=None if told else form)
    assert read.form == form
    assert len(read.connections) == 1
    assert fields_of(next(iter(read.connections.values()))) == expected


def check_many(text: str, form: str, expected: dict[str, dict[str, object]]) -> None:
    """Check a text of several connections."""
    read = read_any(text)
    assert read.form == form
    assert {name: fields_of(one) for name, one in read.connections.items()} == expected


def check_refused(text: str, form: str | None, match: str) -> None:
    """Check that *text* is refused in words that *match*."""
    with pytest.raises(InvalidInputError, match=match):
        read_any(text, form=form)


def check_back(connection: Connection, form: str, name: str = "name") -> None:
    """Check that what is written reads back the same."""
    text = write_any(connection, form, name=name).reveal()
    assert list(read_any(text, form=form).connections.values()) == [connection]
