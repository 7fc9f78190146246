"""
Secrets on their way in: from stdin, a file or a prompt, never from the command line.

A command line is seen by every process of the machine and kept in the shell's history, so what
stands there is refused if it is, or may be, a secret, and never repeated in the refusal.
"""

from __future__ import annotations

import os
import re
import sys
from typing import BinaryIO

from strongroom.cli import terminal
from strongroom.errors import InvalidInputError
from strongroom.model import overlay
from strongroom.model.connection import Connection
from strongroom.model.entry import MAX_VALUE_BYTES
from strongroom.model.extra import HIDDEN

__all__ = ["STDIN", "connection_text", "has_secret", "read_file", "read_secret", "refuse_argument"]

STDIN = "-"
_LEAKED = "then change the secret: other processes and the shell's history have seen it"

# Keys of extra whose texts are no secrets in any connection type of Airflow, so that
# `--conn-extra '{"sslmode": "require"}'` goes on working. Every other text counts as one.
_PUBLIC_KEYS = frozenset(
    {
        "account",
        "allow_host_key_change",
        "api_type",
        "charset",
        "client_encoding",
        "cursor",
        "database",
        "driver",
        "engine",
        "http_path",
        "location",
        "no_host_key_check",
        "project",
        "region",
        "region_name",
        "role",
        "schema",
        "service_name",
        "ssl_mode",
        "sslmode",
        "timezone",
        "verify",
        "warehouse",
    }
)
_PUBLIC_VALUE = re.compile(r"[\w.\-/ ]{1,64}")


def read_secret(source: str, *, what: str, keeps_newline: bool = False, limit: int = MAX_VALUE_BYTES) -> str:
    """
    Read a secret from a file, or from stdin where *source* is `-`.

    Args:
        source: path of the file, or `-`.
        what: names it in messages.
        keeps_newline: keep one newline at its end, which otherwise is dropped.
        limit: bytes.

    Raises:
        InvalidInputError: it cannot be read, is too long, or is not UTF-8.
    """
    text = decoded(read_file(source, what=what, limit=limit + 2), what=what)
    if not keeps_newline and text.endswith("\n"):
        text = text.removesuffix("\n").removesuffix("\r")
    return text


def read_file(source: str, *, what: str, limit: int) -> bytes:
    """
    Read a file, or stdin where *source* is `-`.

    Raises:
        InvalidInputError: it cannot be read or has more than *limit* bytes.
    """
    try:
        if source == STDIN:
            if sys.stdin.isatty():
                terminal.note(f"reading {what} from the terminal; end with Ctrl-D")
            return _bounded(sys.stdin.buffer, what, limit)
        with open(source, "rb") as file:  # noqa: PTH123 -- a path as it was typed
            return _bounded(file, what, limit)
    except (OSError, ValueError) as error:
        reason = (
            os.strerror(error.errno).lower() if isinstance(error, OSError) and error.errno else "no such file"
        )
        place = "stdin" if source == STDIN else "the file"
        raise InvalidInputError(f"{place} for {what} cannot be read: {reason}") from None


def _bounded(file: BinaryIO, what: str, limit: int) -> bytes:
    data = file.read(limit + 1)
    if len(data) > limit:
        raise InvalidInputError(f"{what} has more than {limit} bytes", limit=limit)
    return data


def decoded(data: bytes, *, what: str) -> str:
    """
    Give *data* as text.

    Raises:
        InvalidInputError: it is not UTF-8; `offset` in bytes.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start
    raise InvalidInputError(f"{what} is not UTF-8", offset=offset)


# --- what stands on the command line -------------------------------------------------------------


def refuse_argument(what: str, *, instead: str) -> InvalidInputError:
    """Refuse a secret that was given on the command line."""
    return InvalidInputError(f"{what} does not belong on the command line", hint=f"{instead}\n{_LEAKED}")


def connection_text(given: str, *, option: str, what: str) -> str:
    """
    Give the text of an option that may be `-` for stdin, `@FILE`, or the text itself.

    Raises:
        InvalidInputError: the text itself holds a secret, or does not parse, so that nobody can tell.
    """
    if given == STDIN:
        return read_secret(STDIN, what=what)
    if given.startswith("@"):
        return read_secret(given[1:], what=what)
    instead = f"pass it on stdin ({option} -) or in a file ({option} @file)"
    try:
        is_secret = has_secret(_parsed(given, option))
    except InvalidInputError as error:
        # The refusal's own text is ours and quotes nothing.
        raise InvalidInputError(str(error), rule=error.rule, hint=f"{error.hint or instead}") from None
    if is_secret:
        raise refuse_argument(f"{what} with a secret in it", instead=instead)
    return given


def _parsed(text: str, option: str) -> Connection:
    if option == "--conn-extra":
        return Connection.from_dict({"extra": text})
    # What a connection extends is a name, and nothing secret.
    return Connection.parse(overlay.split(text)[0] if option == "--conn-json" else text)


def has_secret(connection: Connection) -> bool:
    """
    Tell whether *connection* may hold a secret.

    That is: a password, user-info inside host or schema, or in extra any text but that of a few keys
    known to be public. Numbers, true, false and null are none.
    """
    if connection.password is not None:
        return True
    shown = connection.to_dict()
    if HIDDEN in (shown["host"], shown["schema"]):
        return True
    leaves = connection.extra.leaves() if connection.extra is not None else ()
    return any(not _is_public(key, leaf.reveal()) for key, leaf in leaves)


def _is_public(key: str, value: object) -> bool:
    if not isinstance(value, str) or not value:
        return True
    return key in _PUBLIC_KEYS and _PUBLIC_VALUE.fullmatch(value) is not None
