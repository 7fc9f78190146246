"""
Secrets by their labels: the path of an entry, the selector that asks for it, and what its labels say it is.

A path is `<label>=<name>`, of a team `<label>=<team>/<name>`: a label's value has neither "=" nor "/". Names
come from `label_naming`, so that each can be a label's value and none ends a selector early.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.vendors.kubernetes_objects import Held, Outline
    from strongroom.vendors.kubernetes_secrets import Secrets

__all__ = ["Labelled", "Labels"]

_BATCH = 16  # names in one selector, as many as Secrets on one page


class Labelled(NamedTuple):
    """What a path says."""

    label: str
    team: str | None
    name: str

    @classmethod
    def of(cls, path: str) -> Labelled:
        """Take *path* apart."""
        label, _, value = path.partition("=")
        team, slash, name = value.rpartition("/")
        return cls(label, team if slash else None, name)

    @property
    def path(self) -> str:
        """Put it together again."""
        return f"{self.label}={self.name if self.team is None else f'{self.team}/{self.name}'}"


class Labels:
    """
    Ask for Secrets by label.

    Args:
        secrets: of a namespace.
        team_label: whose value is the team; None where all are global.
    """

    def __init__(self, secrets: Secrets, team_label: str | None) -> None:
        self._secrets = secrets
        self._team_label = team_label

    def of(self, asked: Labelled) -> dict[str, str]:
        """Give the labels of a Secret that is *asked*."""
        team = {} if asked.team is None or self._team_label is None else {self._team_label: asked.team}
        return {asked.label: asked.name, **team}

    def path_of(self, outline: Outline, label: str) -> str | None:
        """Give the path that a Secret has by *label*; None where it does not have that."""
        name = outline.labels.get(label)
        team = None if self._team_label is None else outline.labels.get(self._team_label)
        return Labelled(label, team, name).path if name else None

    def batches(self, paths: Sequence[str]) -> Iterator[list[Labelled]]:
        """Give *paths* in lots that one selector asks for."""
        groups: dict[tuple[str, str | None], list[Labelled]] = {}
        for asked in map(Labelled.of, paths):
            groups.setdefault((asked.label, asked.team), []).append(asked)
        for group in groups.values():
            yield from (group[at : at + _BATCH] for at in range(0, len(group), _BATCH))

    def chosen(self, batch: Sequence[Labelled]) -> dict[str, list[Held]]:
        """Give by path every Secret that claims one of *batch*, which `batches` gave; ordered by name."""
        label, team, name = batch[0]
        names = [asked.name for asked in batch]
        one = f"{label}={name}" if len(batch) == 1 else f"{label} in ({','.join(names)})"
        found: dict[str, list[Held]] = {}
        for held in sorted(self._secrets.chosen(one + self._of_team(team)), key=lambda held: held.name):
            path = Labelled(label, team, held.labels.get(label, "")).path
            found.setdefault(path, []).append(held)
        return {asked.path: found[asked.path] for asked in batch if asked.path in found}

    def _of_team(self, team: str | None) -> str:
        key = self._team_label
        return "" if key is None else f",!{key}" if team is None else f",{key}={team}"
