"""
The same change asked for twice is done once: `Idempotency-Key`.

A program that heard no answer sends its change again with the same key. Within a day it is given the
answer of the first time, and nothing is done again.

Rules of this file:

1. A key belongs to one actor in one deployment. The same key with another request is refused (422): it
   is a mistake of the program's, and either answer would be the wrong one.
2. What is kept holds no secret: of the request a digest under a key of this process, of the answer the
   status, the version and a body that the endpoint's shape has no secret in. An answer with a secret, a
   token that is shown once, is not kept: asked again it is refused (409), and says that it was done. So is
   one that has no shape, as those of Airflow's APIs, which repeat the value of a variable.
3. While the first is under way the second is refused (409), to be asked again.
4. Memory is bounded, in answers and in bytes; the oldest go first.

Source: draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, get_type_hints

import msgspec

from strongroom.errors import ConflictError, InvalidInputError
from strongroom.wire.failure import FieldError
from strongroom.wire.shape import SECRET_MEMBERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.server.endpoint import Answer, Call, Endpoint

    Done = tuple[Answer, bytes | None]

__all__ = ["Repeats"]

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_SECONDS = 86_400.0  # a day
_MAX_KEPT = 10_000
_MAX_BYTES = 33_554_432  # 32 MiB


class _Kept:
    """What became of one request."""

    __slots__ = ("answer", "at", "body", "digest", "is_done")

    def __init__(self, digest: bytes, at: float) -> None:
        self.digest = digest
        self.at = at
        self.is_done = False
        self.answer: Answer | None = None
        self.body: bytes | None = None


class Repeats:
    """
    The answers of changes, by actor and key.

    Args:
        timer: seconds that only go up.

    Threads: may be used from several at once.
    """

    def __init__(self, *, timer: Callable[[], float] = time.monotonic) -> None:
        self._timer = timer
        self._secret = os.urandom(32)
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str, str], _Kept] = OrderedDict()
        self._bytes = 0

    def once(self, endpoint: Endpoint, call: Call, work: Callable[[], Done]) -> Done:
        """
        Do *work*, or give the answer it had the first time.

        Raises:
            InvalidInputError: the key is none.
            FieldError: the key came with another request before.
            ConflictError: the first is under way, or its answer was not kept.
            Whatever *work* raises; then nothing was done, and it may be asked again.
        """
        key = call.headers["idempotency-key"]
        if not _KEY.fullmatch(key):
            raise InvalidInputError(
                "the Idempotency-Key must be 1 to 255 printable characters without blanks"
            )
        name = (call.deployment, call.identity.actor.id, key)
        found = self._begun(name, self._digest(endpoint, call))
        if found is not None:
            return found
        try:
            answer, body = work()
        except BaseException:
            self._forget(name)
            raise
        self._end(name, answer, body if not body or _is_plain(endpoint) else None)
        return answer, body

    def _begun(self, name: tuple[str, str, str], digest: bytes) -> Done | None:
        now = self._timer()
        with self._lock:
            self._expire(now)
            kept = self._kept.get(name)
            if kept is None:
                self._kept[name] = _Kept(digest, now)
                return None
        if not hmac.compare_digest(kept.digest, digest):
            raise FieldError(
                "this Idempotency-Key came with another request before",
                field="Idempotency-Key",
                hint="take a new key for each change",
            )
        if not kept.is_done:
            raise ConflictError("the same request is under way", hint="ask again in a moment")
        if kept.answer is None:
            raise ConflictError(
                "this was done already; its answer may hold a secret, which is shown once",
                hint="look at what there is, and take a new key for another change",
            )
        headers = {**kept.answer.headers, "Idempotency-Replayed": "true"}
        return kept.answer._replace(headers=headers), kept.body

    def _end(self, name: tuple[str, str, str], answer: Answer, body: bytes | None) -> None:
        with self._lock:
            kept = self._kept.get(name)
            if kept is None:
                return
            kept.is_done = True
            if body is not None and "set-cookie" not in {header.lower() for header in answer.headers}:
                kept.answer, kept.body = answer._replace(value=None), body
                self._bytes += len(body)

    def _forget(self, name: tuple[str, str, str]) -> None:
        with self._lock:
            self._pop(name)

    def _expire(self, now: float) -> None:
        while self._kept:
            name, kept = next(iter(self._kept.items()))
            is_full = len(self._kept) >= _MAX_KEPT or self._bytes > _MAX_BYTES
            if not is_full and now - kept.at < _SECONDS:
                return
            self._pop(name)

    def _pop(self, name: tuple[str, str, str]) -> None:
        kept = self._kept.pop(name, None)
        if kept is not None and kept.body is not None:
            self._bytes -= len(kept.body)

    def _digest(self, endpoint: Endpoint, call: Call) -> bytes:
        about = "\0".join(
            [
                endpoint.method,
                endpoint.path,
                str(id(endpoint.handler)),
            ]  # two APIs have paths that are the same
            + [*map("=".join, sorted(call.params.items()))]
            + [f"{name}={value}" for name, values in sorted(call.query.items()) for value in values]
            + [call.headers.get("if-match", ""), call.headers.get("if-none-match", "")]
        )
        return hmac.digest(self._secret, about.encode() + b"\0" + call.body, hashlib.sha256)


def _is_plain(endpoint: Endpoint) -> bool:
    """Tell whether no answer of *endpoint* holds a secret, as its shape says; one without a shape may."""
    return endpoint.gives is not None and not has_secret(endpoint.gives)


def has_secret(shape: Any) -> bool:  # noqa: ANN401 -- any shape of an answer
    """Tell whether an answer of *shape* may hold a secret: a member that `wire` says is one, at any depth."""
    seen: set[object] = set()
    waiting = [shape]
    while waiting:
        found = waiting.pop()
        if found in seen or found is None:
            continue
        seen.add(found)
        waiting += getattr(found, "__args__", ())
        if isinstance(found, type) and issubclass(found, msgspec.Struct):
            if SECRET_MEMBERS & {field.encode_name for field in msgspec.structs.fields(found)}:
                return True
            waiting += get_type_hints(found, include_extras=False).values()
    return False
