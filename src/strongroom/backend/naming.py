"""
How a Ref is spelled in a foreign store: the one place that builds paths, and none that guesses them back.

Rules of this file:

1. Two Refs never share a path, whatever their names hold.
2. What cannot be spelled is absent to a read, without a question, and refused to a write.
3. A prefix that ends in `#` names one secret that holds many entries: what follows the `#` is a key in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from strongroom.errors import BackendConfigError, InvalidInputError
from strongroom.model.ref import Kind, Ref

__all__ = ["WORDS", "Naming", "prefix_option"]

WORDS: Mapping[Kind, str] = {"connection": "connections", "variable": "variables", "config": "config"}
"""What options call the kinds: `connections_prefix`, as Airflow does."""

_HOLDS = "#"  # ends a prefix that names one secret holding many entries


@dataclass(frozen=True, slots=True)
class Naming:
    """
    Turn a Ref into the paths of a foreign store, injectively: two Refs never share a path.

    Shape of a path: `<prefix><separator><name>`, with a team
    `<prefix><separator><team><team_separator><name>`; an empty prefix drops its separator. Where the
    name leads, its first segment stands before all of that: `<segment>/<prefix><separator><rest>`.

    Where one prefix begins another (`airflow` and `airflow/connections`), a path belongs to the
    longest that begins it, so a name that would reach into another prefix cannot be spelled.

    A prefix that ends in `#` stands without its separator and names one secret that holds many entries:
    `airflow/connections#orders_db` is the key `orders_db` of the secret `airflow/connections`, which itself
    is no entry.

    Args:
        prefixes: per kind one prefix or several, asked in order, the first being where writes go;
            None (or missing) means this store does not keep that kind.
        team_separator: None means the store keeps no teams.
        is_spellable: the store's own grammar over the finished path; of a secret that holds many, over its
            own path.
        is_key: the store's grammar over a key in a secret that holds many.
        name_leads: the first segment of a name says where in the store to look (Vault's mount).
        may_share: kinds may have a prefix in common, because what is stored tells them apart; then a
            path belongs to one Ref of each kind.

    Raises:
        BackendConfigError: two kinds have the same prefix and may not, or a `#` stands alone.
    """

    prefixes: Mapping[Kind, str | tuple[str, ...] | None]
    separator: str = "/"
    team_separator: str | None = None
    is_spellable: Callable[[str], bool] = field(default=lambda _path: True)
    name_leads: bool = False
    may_share: bool = False
    is_key: Callable[[str], bool] = field(default=lambda _key: True)
    _heads: Mapping[Kind, tuple[str, ...]] = field(init=False, repr=False, compare=False)
    # By head: the longer ones it begins, whose paths are not its own.
    _longer: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)
    _holding: tuple[str, ...] = field(init=False, repr=False, compare=False)  # heads that end in #

    def __post_init__(self) -> None:
        heads = {kind: self._heads_of(prefix) for kind, prefix in self.prefixes.items()}
        every = [head for mine in heads.values() for head in mine]
        if len(set(every)) < len(every) and not self.may_share:
            raise BackendConfigError(
                "two kinds have the same prefix, so a connection and a variable could have the same path",
                hint="give connections, variables and config prefixes of their own",
            )
        longer = {
            head: tuple(other for other in every if other != head and other.startswith(head))
            for head in every
        }
        if _HOLDS in every:
            raise BackendConfigError(
                f"the prefix {_HOLDS} names no secret",
                hint=f"write the name of one before it: airflow{_HOLDS}",
            )
        object.__setattr__(self, "_heads", heads)
        object.__setattr__(self, "_longer", longer)
        object.__setattr__(self, "_holding", tuple({head for head in every if head.endswith(_HOLDS)}))

    def _heads_of(self, prefix: str | tuple[str, ...] | None) -> tuple[str, ...]:
        prefixes = () if prefix is None else (prefix,) if isinstance(prefix, str) else prefix
        return tuple(
            dict.fromkeys(
                one if not one or one.endswith(_HOLDS) else one + self.separator for one in prefixes
            )
        )

    def path(self, ref: Ref) -> str | None:
        """Give the first path of *ref*; None when this store cannot spell it, so it holds nothing there."""
        return next(iter(self.paths(ref)), None)

    def paths(self, ref: Ref) -> tuple[str, ...]:
        """Give every path *ref* may stand under, in the order asked; () when it cannot be spelled."""
        lead, name = self._lead(ref.name) if self.name_leads else ("", ref.name)
        tail = self._tail(name, ref.team)
        if not tail:
            return ()
        return tuple(
            lead + head + tail
            for head in self._heads.get(ref.kind, ())
            if not self._is_of_another(head, tail) and self._can_stand(lead, head, tail)
        )

    def _can_stand(self, lead: str, head: str, tail: str) -> bool:
        if head in self._holding:
            return self.is_spellable(lead + head[:-1]) and self.is_key(tail)
        # A secret that holds many is nobody's value: it would hand out all that it holds.
        return f"{head}{tail}{_HOLDS}" not in self._holding and self.is_spellable(lead + head + tail)

    def holder(self, path: str) -> tuple[str, str] | None:
        """Give the secret and the key in it that *path*, of `paths`, means; None where it is no such key."""
        if not self._holding:
            return None
        lead, rest = self._lead(path) if self.name_leads else ("", path)
        mine = max((head for head in self._longer if rest.startswith(head)), key=len, default="")
        return (lead + mine[:-1], rest[len(mine) :]) if mine in self._holding else None

    def holders(self, kind: Kind) -> tuple[tuple[str, str], ...]:
        """
        Give the secrets that hold many entries of this *kind*, each with what the paths of those begin with.

        Empty where the name leads: then they are anywhere.
        """
        heads = () if self.name_leads else self._heads.get(kind, ())
        return tuple((head[:-1], head) for head in heads if head in self._holding)

    def _lead(self, name: str) -> tuple[str, str]:
        segment, slash, rest = name.partition("/")
        return (segment + slash, rest) if slash else ("", "")

    def _is_of_another(self, head: str, tail: str) -> bool:
        return any((head + tail).startswith(longer) for longer in self._longer[head])

    def _tail(self, name: str, team: str | None) -> str | None:
        if self.team_separator is None:
            return None if team else name
        if team is None:
            # A global name that reads like "<team><separator><name>" would meet that team's path.
            return None if self.team_separator in name else name
        tail = f"{team}{self.team_separator}{name}"
        # The first separator must be the one we put there: ("a-", "x") and ("a", "-x") both give "a---x".
        return tail if name and tail.find(self.team_separator) == len(team) else None

    def secret(self, path: str) -> str:
        """Give the secret that *path*, of `paths`, stands in: its own, or one that holds many."""
        holder = self.holder(path)
        return path if holder is None else holder[0]

    def secrets(self) -> tuple[str, ...]:
        """Give every secret that holds many, once. Empty where the name leads: then they are anywhere."""
        return tuple(dict.fromkeys(secret for kind in self.prefixes for secret, _ in self.holders(kind)))

    def beginnings(self, kind: Kind | None = None, team: str | None = None) -> tuple[str, ...]:
        """Give what `folders` does, of every kind where none is said, without secrets that hold many."""
        kinds = tuple(self.prefixes) if kind is None else (kind,)
        every = (folder for one in kinds for folder in self.folders(one, team))
        return tuple(folder for folder in every if not folder.startswith(self._holding))

    def folders(self, kind: Kind, team: str | None = None) -> tuple[str, ...]:
        """
        Give what the paths of this *kind* and *team* begin with, in the order asked.

        Empty where the store keeps no such names, and where the name leads: then they are anywhere.
        """
        if self.name_leads or (team is not None and self.team_separator is None):
            return ()
        team_part = "" if team is None else f"{team}{self.team_separator}"
        return tuple(head + team_part for head in self._heads.get(kind, ()))

    def ref(self, path: str, kind: Kind, team: str | None = None) -> Ref | None:
        """
        Give the Ref of this *kind* and *team* that has *path*, for listings; None when there is none.

        Raises nothing for a name that cannot be asked for: it sleeps in the store.
        """
        for folder in self.folders(kind, team):
            if path.startswith(folder):
                try:
                    found = Ref(kind, path[len(folder) :], team)
                except InvalidInputError:
                    continue
                if path in self.paths(found):
                    return found
        return None

    def spell(self, ref: Ref, store: str) -> str:
        """
        Give the path of *ref* for writing.

        Raises:
            InvalidInputError: the store called *store* cannot spell this name.
        """
        path = self.path(ref)
        if path is None:
            raise InvalidInputError(
                f"the backend {store} cannot hold the name of {ref}",
                hint="choose a name within that store's grammar, or another backend",
            )
        return path


def prefix_option(name: str, options: object, key: str) -> str | tuple[str, ...] | None:
    """
    Give the prefix, or several, that the option *key* of the backend *name* says; None where it says none.

    Raises:
        BackendConfigError: it is true.
    """
    given = getattr(options, key)
    if given is True:
        raise BackendConfigError(
            f"backend.{name}.{key} must be text or false", hint="false keeps the kind out of this backend"
        )
    if given is None or given is False:
        return None
    return given if isinstance(given, str) else tuple(given)
