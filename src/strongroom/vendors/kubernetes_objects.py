"""
What an API server says, as objects: as much of it as is looked at, and what we make of it.

Values stay in base64 until they are asked for, and no object prints them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

__all__ = [
    "Event",
    "Held",
    "Outline",
    "OutlineList",
    "Review",
    "SecretList",
    "SecretObject",
    "SelfReview",
    "Status",
    "Thing",
    "ToldEvent",
    "decoded",
    "encoded",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """
    What is known of a Secret without its values.

    Args:
        version: the server's `resourceVersion`.
    """

    name: str
    version: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Outline):
    """
    A Secret.

    Args:
        data: by key, in base64.
    """

    data: Mapping[str, str] = field(repr=False)


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None

    def outline(self) -> Outline:
        """Give it as we use it."""
        return Outline(name=self.name, version=self.resource_version, labels=self.labels or {})


class Thing(msgspec.Struct):
    """An object of which only the metadata is looked at."""

    metadata: _Meta


class SecretObject(msgspec.Struct):
    """A Secret as it is answered."""

    metadata: _Meta
    data: dict[str, str] | None = None

    def __repr__(self) -> str:
        return "SecretObject(…)"  # a debugger and a traceback's locals print it

    def held(self) -> Held:
        """Give it as we use it."""
        meta = self.metadata
        return Held(
            name=meta.name, version=meta.resource_version, labels=meta.labels or {}, data=self.data or {}
        )


class _Told(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    code: int = 0


class ToldEvent(msgspec.Struct):
    """A line of a watch."""

    type: str
    object: _Told


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Outline):
    """
    What a watch tells of one Secret.

    Args:
        kind: `ADDED`, `MODIFIED`, `DELETED`; `BOOKMARK` tells of none, and of how far it has seen.
    """

    kind: str


class _ListMeta(msgspec.Struct, rename={"resource_version": "resourceVersion", "token": "continue"}):
    resource_version: str = ""
    token: str = ""


class SecretList(msgspec.Struct):
    """A page of Secrets."""

    metadata: _ListMeta
    items: list[SecretObject] | None  # null is how Go says that there are none

    def __repr__(self) -> str:
        return "SecretList(…)"


class OutlineList(msgspec.Struct):
    """A page of metadata."""

    metadata: _ListMeta
    items: list[Thing] | None  # as of `SecretList`


class _Details(msgspec.Struct):
    kind: str = ""


class Status(msgspec.Struct):
    """What went wrong, as far as it is looked at."""

    reason: str = ""
    details: _Details | None = None

    @classmethod
    def of(cls, body: bytes) -> Status:
        """Give the Status that *body* is; an empty one where it is none."""
        try:
            return msgspec.json.decode(body, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return cls()  # whoever answered is no API server


class _Allowed(msgspec.Struct):
    allowed: bool = False


class Review(msgspec.Struct):
    """A SelfSubjectAccessReview that is answered."""

    status: _Allowed


class _User(msgspec.Struct):
    username: str = ""


class _WhoIs(msgspec.Struct, rename="camel"):
    user_info: _User


class SelfReview(msgspec.Struct):
    """A SelfSubjectReview that is answered."""

    status: _WhoIs


def encoded(text: str) -> str:
    """Give *text* as a Secret holds it: UTF-8 in base64."""
    return base64.b64encode(text.encode()).decode("ascii")


def decoded(held: str) -> str | None:
    """Give the text of what a Secret holds; None where it is no base64 of UTF-8."""
    try:
        return base64.b64decode(held, validate=True).decode()
    except (binascii.Error, ValueError):
        return None
