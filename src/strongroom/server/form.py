"""
What a form of our own pages sends, read strictly, and the token that proves it is of our own pages.

Not for what a form means (`ui/`), nor for JSON (`wire/strict.py`).

Rules of this file:

1. A form is `application/x-www-form-urlencoded` or `multipart/form-data` (RFC 7578), of bounded size and with
   a bounded number of parts; everything else is refused.
2. The token of a form belongs to one browser and one actor: an HMAC of the actor under what a cookie of its
   own holds, which no page and no script sees. It outlives a session, so that what was typed while one
   ended can be sent in the next. It is masked anew in every page: compressing one tells nothing of it.
3. Nothing that was typed is repeated in a message.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

from strongroom.errors import InvalidInputError
from strongroom.wire.failure import CrossSiteError, FieldError, MediaTypeError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["CSRF", "CSRF_HEADER", "Form", "Upload", "check_token", "read_form", "token_of"]

CSRF = "csrf"
CSRF_HEADER = "x-csrf-token"
_MEDIA = ("application/x-www-form-urlencoded", "multipart/form-data")
_MAX_FIELDS = 4096  # a bulk act names up to 1000 entries by two words each
_MAX_TEXT = 1_048_576  # characters of one field: an entry holds 1 MiB
_DIGEST = 32  # bytes
_MAX_PART_HEAD = 2048
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{1,70}")
_DISPOSITION = re.compile(r'form-data; name="([^"\r\n]*)"(?:; filename="([^"\r\n]*)")?\Z')


class Upload(NamedTuple):
    """
    A file that came with a form.

    Args:
        name: its own, as the browser says.
        content: bytes.
    """

    name: str
    content: bytes

    def __repr__(self) -> str:
        return f"Upload(bytes={len(self.content)})"


class Form:
    """
    What was typed, in order. Nothing of it is printed: it may hold a secret.

    Args:
        fields: every value of every name.
        files: by the name of their field.
    """

    __slots__ = ("_fields", "_files")

    def __init__(
        self, fields: Mapping[str, list[str]] | None = None, files: Mapping[str, list[Upload]] | None = None
    ) -> None:
        self._fields = dict(fields or {})
        self._files = dict(files or {})

    def __repr__(self) -> str:
        return f"Form(fields={len(self._fields)}, files={len(self._files)})"

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its fields, but for the token."""
        return tuple(name for name in self._fields if name != CSRF)

    @property
    def file_count(self) -> int:
        """How many files came with it."""
        return sum(len(self.files(name)) for name in self._files)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Every name with every value, but for the token: what a page keeps that asks again."""
        return tuple((name, value) for name in self.names for value in self._fields[name])

    def only(self, names: Iterable[str]) -> Form:
        """
        Refuse any field but these; one that ends in `.` stands for all that begin so.

        Raises:
            FieldError: there is another.
        """
        known = tuple(names)
        for name in (*self.names, *self._files):
            if name not in known and not any(one.endswith(".") and name.startswith(one) for one in known):
                raise FieldError("there is a field that is not known here", field="$")
        return self

    def text(self, name: str, *, most: int = _MAX_TEXT, default: str = "") -> str:
        """
        Give what was typed into *name*, with line feeds as line ends; *default* where there is no such field.

        Raises:
            FieldError: it came twice, is longer than *most* characters, or holds a NUL.
        """
        found = self._fields.get(name)
        if found is None:
            return default
        if len(found) > 1:
            raise FieldError("the field came twice", field=name)
        text = found[0].replace("\r\n", "\n")
        if len(text) > most:
            raise FieldError(f"the text is longer than {most} characters", field=name)
        if "\0" in text:
            raise FieldError("the text holds a NUL", field=name)
        return text

    def all(self, name: str) -> tuple[str, ...]:
        """Give every value of *name*, in order: of checkboxes."""
        return tuple(self._fields.get(name, ()))

    def flag(self, name: str) -> bool:
        """Tell whether the checkbox *name* is ticked."""
        return any(value not in ("", "0", "false", "off") for value in self._fields.get(name, ()))

    def file(self, name: str) -> Upload | None:
        """Give the file of *name*; None where none was chosen."""
        found = [one for one in self._files.get(name, ()) if one.name or one.content]
        return found[0] if found else None

    def files(self, name: str) -> tuple[Upload, ...]:
        """Give every file of *name*."""
        return tuple(one for one in self._files.get(name, ()) if one.name or one.content)

    def without(self, *names: str) -> Form:
        """Give it without the fields *names*."""
        return Form(
            {name: list(value) for name, value in self._fields.items() if name not in names}, self._files
        )


def read_form(body: bytes, media: str) -> Form:
    """
    Read the *body* of a form.

    Args:
        body: as it came; at most what the server takes of a body.
        media: its `Content-Type`.

    Raises:
        MediaTypeError: it is no form.
        InvalidInputError: it is not UTF-8, or is no form after all.
        TooLargeError: it has too many fields.
    """
    kind, _, rest = media.partition(";")
    kind = kind.strip().lower()
    if not body and not media:
        return Form()
    if kind not in _MEDIA:
        raise MediaTypeError("this takes a form", hint="Content-Type: application/x-www-form-urlencoded")
    if kind == _MEDIA[0]:
        return _urlencoded(body)
    return _multipart(body, rest)


def _urlencoded(body: bytes) -> Form:
    if body.count(b"&") >= _MAX_FIELDS:
        raise TooLargeError(f"the form has more than {_MAX_FIELDS} fields", limit=_MAX_FIELDS)
    pairs = None
    with suppress(ValueError):
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS
        )
    if pairs is None:
        raise InvalidInputError("the form is not UTF-8")
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return Form(fields)


def _multipart(body: bytes, parameters: str) -> Form:
    mark, _, boundary = parameters.strip().partition("=")
    boundary = boundary.strip('"')
    if mark.lower() != "boundary" or _BOUNDARY.fullmatch(boundary) is None:
        raise InvalidInputError("the form does not say where its parts end")
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if len(parts) < 2 or parts[0] or not parts[-1].startswith(b"--"):  # noqa: PLR2004 -- begin and end
        raise InvalidInputError("the form ended before its last part")
    if len(parts) > _MAX_FIELDS:
        raise TooLargeError(f"the form has more than {_MAX_FIELDS} fields", limit=_MAX_FIELDS)
    fields: dict[str, list[str]] = {}
    files: dict[str, list[Upload]] = {}
    for part in parts[1:-1]:
        name, file, content = _part(part)
        if file is not None:
            files.setdefault(name, []).append(Upload(file, content))
        else:
            fields.setdefault(name, []).append(_decoded(content))
    return Form(fields, files)


def _part(part: bytes) -> tuple[str, str | None, bytes]:
    """Give the name, the name of the file if it is one, and the content of a part."""
    head, mark, content = part.partition(b"\r\n\r\n")
    if not mark or len(head) > _MAX_PART_HEAD:
        raise InvalidInputError("a part of the form has no head")
    for line in _decoded(head).split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            found = _DISPOSITION.match(value.strip())
            if found is not None:
                # A browser writes a quote as %22 (HTML Standard, multipart/form-data).
                return found[1].replace("%22", '"'), found[2], content
    raise InvalidInputError("a part of the form has no name")


def _decoded(content: bytes) -> str:
    text = None
    with suppress(UnicodeDecodeError):
        text = content.decode()
    if text is None:
        raise InvalidInputError("the form is not UTF-8")
    return text


# --- the token -----------------------------------------------------------------------------------


def token_of(browser: str, actor: str) -> str:
    """
    Give the token of a form, masked anew each time.

    Args:
        browser: what its cookie holds.
        actor: whose page it is, "" for nobody's.
    """
    mask = os.urandom(_DIGEST)
    mixed = bytes(left ^ right for left, right in zip(mask, _digest(browser, actor), strict=True))
    return base64.urlsafe_b64encode(mask + mixed).decode()


def check_token(given: Iterable[str], browser: str, actors: Iterable[str]) -> None:
    """
    Refuse a form that does not come from a page that this *browser* was given.

    Args:
        given: what came as tokens; one of them must be right. A page has one for htmx, which may be older
            than that of a form that came into it.
        browser: what its cookie holds.
        actors: whose page it may be, "" for nobody's.

    Raises:
        CrossSiteError: its token is missing, wrong, or somebody else's.
    """
    wanted = [_digest(browser, actor) for actor in actors] if browser else []
    for text in given:
        found = _unmasked(text)
        if any(hmac.compare_digest(found, one) for one in wanted):
            return
    raise CrossSiteError(
        "this form is of another sign-in, or of none",
        reason="csrf",
        hint="look at it once more and send it",
    )


def _unmasked(text: str) -> bytes:
    raw = b""
    with suppress(binascii.Error, ValueError):
        raw = base64.urlsafe_b64decode(text.encode("ascii"))
    if len(raw) != 2 * _DIGEST:
        return b""
    return bytes(left ^ right for left, right in zip(raw[:_DIGEST], raw[_DIGEST:], strict=True))


def _digest(browser: str, actor: str) -> bytes:
    return hmac.new(browser.encode(), f"strongroom form\n{actor}".encode(), hashlib.sha256).digest()
