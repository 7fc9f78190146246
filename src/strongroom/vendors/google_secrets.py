"""
What is done with the secrets of one project, in Google's words: access, add, create, annotate, delete, list.

Not for what a name or an entry is (`backends/gcp_secret_manager.py`) nor for asking (`google.py`).

Rules of this file:

1. A value is checked by its CRC-32C both ways. One that is damaged is trouble, never a value.
2. A version that is disabled or destroyed is neither absent nor a value: its state is said.
3. A write of several steps that ends half-way says what was done, and that it is safe to repeat.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.errors import (
    BackendUnavailableError,
    ConflictError,
    MalformedEntryError,
    StrongroomError,
)
from strongroom.vendors.crc32c import crc32c
from strongroom.vendors.google_answer import GoogleRefusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from strongroom.vendors.google import GoogleSession

__all__ = ["AUTHOR", "LATEST", "GoogleSecrets", "Version", "narrowed"]

LATEST = "latest"
AUTHOR = "strongroom-author-"
"""What the annotations that say who wrote a version begin with; its number follows."""

_FILTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
_PAGE = 2_000  # names in one answer of a listing, some 300 bytes each
_MAX_PAGES = 1_000  # of one listing: two million names
_AUTHORS = 50  # versions whose authors are noted, the newest
_MAX_AUTHOR = 100  # characters, of 16 KiB that all annotations of a secret have
_YOUNG = timedelta(minutes=1)  # a write takes seconds
_ATTEMPTS = 4  # to note an author while others change the secret's annotations


class Version(NamedTuple):
    """
    One version of a secret.

    Args:
        number: as text.
        state: `ENABLED`, `DISABLED` or `DESTROYED`.
    """

    number: str
    state: str
    created_at: datetime


class GoogleSecrets:
    """
    The secrets below one parent.

    Args:
        session: whose.
        place: the backend's name, for messages.
    """

    def __init__(self, session: GoogleSession, place: str) -> None:
        self._session = session
        self._place = place

    def _name(self, path: str) -> str:
        return f"{self._session.parent}/secrets/{path}"

    # --- reading ---

    def access(self, path: str, version: str) -> tuple[str, str] | None:
        """
        Give the text and the number of a version of the secret *path*; None where there is none.

        Raises:
            MalformedEntryError: it is disabled or destroyed (`reason`), or no text.
            BackendUnavailableError: it came damaged.
        """
        try:
            answer = self._session.ask("access_secret_version", name=f"{self._name(path)}/versions/{version}")
        except GoogleRefusal as refusal:
            if refusal.status == "NOT_FOUND":
                return None
            trouble = self._barred(path, version, refusal)
        else:
            return self._checked(path, answer)
        raise trouble

    def _checked(self, path: str, answer: Any) -> tuple[str, str]:  # noqa: ANN401 -- a message of the SDK
        data, number = bytes(answer.payload.data), _last(answer.name)
        is_damaged = "data_crc32c" in answer.payload and answer.payload.data_crc32c != crc32c(data)
        if is_damaged or f"/secrets/{path}/versions/" not in answer.name:
            what = "damaged on its way: its checksum does not match" if is_damaged else "another secret's"
            raise BackendUnavailableError(
                f"what the backend {self._place} was given for {path} is {what}", backend=self._place
            )
        try:
            return data.decode("utf-8"), number
        except UnicodeDecodeError:
            pass
        raise self._malformed(path, f"version {number} of the secret {path} is no text in UTF-8")

    def _barred(self, path: str, version: str, refusal: GoogleRefusal) -> StrongroomError:
        which = "the latest version" if version == LATEST else f"version {version}"
        if refusal.status != "FAILED_PRECONDITION" or not refusal.state:
            return BackendUnavailableError(
                f"Google gives the backend {self._place} no answer about {which} of the secret {path} "
                f"as things stand ({refusal.status})",
                backend=self._place,
                hint="where a key of your own encrypts it, look whether that is enabled",
            )
        hint = {
            "DISABLED": "enable it, or add a version; whoever meant to delete it deletes the secret",
            "DESTROYED": "add a version, or delete the secret",
        }[refusal.state]
        state = refusal.state.lower()
        return self._malformed(path, f"{which} of the secret {path} is {state}", reason=state, hint=hint)

    def _malformed(
        self, path: str, what: str, *, reason: str = "malformed", hint: str | None = None
    ) -> MalformedEntryError:
        return MalformedEntryError(
            f"{what} (backend {self._place})", backend=self._place, ref=path, reason=reason, hint=hint
        )

    # --- writing ---

    def add(self, path: str, text: str) -> str | None:
        """Add a version and give its number; None when there is no such secret."""
        data = text.encode()
        payload = {"data": data, "data_crc32c": crc32c(data)}
        try:
            answer = self._session.ask("add_secret_version", parent=self._name(path), payload=payload)
        except GoogleRefusal as refusal:
            if refusal.status == "NOT_FOUND":
                return None
            trouble = self._odd(refusal)
        else:
            return _last(answer.name)
        raise trouble

    def create(self, path: str, places: Sequence[str], annotations: Mapping[str, str]) -> bool:
        """
        Make the secret, without a version; False when it is there.

        Args:
            path: its id.
            places: regions to keep it in; none: Google chooses. Of a region's own secrets nothing is said.
            annotations: of the secret.
        """
        secret: dict[str, Any] = {"annotations": dict(annotations)}
        if not self._session.access.location:
            replicas = {"user_managed": {"replicas": [{"location": place} for place in places]}}
            secret["replication"] = replicas if places else {"automatic": {}}
        try:
            self._session.ask("create_secret", parent=self._session.parent, secret_id=path, secret=secret)
        except GoogleRefusal as refusal:
            if refusal.status == "ALREADY_EXISTS":
                return False
            trouble = self._odd(refusal)
        else:
            return True
        raise trouble

    def claim(self, path: str, author: str, now: datetime) -> bool:
        """
        Take a secret without a version for one writer; False when it is another's.

        Whoever made it less than a minute ago may be about to fill it. Of several who find an older one (left
        by a write that was cut, or made by an administrator) the first changes its etag.

        Args:
            path: its id.
            author: noted as who wrote the first version.
            now: UTC.
        """
        try:
            secret = self._session.ask("get_secret", name=self._name(path))
            return now - secret.create_time >= _YOUNG and self._has_noted(path, "1", author, secret)
        except GoogleRefusal as refusal:
            trouble = self._odd(refusal)
        raise trouble

    def fill(self, path: str, text: str) -> str:
        """
        Add the first version of a secret that was just made, and give its number.

        Raises:
            StrongroomError: as `add`, saying that the secret stands there and holds nothing.
        """
        try:
            version = self.add(path, text)
        except StrongroomError as error:
            error.args = (f"the secret {path} was made, and its value is not written: {error}",)
            error.hint = "write again, without expecting that nothing is there: it is safe"
            raise
        if version is None:
            raise ConflictError(f"the secret {path} of the backend {self._place} was deleted meanwhile")
        return version

    def delete(self, path: str) -> bool:
        """Delete the secret with all its versions; False when there is none."""
        try:
            self._session.ask("delete_secret", name=self._name(path))
        except GoogleRefusal as refusal:
            if refusal.status == "NOT_FOUND":
                return False
            trouble = self._odd(refusal)
        else:
            return True
        raise trouble

    # --- who wrote what ---

    def annotate(self, path: str, version: str, author: str) -> None:
        """
        Note who wrote *version*.

        Raises:
            StrongroomError: it could not be noted, saying that the value is written.
        """
        trouble: StrongroomError
        try:
            for _ in range(_ATTEMPTS):
                if self._has_noted(path, version, author):
                    return
            trouble = ConflictError(f"others change the secret {path} of the backend {self._place}")
        except GoogleRefusal as refusal:
            trouble = self._odd(refusal)
        except StrongroomError as error:
            trouble = error
        trouble.args = (
            f"version {version} of the secret {path} is written, but not who wrote it: {trouble}",
        )
        trouble.hint = f"{trouble.hint or 'write again: it is safe'}; or set annotate = false"
        raise trouble

    def _has_noted(self, path: str, version: str, author: str, secret: Any = None) -> bool:  # noqa: ANN401 -- as above
        secret = secret or self._session.ask("get_secret", name=self._name(path))
        held = {**secret.annotations, f"{AUTHOR}{version}": author[:_MAX_AUTHOR]}
        for old in sorted((key for key in held if key.startswith(AUTHOR)), key=_number)[:-_AUTHORS]:
            del held[old]
        changed = {"name": self._name(path), "etag": secret.etag, "annotations": held}
        try:
            self._session.ask("update_secret", secret=changed, update_mask={"paths": ["annotations"]})
        except GoogleRefusal as refusal:
            if refusal.status in ("FAILED_PRECONDITION", "ABORTED"):
                return False  # somebody else was faster: the etag is another
            raise
        return True

    # --- listing and versions ---

    def names(self, folder: str) -> Iterator[str]:
        """Give the ids of the secrets that begin with *folder*, and maybe others, in no order."""
        for page in self._pages("list_secrets", parent=self._session.parent, **narrowed(folder)):
            yield from (_last(secret.name) for secret in page.secrets)

    def versions(self, path: str) -> list[Version]:
        """Give every version, newest first; none where there is no such secret."""
        trouble: StrongroomError
        try:
            found = [
                Version(_last(one.name), one.state.name, one.create_time)
                for page in self._pages("list_secret_versions", parent=self._name(path))
                for one in page.versions
            ]
        except GoogleRefusal as refusal:
            if refusal.status == "NOT_FOUND":
                return []
            trouble = self._odd(refusal)
        else:
            return sorted(found, key=lambda one: -int(one.number))
        raise trouble

    def _pages(self, question: str, **request: Any) -> Iterator[Any]:  # noqa: ANN401 -- messages of the SDK
        token = ""
        seen = {token}
        while True:
            page = self._session.ask(question, page_size=_PAGE, page_token=token, **request)
            yield page
            token = page.next_page_token
            if not token:
                return
            if token in seen or len(seen) >= _MAX_PAGES:
                raise BackendUnavailableError(
                    f"what the backend {self._place} lists leads in a circle, or to no end",
                    backend=self._place,
                )
            seen.add(token)

    def described(self, path: str) -> tuple[Mapping[str, str], Mapping[str, int]]:
        """Give the annotations of the secret, and its aliases of versions; nothing where there is none."""
        trouble: StrongroomError
        try:
            secret = self._session.ask("get_secret", name=self._name(path))
        except GoogleRefusal as refusal:
            if refusal.status == "NOT_FOUND":
                return {}, {}
            trouble = self._odd(refusal)
        else:
            return dict(secret.annotations), dict(secret.version_aliases)
        raise trouble

    def enable(self, path: str, number: str) -> None:
        """Enable a version that was disabled."""
        try:
            self._session.ask("enable_secret_version", name=f"{self._name(path)}/versions/{number}")
        except GoogleRefusal as refusal:
            trouble = self._odd(refusal)
        else:
            return
        raise trouble

    def _odd(self, refusal: GoogleRefusal) -> ConflictError:
        if refusal.status == "NOT_FOUND":
            return ConflictError(f"the secret of the backend {self._place} was deleted meanwhile")
        return ConflictError(
            f"the backend {self._place} cannot do that as things stand ({refusal.status})",
            hint="look at the secret's versions: one may be disabled or destroyed",
        )


def narrowed(part: str) -> dict[str, str]:
    """Give what narrows a listing to names with *part* in them, where Google's filters can say it."""
    return {"filter": f"name:{part}"} if _FILTER.fullmatch(part) else {}


def _last(name: object) -> str:
    return str(name).rpartition("/")[2]


def _number(key: str) -> int:
    text = key.removeprefix(AUTHOR)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0  # noqa: PLR2004 -- 64 bits
