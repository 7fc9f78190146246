"""
Secrets of one namespace as an API server keeps them, and what we may do with them.

Not for what a Secret means (`backends/kubernetes.py`) or how the server is reached (`kubernetes.py`).

Rules of this file:

1. Where values are not needed they are not asked for: lists of names, watches and answers to writes are of
   metadata alone.
2. A change is laid over what stands there (JSON merge patch), so that labels, owners and keys of others stay.
3. Comparing is the server's: `resourceVersion` stands in what is written.

Source: kubernetes.io/docs/reference/using-api/api-concepts; RFC 7396.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from strongroom.errors import AccessDeniedError, BackendUnavailableError
from strongroom.vendors.kubernetes import KubernetesSession, Question, TooOldError, body_of
from strongroom.vendors.kubernetes_answer import read_as, refusal
from strongroom.vendors.kubernetes_objects import (
    Event,
    Held,
    Outline,
    OutlineList,
    Review,
    SecretList,
    SecretObject,
    SelfReview,
    Status,
    Thing,
    ToldEvent,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from strongroom.vendors.http1 import Reply

__all__ = ["Secrets"]

T = TypeVar("T")

_LIST_PAGE = 16  # Secrets with their values; what one answer may have at most is made for it
_OUTLINE_PAGE = 500
_ABSENT, _GONE, _REFUSED = 404, 410, 300
_MERGE = "application/merge-patch+json"
_OUTLINE = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
_OUTLINES = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
_RESTARTS = 3  # of a list whose pages became too old meanwhile


class Secrets:
    """
    The Secrets of the session's namespace.

    Threads: as those of the session.

    Args:
        session: the way to the server.
    """

    def __init__(self, session: KubernetesSession) -> None:
        self._session = session
        self.namespace = session.namespace
        self._path = f"/api/v1/namespaces/{quote(session.namespace)}/secrets"

    # --- reading ---

    def get(self, name: str) -> Held | None:
        """Give the Secret called *name*, or None. Raises as `KubernetesSession.ask`."""
        question = self._question("GET", "get", name)
        reply = self._session.reply(question)
        if reply.status < _REFUSED:
            return read_as(self._session.name, reply.body, SecretObject).held()
        if _is_of_secret(reply):
            return None
        raise refusal(self._session.asked(question), reply)

    def chosen(self, selector: str) -> list[Held]:
        """Give every Secret that *selector* of labels chooses, ordered by name, as of one moment."""
        return self._from_start(lambda: [one for page in self._pages(selector) for one in page])

    def _pages(self, selector: str) -> Iterator[list[Held]]:
        token = ""
        while True:
            question = self._list_question(selector, _LIST_PAGE, token)
            page = self._session.ask(question, SecretList)
            yield [item.held() for item in page.items or ()]
            token = self._next(token, page.metadata.token)
            if not token:
                return

    def outlines(self, selector: str = "") -> tuple[list[Outline], str]:
        """Give what stands there without values, as of one moment, and the version a watch goes on from."""
        return self._from_start(lambda: self._outlines(selector))

    def _outlines(self, selector: str) -> tuple[list[Outline], str]:
        found: list[Outline] = []
        token = ""
        while True:
            question = self._list_question(selector, _OUTLINE_PAGE, token, accept=_OUTLINES)
            page = self._session.ask(question, OutlineList)
            found += [item.metadata.outline() for item in page.items or ()]
            token = self._next(token, page.metadata.token)
            if not token:
                return found, page.metadata.resource_version

    def _next(self, begun: str, told: str) -> str:
        """Give where the next page begins, *told* by the one that began at *begun*."""
        if told and told == begun:
            name = self._session.name
            raise BackendUnavailableError(f"the backend {name} lists one page without end", backend=name)
        return told

    def _from_start(self, work: Callable[[], T]) -> T:
        """Do *work*, and again from its start where its pages became too old meanwhile."""
        for _ in range(_RESTARTS):
            try:
                return work()
            except TooOldError:
                continue
        name = self._session.name
        raise BackendUnavailableError(f"the backend {name} forgets what it lists meanwhile", backend=name)

    def _list_question(self, selector: str, limit: int, token: str, *, accept: str = "") -> Question:
        query = {"limit": str(limit)}
        query |= {"labelSelector": selector} if selector else {}
        query |= {"continue": token} if token else {}
        return self._question("GET", "list", query=query, accept=accept or "application/json")

    # --- writing ---

    def create(
        self, name: str, data: Mapping[str, str], *, labels: Mapping[str, str], notes: Mapping[str, str]
    ) -> str | None:
        """
        Make a Secret and give its version; None where there is one of that name.

        Args:
            name: of the Secret.
            data: by key, in base64.
            labels: as they are to be.
            notes: its annotations.
        """
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": labels, "annotations": notes},
            "type": "Opaque",
            "data": data,
        }
        question = self._question("POST", "create", body=body, accept=_OUTLINE)
        return self._written(question, lambda reply: Status.of(reply.body).reason == "AlreadyExists")

    def patch(
        self,
        name: str,
        data: Mapping[str, str | None],
        *,
        version: str | None = None,
        labels: Mapping[str, str | None] | None = None,
        notes: Mapping[str, str] | None = None,
    ) -> str | None:
        """
        Lay *data* over that of a Secret and give its new version; None where there is no such Secret.

        Args:
            name: of the Secret.
            data: by key, in base64; None takes a key away.
            version: only if this one stands.
            labels: laid over its labels likewise.
            notes: laid over its annotations.

        Raises:
            ConflictError: another version stands.
        """
        meta: dict[str, object] = {} if version is None else {"resourceVersion": version}
        meta |= {"labels": labels} if labels else {}
        meta |= {"annotations": notes} if notes else {}
        body = {"metadata": meta, "data": data}
        question = self._question("PATCH", "patch", name, body=body, kind=_MERGE, accept=_OUTLINE)
        return self._written(question, _is_of_secret)

    def delete(self, name: str, *, version: str | None = None) -> bool:
        """
        Delete a Secret and tell whether there was one.

        Raises:
            ConflictError: *version* was given and another stands.
        """
        body = {"apiVersion": "v1", "kind": "DeleteOptions"}
        more = {} if version is None else {"preconditions": {"resourceVersion": version}}
        question = self._question("DELETE", "delete", name, body=body | more)
        reply = self._session.reply(question)
        if _is_of_secret(reply):
            return False
        if reply.status >= _REFUSED:
            raise refusal(self._session.asked(question), reply)
        return True

    def _written(self, question: Question, is_nothing: Callable[[Reply], bool]) -> str | None:
        reply = self._session.reply(question)
        if reply.status < _REFUSED:
            return read_as(self._session.name, reply.body, Thing).metadata.resource_version
        if is_nothing(reply):
            return None
        raise refusal(self._session.asked(question), reply)

    # --- watching ---

    def watch_question(self, selector: str, version: str, seconds: int) -> Question:
        """Give the question for what changes after *version*, for so many seconds, with bookmarks."""
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        query |= {"labelSelector": selector} if selector else {}
        return self._question("GET", "watch", query=query, accept=_OUTLINE)

    def event(self, line: bytes) -> Event:
        """
        Give what one line of a watch tells.

        Raises:
            TooOldError: the version it was to go on from is forgotten.
            BackendUnavailableError: the server ends it, or says nothing that is understood.
        """
        told = read_as(self._session.name, line, ToldEvent)
        if told.type == "ERROR":
            if told.object.code == _GONE:
                raise TooOldError
            raise BackendUnavailableError(
                f"the API server of the backend {self._session.name} ended a watch",
                backend=self._session.name,
            )
        meta = told.object.metadata.outline()
        return Event(kind=told.type, name=meta.name, version=meta.version, labels=meta.labels)

    # --- what we may ---

    def identity(self) -> str:
        """Give whom the server takes us for; "" where it does not say (before Kubernetes 1.28)."""
        question = Question(
            method="POST",
            path="/apis/authentication.k8s.io/v1/selfsubjectreviews",
            verb="create",
            resource="selfsubjectreviews",
            group="authentication.k8s.io",
            body=body_of({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}),
        )
        reply = self._session.reply(question)
        if reply.status == _ABSENT:
            return ""
        if reply.status >= _REFUSED:
            raise refusal(self._session.asked(question), reply)
        return read_as(self._session.name, reply.body, SelfReview).status.user_info.username

    def may(self, verb: str, name: str = "") -> bool | None:
        """Tell whether we may *verb* Secrets here, or the one called *name*; None where that is not told."""
        resource = {"namespace": self.namespace, "verb": verb, "version": "v1", "resource": "secrets"}
        spec = {"resourceAttributes": resource | ({"name": name} if name else {})}
        head = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        question = Question(
            method="POST",
            path="/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            verb="create",
            resource="selfsubjectaccessreviews",
            group="authorization.k8s.io",
            body=body_of(head | {"spec": spec}),
        )
        try:
            return self._session.ask(question, Review).status.allowed
        except AccessDeniedError:
            return None

    def has_namespace(self) -> bool | None:
        """Tell whether the namespace exists; None where we may not know."""
        question = Question(
            method="GET",
            path=f"/api/v1/namespaces/{quote(self.namespace)}",
            verb="get",
            resource="namespaces",
        )
        status = self._session.reply(question).status
        return True if status < _REFUSED else False if status == _ABSENT else None

    # --- asking ---

    def _question(  # noqa: PLR0913 -- the parts of a request
        self,
        method: str,
        verb: str,
        name: str = "",
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        kind: str = "application/json",
        accept: str = "application/json",
    ) -> Question:
        return Question(
            method=method,
            path=f"{self._path}/{quote(name)}" if name else self._path,
            verb=verb,
            resource="secrets",
            namespace=self.namespace,
            query=query,
            body=None if body is None else body_of(body),
            kind=kind,
            accept=accept,
            is_repeatable=method == "GET",
        )


def _is_of_secret(reply: Reply) -> bool:
    """Tell whether it is the Secret that is absent: not its namespace, nor the whole API."""
    details = Status.of(reply.body).details
    return reply.status == _ABSENT and details is not None and details.kind == "secrets"
