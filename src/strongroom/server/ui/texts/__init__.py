"""
The words people read: one catalogue a language, `en.toml` here, with a section a page.

    [inventory]
    title = "Inventory"
    found = { one = "{count} entry", other = "{count} entries" }
    held = "**{name}** is held by `{source}`"

`t("inventory.found", count=3)` gives text that is safe in a page: whatever is put into it is escaped, `**…**`
becomes `<b>`, and text between backticks `<code>`.

Rules of this package:

1. A key is `page.key`, each of `a-z 0-9 _`.
2. A text with plural forms is a table of `one` and `other`; `count` chooses.
"""

from __future__ import annotations

import re
import sys
from functools import cache, lru_cache
from importlib.resources import files
from string import Formatter
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["LANGUAGE", "catalogue", "say"]

LANGUAGE = "en"
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_CODE = re.compile(r"`([^`]+)`")


@cache
def catalogue(language: str = LANGUAGE) -> Mapping[str, Mapping[str, Markup]]:
    """Give every text of *language*: by key, its forms; "other" is always one."""
    return dict(_flat(tomllib.loads(files(__name__).joinpath(f"{language}.toml").read_text("utf-8"))))


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Mapping[str, Markup]]]:
    for name, value in table.items():
        key = f"{before}{name}"
        if isinstance(value, str):
            yield key, {"other": _marked(value)}
        elif "other" in value and all(isinstance(form, str) for form in value.values()):
            yield key, {name: _marked(form) for name, form in value.items()}
        else:
            yield from _flat(value, f"{key}.")


def _marked(text: str) -> Markup:
    marked = _CODE.sub(r"<code>\1</code>", _BOLD.sub(r"<b>\1</b>", str(escape(text.strip()))))
    return Markup(marked)  # noqa: S704 -- our own text, escaped above


def say(key: str, /, **given: object) -> Markup:
    """
    Give the text of *key* with what is *given* put in, escaped.

    Args:
        key: `page.key`.
        given: by name; a number `count` chooses between plural forms.

    Raises:
        LookupError: there is no such text, or a value is missing.
    """
    forms = catalogue().get(key)
    if forms is None:
        raise LookupError(f"there is no text {key}")
    form = forms["one"] if given.get("count") == 1 and "one" in forms else forms["other"]
    if "{" not in form:
        return form
    # `Markup.format` takes several times as long, and a page has hundreds of these.
    said = [f"{text}{'' if name is None else _safe(given[name])}" for text, name in _pieces(form)]
    return Markup("".join(said))  # noqa: S704 -- our own text, and what is put in was escaped


@lru_cache(maxsize=4096)
def _pieces(form: Markup) -> tuple[tuple[str, str | None], ...]:
    """Give the text before each value that is put in, and that value's name; None after the last."""
    return tuple((text, name) for text, name, _, _ in Formatter().parse(form))


def _safe(value: object) -> Markup:
    return escape(value if hasattr(value, "__html__") else format(value))
