"""Policies as documents: written and deleted once they are right, by themselves and together."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from strongroom.errors import ConflictError, InvalidInputError, NotFoundError
from strongroom.policy import Action
from strongroom.policy.alike import check_free, outline
from strongroom.policy.cedar import CedarPolicy, parse, validate
from strongroom.policy.index import check_weight
from strongroom.registry import ABSENT, Change
from strongroom.service.policies.actors import is_local, role_names
from strongroom.service.policies.book import SWITCHES, TWO_FOR_REVEALS, Document, description_of, shipped
from strongroom.service.policies.request import MAX_REASON
from strongroom.service.policies.shape import POLICY, PolicyBody, encoded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from strongroom.policy.rule import Remark
    from strongroom.registry import Snapshot
    from strongroom.service.policies.desk import Desk

__all__ = ["Documents", "Draft", "check_version", "id_in"]

_MAX_DOCUMENTS = 2_000


class Draft(NamedTuple):
    """
    A document to write.

    Args:
        text: Cedar.
        id: unsaid where the text's first `@id` says it.
        comment: why; kept in the record.
    """

    text: str
    id: str | None = None
    description: str = ""
    is_enabled: bool = True
    comment: str = ""


class Documents:
    """
    The documents of a deployment before and after a change.

    Threads: may be used from several threads at once.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def find(self, id_: str, snapshot: Snapshot | None = None) -> Document:
        """
        Give one document.

        Raises:
            NotFoundError: there is none of that id.
        """
        for document in self._desk.book.documents(snapshot or self._desk.snapshot):
            if document.id == id_:
                return document
        raise NotFoundError("there is no policy of that id", hint="strongroom access policies list")

    def remarks(self, id_: str, text: str) -> tuple[Remark, ...]:
        """Say what is wrong with a text, or doubtful."""
        return validate(id_, text, roles=role_names(self._desk.snapshot))

    def free_id(self, draft: Draft, snapshot: Snapshot) -> str:
        """
        Give the id that a draft is to have.

        Raises:
            InvalidInputError: it has none, or one that is no name.
            ConflictError: it looks like another one, or comes with the product.
        """
        if len(draft.description) > MAX_REASON or not draft.description.isprintable():
            raise InvalidInputError(
                f"a description is one line of at most {MAX_REASON} characters", limit=MAX_REASON
            )
        said = draft.id or id_in(draft.text)
        if said is None:
            raise InvalidInputError("the policy has no id", hint='give one, or write @id("…") before it')
        documents = self._desk.book.documents(snapshot)
        taken = {document.id for document in documents} | set(SWITCHES)
        found = check_free(said, taken, what="the id of a policy")
        if found in SWITCHES:
            raise ConflictError(f"{found} is switched on and off, not written")
        for document in documents:
            if document.id == found and document.is_shipped and draft.text != document.text:
                raise ConflictError(
                    f"the policy {found} comes with the product", hint="write another one beside it"
                )
        return found

    def changed(self, snapshot: Snapshot, put: Iterable[Draft], delete: Iterable[str]) -> list[Document]:
        """
        Give the documents there would be.

        Raises:
            InvalidInputError: a text is no policy.
            NotFoundError: what is to be deleted is not there.
            ConflictError: as `free_id`.
        """
        documents = {document.id: document for document in self._desk.book.documents(snapshot)}
        for id_ in delete:
            if id_ not in documents:
                raise NotFoundError(f"there is no policy {id_}", hint="strongroom access policies list")
            del documents[id_]
        for draft in put:
            id_ = self.free_id(draft, snapshot)
            self._check_text(id_, draft.text)
            standing = documents.get(id_)
            documents[id_] = Document(
                id=id_,
                text=draft.text,
                description=draft.description,
                is_enabled=draft.is_enabled,
                is_shipped=standing is not None and standing.is_shipped,
                version="",
                changed_at=None,
                changed_by="",
            )
        return list(documents.values())

    def _check_text(self, id_: str, text: str) -> None:
        for remark in self.remarks(id_, text):
            if remark.severity == "error":
                where = "" if remark.line is None else f" (line {remark.line})"
                raise InvalidInputError(f"the policy {id_}{where}: {remark.message}", hint=remark.hint)

    def trial(self, documents: Sequence[Document], snapshot: Snapshot) -> CedarPolicy:
        """
        Give the policy that would be in force with *documents*.

        Raises:
            InvalidInputError: there are too many, or too many concern one request.
            ConflictError: two statements have ids that look alike.
        """
        if len(documents) > _MAX_DOCUMENTS:
            raise InvalidInputError(
                f"a deployment has at most {_MAX_DOCUMENTS} policies", limit=_MAX_DOCUMENTS
            )
        self._check_ids(documents)
        policy = self._desk.book.trial(documents, snapshot)
        check_weight(policy.rules)
        return policy

    def _check_ids(self, documents: Sequence[Document]) -> None:
        """Refuse two statements whose ids could be taken for one another: ids stand in records."""
        # What a switch may put in force beside the documents is taken whether it is on or not.
        reserved = self._desk.book.parsed(TWO_FOR_REVEALS, shipped(TWO_FOR_REVEALS))
        taken = {outline(rule.id): (TWO_FOR_REVEALS, rule.id) for rule in reserved}
        for document in documents:
            for rule in self._desk.book.parsed(document.id, document.text):
                owner, other = taken.setdefault(outline(rule.id), ("", rule.id))
                if other != rule.id and owner == document.id:
                    continue
                if owner:
                    how = "is given twice" if other == rule.id else f"looks like another one, {other}"
                    raise ConflictError(f"the @id {rule.id} {how}", hint="an @id is given once")
                taken[outline(rule.id)] = (document.id, rule.id)

    def check(self, documents: Sequence[Document], snapshot: Snapshot) -> None:
        """
        Refuse *documents* that cannot be in force, or that whoever writes them could not undo.

        Raises:
            As `trial`.
        """
        policy = self.trial(documents, snapshot)
        if is_local(self._desk.actor):
            return  # decided by the operating system, not by policy
        if not policy.decide(self._desk.actor, Action.ADMINISTER, None).is_allowed:
            raise ConflictError(
                "you could not undo this: you would no longer administer",
                hint="have another administrator do it, or do it on the host",
            )

    def check_base(self, snapshot: Snapshot, id_: str, base: str) -> None:
        """
        Refuse where another version stands than *base*.

        Raises:
            ConflictError: it does.
        """
        row = snapshot.of(POLICY).get(id_)
        if base != ("" if row is None else str(row.revision)):
            raise ConflictError(
                f"the policy {id_} has changed since this was asked for", hint="have it asked for again"
            )

    def write(self, draft: Draft, base: str, by: str, more: Sequence[Change]) -> Document:
        """Write what was checked over the version *base*, as *by*, and *more* with it."""
        id_, is_ours = str(draft.id), False
        with suppress(NotFoundError):
            is_ours = self.find(id_).is_shipped
        body = PolicyBody(
            text=None if is_ours else draft.text,
            description=draft.description or ("" if is_ours else description_of(draft.text)),
            is_enabled=draft.is_enabled,
            comment=draft.comment,
            changed_at=self._desk.wall,
            changed_by=by,
        )
        self._desk.registry.put_many([Change(POLICY, id_, encoded(body), int(base or ABSENT)), *more])
        return self.find(id_)

    def delete(self, id_: str, base: str, more: Sequence[Change]) -> Document:
        """Delete the version *base*, and *more* with it; give it as it stood."""
        found = self.find(id_)
        self._desk.registry.put_many([Change(POLICY, id_, None, int(base)), *more])
        return found


def id_in(text: str) -> str | None:
    """Give what the `@id` of the first statement says; None where it says none."""
    with suppress(InvalidInputError):
        return parse("policy", text)[0].annotations.get("id")
    return None


def check_version(expected: str | None, version: str) -> None:
    """
    Refuse where another *version* stands than *expected*; None expects nothing, "" that there is none.

    Raises:
        ConflictError: it does.
    """
    if expected is not None and expected not in (version, version or "0"):
        raise ConflictError(
            "the policy has changed meanwhile", current_version=version or None, hint="look at it again"
        )
