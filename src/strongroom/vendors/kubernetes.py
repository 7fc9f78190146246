"""
One way to one API server of Kubernetes: a login, connections and a circuit for all who use it.

No SDK: what is asked is a handful of JSON objects, and the SDKs read neither lists without values nor
watches with bookmarks, delete without comparing, and run programs and read kubeconfigs without bounds.

Rules of this file:

1. Everything goes through one `Transport`; a watch has a connection of its own.
2. A token that is refused is renewed once and the question asked again, where that gives another token.
3. Nothing is asked while nobody asks: tokens are looked at when they are used.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

from strongroom.errors import BackendConfigError
from strongroom.model.secret import Secret
from strongroom.vendors.kubernetes_answer import Asked, TooOldError, read_as, refusal
from strongroom.vendors.kubernetes_config import ClusterPlace, KubernetesAccess, place_of
from strongroom.vendors.transport import Reply, Transport, TransportOptions

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from strongroom.vendors.listening import Listening

__all__ = ["KubernetesAccess", "KubernetesSession", "Question", "TooOldError", "body_of"]

T = TypeVar("T")

_MAX_BODY_BYTES = 32 * 1024 * 1024  # a page of 16 Secrets of 1 MiB in base64, and what stands beside it
_MAX_REFUSAL_BYTES = 65_536
_UNAUTHENTICATED = 401
_REFUSED = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """
    One request.

    Args:
        method: of HTTP.
        path: from `/api` on, escaped.
        verb, resource, namespace, group: of RBAC, for messages.
        query: of the url.
        body: an object.
        kind: the content type of `body`.
        accept: the content type of the answer.
        is_repeatable: as of `Transport.request`.
    """

    method: str
    path: str
    verb: str
    resource: str
    namespace: str = ""
    group: str = ""
    query: Mapping[str, str] | None = None
    body: Secret[bytes] | None = None
    kind: str = "application/json"
    accept: str = "application/json"
    is_repeatable: bool = True

    @property
    def target(self) -> str:
        """Path and query."""
        return self.path + (f"?{urlencode(self.query)}" if self.query else "")


def body_of(held: object) -> Secret[bytes]:
    """Give the bytes of an object."""
    return Secret(json.dumps(held, ensure_ascii=False).encode())


class KubernetesSession:
    """
    Speak to one API server.

    Trust: the server's answers are data; its words are compared and never shown.
    Threads: may be used from several threads at once, and after a fork.

    Args:
        name: the backend's, for messages.
        access: which server, and who asks it.
        environ: as of `place_of`.
        clock: wall clock, UTC, for the end of tokens.
        timer: as the clock of `Transport`.

    Attributes:
        namespace: the Secrets are in.

    Raises:
        BackendConfigError: as `place_of`.
    """

    def __init__(
        self,
        name: str,
        access: KubernetesAccess,
        *,
        environ: Mapping[str, str],
        clock: Callable[[], datetime],
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        place = place_of(name, access, environ=environ, clock=clock)
        self.namespace = place.namespace
        self._bearer = place.bearer
        self._files = place.files
        self._maker = os.getpid()
        self._timeout = access.timeout.total_seconds()
        try:
            self._transport = Transport(_transport_options(name, access, place), clock=timer)
        except BackendConfigError:
            self._files.close()
            raise

    def __repr__(self) -> str:
        return f"KubernetesSession({self.name!r})"

    @property
    def certificate_ends(self) -> datetime | None:
        """When the server's certificate ends (UTC); None while none was seen."""
        return self._transport.certificate_ends

    def ask(self, question: Question, shape: type[T]) -> T:
        """
        Ask, and give the object that is answered, as *shape*.

        Raises:
            AccessDeniedError: who asks may not do that.
            NotAuthenticatedError: the server does not know who asks.
            ConflictError, ReadOnlyError, InvalidInputError: of a write, as their names say.
            BackendConfigError: there is no such resource or namespace.
            BackendUnavailableError: no answer now, with `retry_after` where the server says so.
            TooOldError: a list or watch cannot go on where it was.
        """
        reply = self.reply(question)
        if reply.status >= _REFUSED:
            raise refusal(self.asked(question), reply)
        return read_as(self.name, reply.body, shape)

    def reply(self, question: Question) -> Reply:
        """Ask and give the answer, whatever its status is. Raises what `Transport.request` does."""
        token = None if self._bearer is None else self._bearer.token()
        reply = self._sent(question, token)
        if reply.status == _UNAUTHENTICATED and self._bearer is not None and token is not None:
            another = self._bearer.renewed(token)
            if another is not None:
                reply = self._sent(question, another)
        return reply

    def _sent(self, question: Question, token: Secret[str] | None) -> Reply:
        headers = {**_authorization(token), "Accept": question.accept}
        if question.body is not None:
            headers["Content-Type"] = question.kind
        return self._transport.request(
            question.method,
            question.target,
            headers=headers,
            body=question.body,
            is_repeatable=question.is_repeatable,
        )

    def listen(self, question: Question) -> Listening:
        """
        Ask for something that goes on, on a connection of its own; whoever listens closes it.

        Raises:
            As `ask`.
        """
        token = None if self._bearer is None else self._bearer.token()
        found = self._heard(question, token)
        if found.status == _UNAUTHENTICATED and self._bearer is not None and token is not None:
            another = self._bearer.renewed(token)
            if another is not None:
                found.close()
                found = self._heard(question, another)
        if found.status < _REFUSED:
            return found
        try:
            body = found.rest(self._timeout, _MAX_REFUSAL_BYTES)
        finally:
            found.close()
        raise refusal(self.asked(question), Reply(found.status, found.headers, body))

    def _heard(self, question: Question, token: Secret[str] | None) -> Listening:
        headers = {**_authorization(token), "Accept": question.accept}
        return self._transport.listen(question.target, headers=headers)

    def asked(self, question: Question) -> Asked:
        """Give what *question* asks, for messages."""
        return Asked(self.name, question.verb, question.resource, question.namespace, question.group)

    def close(self) -> None:
        """Let go of connections and files. Safe to call twice."""
        self._transport.close()
        if self._maker == os.getpid():
            self._files.close()


def _authorization(token: Secret[str] | None) -> dict[str, str | Secret[str]]:
    return {} if token is None else {"Authorization": Secret(f"Bearer {token.reveal()}")}


def _transport_options(name: str, access: KubernetesAccess, place: ClusterPlace) -> TransportOptions:
    return TransportOptions(
        place=name,
        url=place.url,
        timeout=access.timeout,
        ca=place.ca,
        client_cert=place.client_cert,
        client_key=place.client_key,
        verify=place.verify,
        max_body_bytes=_MAX_BODY_BYTES,
    )
