"""Houses of real stores for tests, with rules and windows that a test holds in its hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from strongroom.assembly import create_room, open_house
from strongroom.audit import Event
from strongroom.errors import NotRecordedError
from strongroom.model.ref import Ref
from strongroom.policy import Action, Actor, Assurance, Decision, Facts
from strongroom.service.reading import Use

ADMIN = Actor("person:root", Assurance.HOST_USER)
ANNA = Actor("person:anna", Assurance.HOST_USER)
BEN = Actor("person:ben", Assurance.HOST_USER)

Rule = Callable[[Actor, Action, "Ref | None", "Facts | None"], bool]


@dataclass
class Rules:
    """
    A policy: `root` may everything, everybody else what `rule` says.

    A change of rules is another object, as with the compiled policies of a deployment.
    """

    rule: Rule = lambda _actor, _action, _ref, _facts: False
    needs_facts: bool = False
    asked: list = field(default_factory=list)

    def decide(self, actor, action, ref, facts=None):
        self.asked.append((actor.id, action, ref, facts))
        is_allowed = actor.id == ADMIN.id or self.rule(actor, action, ref, facts)
        return Decision(is_allowed=is_allowed, reason="the rules", policies=("rules",))

    def covers(self, actor, action):
        return actor.id == ADMIN.id

    def knows(self, _actor, _action, _ref):
        return True


@dataclass
class Switch:
    """Gives the rules that hold now."""

    rules: Rules = field(default_factory=Rules)

    def __call__(self) -> Rules:
        return self.rules


@dataclass
class Window:
    until: float
    count: int = 1

    def repeat(self):
        self.count += 1


class Windows:
    """Uses with windows of a minute on a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.windows: dict[object, Window] = {}
        self.ended: list[Event] = []

    def timer(self) -> float:
        return self.now

    def _key(self, use: Use):
        version = use.answer.version if use.answer else None
        return use.actor.id, use.ref, use.outcome, version, use.decision.policies

    def window(self, use):
        found = self.windows.get(self._key(use))
        return found if found is not None and self.now < found.until else None

    def to_record(self, uses: Sequence[Use]) -> list[Event]:
        return [use.event for use in uses]

    def open(self, use):
        self.windows[self._key(use)] = found = Window(self.now + 60)
        return found

    def due(self, *, is_last=False):
        ended, self.ended = self.ended, []
        return ended


class Notebook:
    """Records in memory, or refuses to; counts how often it was asked."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.batches: list[int] = []
        self.is_full = False

    def append(self, *events: Event) -> None:
        if self.is_full:
            raise NotRecordedError("the notebook is full", folder="/notebook")
        self.events.extend(events)
        self.batches.append(len(events))

    def acts(self, actor: Actor | None = None):
        return [
            (event.action, event.name, event.outcome)
            for event in self.events
            if actor is None or event.actor == actor.id
        ]


SETTINGS = """
deployment = "prod"
chain = ["native"]

[store]
path = "{folder}/store.db"

[audit]
path = "{folder}/prod/audit"

[deployments.staging]
chain = ["native"]
[deployments.staging.store]
path = "{folder}/store.db"
wrappers = [{{ kind = "file", path = "{folder}/staging.key" }}]
[deployments.staging.audit]
path = "{folder}/staging/audit"
"""


class Site:
    """Two deployments in one store's file, `prod` and `staging`."""

    def __init__(self, folder: Path, settings: str = SETTINGS) -> None:
        self.folder = folder
        self.environ = {"STRONGROOM_HOME": str(folder)}
        self.config = folder / "site.toml"
        self.config.write_text(settings.format(folder=folder))
        self.switches: dict[str, Switch] = {}
        self.notebooks: dict[str, Notebook] = {}
        self.windows: dict[str, Windows] = {}
        for name in ("prod", "staging"):
            create_room(self.config, environ=self.environ, cwd=folder, deployment=name).close()

    @contextmanager
    def house(self, **others):
        def noted(settings):
            return self.notebooks.setdefault(settings.deployment, Notebook())

        def ruled(settings):
            return self.switches.setdefault(settings.deployment, Switch())

        parts = {"recorder": noted, "policy": ruled, **others}
        with open_house(self.config, environ=self.environ, cwd=self.folder, **parts) as house:
            yield house

    def allow(self, rule: Rule, deployment: str = "prod", *, needs_facts: bool = False) -> Rules:
        """Put new rules in force."""
        rules = Rules(rule, needs_facts)
        self.switches.setdefault(deployment, Switch()).rules = rules
        return rules


def named(*names: str, actions: Sequence[Action] = tuple(Action)) -> Rule:
    """Give a rule: these names, and the room itself for listing and looking."""

    def rule(_actor, action, ref, _facts):
        if ref is None:
            return action in (Action.LIST, Action.DESCRIBE, Action.TEST)
        return action in actions and ref.name in names

    return rule


def variables(*names: str, team: str | None = None) -> list[Ref]:
    return [Ref("variable", name, team) for name in names]
