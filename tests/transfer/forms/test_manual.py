"""docs/forms.md shows every form, and what it shows is read as that form."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from strongroom.transfer.forms import forms, read_any

PAGE = (Path(__file__).parents[3] / "docs" / "forms.md").read_text(encoding="utf-8")
SECTION = re.compile(
    r"^### `([a-z-]+)`: (.+?)\n\n```text\n(.*?)\n```\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL
)
SHOWN = {match[1]: match.groups()[1:] for match in SECTION.finditer(PAGE)}


def test_the_page_shows_every_form_and_no_other():
    assert sorted(SHOWN) == sorted(one.name for one in forms())


@pytest.mark.parametrize("one", forms(), ids=lambda one: one.name)
def test_what_the_page_shows_is_read_as_that_form(one):
    title, example, told = SHOWN[one.name]
    assert title == one.title
    assert example == one.example.rstrip("\n")
    assert read_any(example).form == one.name
    assert (f"cannot carry: {one.lacks}" if one.is_written else "Read only") in told
