"""A lookup that somebody else answers, a server or an agent, who gives the whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import NotFoundError
from strongroom.model.ref import Ref
from strongroom.service.lookup import Lookup, shell_word

if TYPE_CHECKING:
    from strongroom.model.entry import Entry
    from strongroom.model.secret import Secret

__all__ = ["AnsweredLookup"]


class AnsweredLookup(Lookup):
    """
    What is the same whoever answers.

    Nothing of a chain or cache is here, so the parts of the local one are not made.
    """

    def __init__(self) -> None:
        self.peek = _nothing

    def anew(self, ref: Ref) -> Entry | None:
        """Give what `find` gives, which remembers nothing here."""
        return self.find(ref)

    def stored(self, ref: Ref) -> Entry | None:
        """Give what `find` gives: whoever answers tells no references."""
        return self.find(ref)

    def find_variable(self, name: str, team: str | None = None) -> Entry | None:
        """Give the entry of a variable, or None where nobody who was asked has it."""
        return self.find(Ref("variable", name, team))

    def resolved(self, entry: Entry) -> Entry:
        """Give *entry*: whoever answered has resolved it."""
        return entry

    def referenced(self, ref: Ref) -> tuple[Secret[str], ...]:  # noqa: ARG002 -- the promise of Lookup
        """Give (): whoever answers hands out the whole, and does not tell what it was put together of."""
        return ()

    def absent(self, ref: Ref) -> NotFoundError:
        """Give the error of a lookup that found nothing, and what to type next."""
        explain = f"strongroom explain {ref.kind} {shell_word(ref.name)}"
        return NotFoundError(f"{ref} is in no backend", hint=f"{explain} shows who was asked")


def _nothing(_key: object) -> Entry | None:
    return None
