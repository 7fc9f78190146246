"""
What a name of ours is in a Key Vault, where `_` cannot be written and `Orders` is `orders`.

Airflow writes its separator for each `_`, so several names of ours are one name there. Which of them a secret
is kept for is said by its tags, where somebody said it.

Rules of this file:

1. A path, as `Naming` gives it, keeps the `_`; it is spelled as the vault wants it at the last moment. So two
   names never share a path, and what they share is seen here.
2. A secret whose tag says another name than the one that is asked for is not that name's: nothing is guessed.
   One without the tag is every name's that is spelled so, as for Airflow; a list gives it as it is spelled.

Source: apache-airflow-providers-microsoft-azure 15.2.1 (`build_path`); Key Vault, object identifiers.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from itertools import count, islice, takewhile
from typing import TYPE_CHECKING, NamedTuple

from strongroom.backend import Naming
from strongroom.errors import BackendConfigError, InvalidInputError
from strongroom.model.ref import KINDS, Kind, Ref
from strongroom.vendors.azure_answer import SecretItem
from strongroom.vendors.index import NameIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


__all__ = ["AUTHOR_TAG", "ID_TAG", "TEAM_TAG", "Names", "Shelf"]

ID_TAG, TEAM_TAG, AUTHOR_TAG = "airflow-id", "airflow-team", "strongroom-author"
_TEAM_SEPARATOR = "--"  # as Airflow's, which cannot be set there
_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}", re.ASCII)
_SEPARATOR = re.compile(r"[0-9a-zA-Z-]*", re.ASCII)


class Names:
    """
    How names are spelled with these prefixes.

    Args:
        place: the backend's name, for messages.
        prefixes: as `Naming` takes them.
        separator: stands after a prefix and for each `_`.
        keeps_teams: whether teams have names of their own.

    Raises:
        BackendConfigError: the separator cannot be written in a name of a vault.
    """

    def __init__(
        self,
        place: str,
        prefixes: Mapping[Kind, str | tuple[str, ...] | None],
        *,
        separator: str,
        keeps_teams: bool,
    ) -> None:
        if not _SEPARATOR.fullmatch(separator):
            raise BackendConfigError(
                f"backend.{place}.sep cannot be written in the name of a secret",
                hint="use -, as Airflow does: a name has letters, digits and dashes",
            )
        self._separator = separator
        self._keeps_teams = keeps_teams
        # Prefixes have no `_` of their own from here on: only names and teams keep theirs.
        plain = {kind: _each(prefix, self.spelled) for kind, prefix in prefixes.items()}
        self.naming = Naming(
            plain,
            separator=separator,
            team_separator=_TEAM_SEPARATOR if keeps_teams else None,
            is_spellable=self._is_spellable,
            may_share=True,  # what is stored tells a connection from a variable, where Airflow is set so
        )
        self._heads = sorted(
            {head for kind in KINDS for head in self.naming.folders(kind)}, key=len, reverse=True
        )

    def spelled(self, path: str) -> str:
        """Give *path* as the vault spells it."""
        return path.replace("_", self._separator)

    def folded(self, path: str) -> str:
        """Give what *path* has in common with every path that means the same secret."""
        return self.spelled(path).lower()

    def is_of_another(self, path: str, tags: Mapping[str, str]) -> bool:
        """Tell whether *tags* say that a secret is kept for another path than *path*."""
        said, team = tags.get(ID_TAG), tags.get(TEAM_TAG)
        if said is None:
            return False
        parts = (self._parts(path[len(head) :]) for head in self._heads if path.startswith(head))
        return not any(name == said and team in (None, its) for its, name in parts)

    def ref(self, item: SecretItem, kind: Kind, team: str | None) -> Ref | None:
        """
        Give what *item* is listed as, of this *kind* and *team*; None when it is nothing of them.

        One whose tag spells another secret is nobody's; it is listed as it is spelled (`is_astray`).
        """
        said = None if self.is_astray(item) else item.tags.get(ID_TAG)
        if said is not None and item.tags.get(TEAM_TAG, team) != team:
            return None
        for folder in self.naming.folders(kind, team):
            if not item.name.lower().startswith(self.folded(folder)):
                continue
            try:
                found = Ref(kind, item.name[len(folder) :] if said is None else said, team)
            except InvalidInputError:
                continue
            if any(self.folded(path) == item.name.lower() for path in self.naming.paths(found)):
                return found
        return None

    def is_astray(self, item: SecretItem) -> bool:
        """Tell whether the tag of *item* says a name that is not spelled so, so that no read meets it."""
        said, team = item.tags.get(ID_TAG), item.tags.get(TEAM_TAG)
        if said is None:
            return False
        name = item.name.lower()
        parts = [self._parts(name[len(head) :]) for head in self._heads if name.startswith(self.folded(head))]
        return not any(
            of == self.folded(said) and (team is None or its == self.folded(team)) for its, of in parts
        )

    def _parts(self, tail: str) -> tuple[str | None, str]:
        """Give team and name of what stands after a prefix."""
        team, separator, name = tail.partition(_TEAM_SEPARATOR) if self._keeps_teams else ("", "", "")
        return (team, name) if separator else (None, tail)

    def _is_spellable(self, path: str) -> bool:
        spelled = self.spelled(path)
        if not _NAME.fullmatch(spelled):
            return False
        head = next((head for head in self._heads if path.startswith(head)), "")
        # What is another's prefix or team only once it is spelled would meet another's names all the same.
        for other in self._heads:
            begins = f"{spelled}#".lower().startswith(other.lower())
            if begins and len(other) > len(head) and other != f"{path}#":
                return False
        return not self._keeps_teams or spelled.find(_TEAM_SEPARATOR, len(head)) == path.find(
            _TEAM_SEPARATOR, len(head)
        )


def _each(prefix: str | tuple[str, ...] | None, change: Callable[[str], str]) -> str | tuple[str, ...] | None:
    if prefix is None or isinstance(prefix, str):
        return None if prefix is None else change(prefix)
    return tuple(change(one) for one in prefix)


class _Seen(NamedTuple):
    """One look at the whole vault."""

    turn: int  # of the looks, as they were begun
    items: Mapping[str, SecretItem]  # by folded name
    listed: dict[tuple[Kind, str | None], tuple[list[str], dict[str, SecretItem]]]


class Shelf:
    """
    What a vault holds, by our names, in order; looked at whole and kept for 10 s.

    Args:
        names: how names are spelled.
        fetch: gives every secret of the vault, without values.
        keys: gives the paths of a kind and team that are keys in secrets that hold many.

    Threads: may be used from several threads at once, and after a fork.
    """

    def __init__(
        self,
        names: Names,
        fetch: Callable[[], Iterable[SecretItem]],
        keys: Callable[[Kind, str | None], Iterable[str]] = lambda _kind, _team: (),
    ) -> None:
        self._names = names
        self._fetch = fetch
        self._keys = keys
        self._turns = count(1)
        self._seen = _Seen(0, {}, {})
        self._index = NameIndex(self._look)

    def page(
        self, kind: Kind, team: str | None, *, prefix: str, after: str, limit: int
    ) -> list[tuple[Ref, SecretItem]]:
        """Give up to *limit* names that begin with *prefix* and are greater than *after*, in order."""
        names, items = self._listed(kind, team)
        start = max(bisect_left(names, prefix), bisect_right(names, after) if after else 0)
        wanted = takewhile(lambda name: name.startswith(prefix), islice(names, start, None))
        return [(Ref(kind, name, team), items[name]) for name in islice(wanted, limit)]

    def at(self, path: str) -> SecretItem | None:
        """Give the secret that a read of *path* would look at."""
        return self._now().items.get(self._names.folded(path))

    def forget(self) -> None:
        """Look anew the next time: something was written or deleted here."""
        self._index.forget()

    def _now(self) -> _Seen:
        self._index.names(limit=1)
        return self._seen

    def _look(self) -> Iterable[str]:
        turn = next(self._turns)
        items = {item.name.lower(): item for item in self._fetch()}
        if turn > self._seen.turn:  # else somebody who came after a write was faster
            self._seen = _Seen(turn, items, {})
        return items

    def _listed(self, kind: Kind, team: str | None) -> tuple[list[str], dict[str, SecretItem]]:
        seen = self._now()
        found = seen.listed.get((kind, team))
        if found is None:
            named: dict[str, SecretItem] = {}
            for item in seen.items.values():
                ref = self._names.ref(item, kind, team)
                if ref is not None:
                    named[ref.name] = item
            for path in self._keys(kind, team):
                ref = self._names.naming.ref(path, kind, team)
                if ref is not None:
                    named.setdefault(ref.name, SecretItem(name=path))
            found = seen.listed[kind, team] = (sorted(named), named)
        return found
