"""A page as a command and as a call: spelled so that both can be typed as they stand."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["call_of", "command_of"]


def command_of(words: str, options: Mapping[str, str], *arguments: str, team: str | None = None) -> str:
    """
    Give a command of `strongroom` with the options that say something, quoted for a shell.

    Args:
        words: of the command: `audit tail`.
        options: by their names without dashes; an empty one is left out.
        arguments: behind the command.
        team: of the session.
    """
    parts = ["strongroom", *words.split(), *(shlex.quote(one) for one in arguments)]
    for name, value in ({"team": team or ""} | dict(options)).items():
        if value:
            parts += [f"--{name}", shlex.quote(value)]
    return " ".join(parts)


def call_of(path: str, query: Mapping[str, str]) -> str:
    """Give *path* with what *query* says; empty texts are left out."""
    text = urlencode({name: value for name, value in query.items() if value})
    return f"{path}?{text}" if text else path
