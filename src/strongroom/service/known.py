"""
What is public about an entry, for policies that ask for it: read where the entry stands, or stood.

Not for giving anything out: whoever asks decides with it.

Rules of this file:

1. An entry that cannot be read is looked for in listings, so that what forbids by tag holds for it, too.
2. Trouble is no answer: then it is decided as of a name that is nowhere.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from strongroom.backend import Listable
from strongroom.errors import MalformedEntryError, StrongroomError, TamperedError
from strongroom.service.guard import facts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from strongroom.chain import Chain, Link
    from strongroom.model.entry import Metadata
    from strongroom.model.ref import Ref
    from strongroom.policy import Facts

__all__ = ["Knowing", "known_facts", "known_metadata", "metadata_at"]


@runtime_checkable
class Knowing(Protocol):
    """A backend that can tell what is public about an entry without its value, deleted or not."""

    def known(self, ref: Ref) -> Metadata | None:
        """Give it for exactly *ref*, None where there never was one."""
        ...


def known_facts(chain: Chain) -> Callable[[Ref], Facts | None]:
    """Give how to learn what policies may ask about what a Ref leads, or led, to; None: it never was."""

    def facts(ref: Ref) -> Facts | None:
        metadata = known_metadata(chain, ref)
        return None if metadata is None else facts_of(metadata)

    return facts


def known_metadata(chain: Chain, ref: Ref) -> Metadata | None:
    """Give what is public about the entry that *ref* leads to; of a deleted one, what was."""
    try:
        entry = chain.read(ref)
    except (MalformedEntryError, TamperedError):
        return _first(chain, ref, _listed)
    except StrongroomError:
        return None
    return _first(chain, ref, _deleted) if entry is None else entry.metadata


def metadata_at(chain: Chain, link: Link, ref: Ref) -> Metadata | None:
    """Give what is public about exactly *ref* in one backend, deleted or not; None where it never was."""
    try:
        entry = chain.ask(link, partial(link.backend.read, ref))
        if entry is not None:
            return entry.metadata
        return chain.ask(link, partial(_deleted, link, ref))
    except (MalformedEntryError, TamperedError):
        return chain.ask(link, partial(_listed, link, ref))


def _first(chain: Chain, ref: Ref, find: Callable[[Link, Ref], Metadata | None]) -> Metadata | None:
    for link, path in _paths(chain, ref):
        try:
            found = chain.ask(link, partial(find, link, path))
        except StrongroomError:
            continue
        if found is not None:
            return found
    return None


def _paths(chain: Chain, ref: Ref) -> Iterator[tuple[Link, Ref]]:
    for link in chain.links:
        if link.why_not(ref) is None:
            for path in link.paths(ref):
                yield link, path


def _listed(link: Link, path: Ref) -> Metadata | None:
    if not isinstance(link.backend, Listable):
        return None
    found = link.backend.list(path.kind, team=path.team, prefix=path.name, limit=1)
    # Names come in order, so one that is a prefix of others comes first among them.
    return found[0].metadata if found and found[0].ref == path else None


def _deleted(link: Link, path: Ref) -> Metadata | None:
    return link.backend.known(path) if isinstance(link.backend, Knowing) else None
