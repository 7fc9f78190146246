"""
Testing connections as one actor: from here, from the server, from an agent; and how tests went before.

Not for what a test does (`live/probe.py`), nor for what is kept of it (`trials.py`).

Rules of this file:

1. A test uses a connection as its owner would, so it is decided twice: it may be tested, and, where it is
   brought here for that, it may be read. Both are on record.
2. What a test tells is a step, a word for why and what to do; no text of a driver, a service or a connection.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from strongroom.errors import InvalidInputError, NotFoundError, StrongroomError
from strongroom.live import probe
from strongroom.live.around import Around
from strongroom.model.ref import Ref
from strongroom.policy import Action
from strongroom.service.guard import event_of
from strongroom.service.lookup import parse_stored
from strongroom.service.trials import AGENT, HERE, SERVER, Trial, sentence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from strongroom.live.probe import Limits, Tested
    from strongroom.model.connection import Connection, Dialect
    from strongroom.model.entry import Entry
    from strongroom.policy import Actor
    from strongroom.service.guard import Guard
    from strongroom.service.lookup import Lookup
    from strongroom.service.trials import Trials

__all__ = ["ConnectionTests", "Tester", "Tried", "checked_place", "sentences", "told"]

_NAMES_ANOTHER = "_conn_id"  # what a key of extra ends in that names another connection
_OF_AWS = "aws_conn_id"
_MOST_OTHERS = 8


class Tried(NamedTuple):
    """
    A test that was asked for.

    Args:
        trial: how it went; None while an agent is waited for.
        order: what the agent was given; "" where it is done.
        until: the agent is waited for so long.
    """

    trial: Trial | None
    order: str = ""
    until: datetime | None = None


class Tester:
    """
    Do a test of what one reader reads.

    Args:
        read: gives an entry with its references resolved; None where there is none.
        limits: where a test may lead, and with which options.
        clock: UTC.
        dialect: how connections are read.
        environ: of this process, for tests that may use what is around it.

    Threads: may be used from several at once; a test takes up to some seconds.
    """

    def __init__(
        self,
        read: Callable[[Ref], Entry | None],
        *,
        limits: Limits,
        clock: Callable[[], datetime],
        dialect: Dialect = "core",
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._read = read
        self._limits = limits
        self._clock = clock
        self._dialect = dialect
        self._around = Around(environ=environ, now=clock, run=_no_run, held=_no_other)

    def entry(self, entry: Entry, *, by: str, place: str) -> Trial:
        """
        Test the connection in *entry*.

        Args:
            entry: with its references resolved.
            by: the id of who asked for it.
            place: as of `Trial`.

        Raises:
            MalformedEntryError: it is no connection.
        """
        tested = self.connection(entry.ref, parse_stored(entry, self._dialect))
        return Trial(
            self._clock(), by, place, tested.failed is None, entry.version, tested.steps, tested.hint
        )

    def connection(self, ref: Ref, connection: Connection) -> Tested:
        """Test *connection*, which is called *ref*."""
        also = self._named_in(connection, ref.team)
        return probe.tested(ref.name, connection, self._limits, around=self._around, also=also)

    def _named_in(self, connection: Connection, team: str | None) -> Mapping[str, Connection]:
        """Give those that *connection* gets its credentials from; one that cannot be read is left out."""
        found: dict[str, Connection] = {}
        for name in _others(connection)[:_MOST_OTHERS]:
            try:
                entry = self._read(Ref("connection", name, team))
                if entry is not None:
                    found[name] = parse_stored(entry, self._dialect)
            except StrongroomError:
                continue  # the step that needs it says that it is missing
        return found


def _no_run() -> None:
    """Tell of no run: a test works for none."""


def _no_other(name: str, _team: str | None) -> NoReturn:
    raise NotFoundError(f"a test is given every connection it needs, and {name!r} is none of them")


def _others(connection: Connection) -> list[str]:
    extra = connection.to_dict(reveal=True)["extra"]
    if not isinstance(extra, dict):
        return []
    if extra.get("iam") and not extra.get(_OF_AWS):
        extra = {**extra, _OF_AWS: "aws_default"}  # as Airflow's hooks and `live/login_token.py` take it
    named = extra.items()
    return [text for key, text in named if key.endswith(_NAMES_ANOTHER) and isinstance(text, str) and text]


class ConnectionTests:
    """
    Test connections, and look at how tests went.

    Args:
        lookup: reads what is tested here.
        guard: decides and records; None where that is done elsewhere.
        trials: gives what keeps how tests went; None where nothing is kept.

    Threads: may be used from several at once; a test takes up to some seconds.
    """

    def __init__(
        self,
        lookup: Lookup,
        guard: Guard | None,
        actor: Actor,
        *,
        trials: Callable[[], Trials | None],
        clock: Callable[[], datetime],
        dialect: Dialect = "core",
    ) -> None:
        self._lookup = lookup
        self._guard = guard
        self._actor = actor
        self._trials = trials
        self._clock = clock
        self._dialect = dialect

    def begin(self, ref: Ref, *, on: str = HERE, environ: Mapping[str, str] = MappingProxyType({})) -> Tried:
        """
        Test the connection *ref* and keep how it went. That it fails is an answer, not an error.

        Args:
            ref: as somebody asks for it.
            on: `here`, from this process; `server`, `agent` and `agent:NAME` are of the room of a server.
            environ: of this process: the identity that its cloud gave it may be used from here.

        Raises:
            InvalidInputError: it is no connection, or there is no such place.
            NotFoundError: there is none.
            AccessDeniedError: it may not be tested, or not from there.
            As `Lookup.entry`.
        """
        if checked_place(on) != HERE:
            raise InvalidInputError(
                f"no server is asked, so that nothing can be tested from {on!r}",
                hint="say --on here; or name a server: strongroom login",
            )
        return Tried(self._here(ref, environ))

    def places(self, ref: Ref) -> tuple[str, ...]:
        """Give from where *ref* may be tested through this room, what is meant unless it is said first."""
        del ref
        return (HERE,)

    def _here(self, ref: Ref, environ: Mapping[str, str]) -> Trial:
        if ref.kind != "connection":
            raise InvalidInputError("only a connection can be tested")
        if self._guard is None:
            return self._tried(ref, environ)
        guard, actor = self._guard, self._actor
        trial = guard.act(actor, Action.TEST, ref, lambda: self._tried(ref, environ))
        guard.recorder.append(event_of(actor, Action.TEST, ref, "done" if trial.is_ok else "failed"))
        trials = self._trials()
        if trials is not None:
            trials.keep(ref, trial)
        return trial

    def _tried(self, ref: Ref, environ: Mapping[str, str]) -> Trial:
        entry = self._lookup.anew(ref)
        if entry is None:
            raise self._lookup.absent(ref)
        limits = probe.Limits(networks=None, has_any_option=True)
        tester = Tester(
            self._lookup.find, limits=limits, clock=self._clock, dialect=self._dialect, environ=environ
        )
        return tester.entry(entry, by=self._actor.id, place=HERE)

    def order(self, ref: Ref, order: str) -> Tried:
        """
        Tell how the test went that an agent was given as *order*, or that it is waited for.

        Raises:
            InvalidInputError: no agent is asked here.
            BackendUnavailableError: it gave no answer in time.
            As `history`.
        """
        raise InvalidInputError(f"no agent was given {order!r} here to test {ref}")

    def history(self, ref: Ref) -> tuple[Trial, ...]:
        """
        Give how the last tests of *ref* went, newest first.

        Raises:
            AccessDeniedError: the actor may not look at it.
        """
        trials = self._trials()
        if trials is None:
            return ()
        if self._guard is None:
            return trials.of(ref)
        return self._guard.act(self._actor, Action.DESCRIBE, ref, lambda: trials.of(ref))

    def failing(self) -> Mapping[Ref, Trial]:
        """Give the last test of each connection whose last test failed, as far as the actor may list it."""
        trials = self._trials()
        if trials is None:
            return {}
        if self._guard is None:
            return trials.failing()
        guard, actor = self._guard, self._actor
        return {
            ref: trial
            for ref, trial in trials.failing().items()
            if guard.can(actor, Action.LIST, ref).is_allowed
        }


def checked_place(on: str) -> str:
    """
    Give *on*, where it says a place.

    Raises:
        InvalidInputError: it does not.
    """
    if on in (HERE, SERVER, AGENT[:-1]) or (on.startswith(AGENT) and len(on) > len(AGENT)):
        return on
    raise InvalidInputError(
        "a connection is tested from here, from the server or from an agent",
        hint="say here, server, agent or agent:NAME",
    )


def told(trial: Trial) -> tuple[str, str]:
    """Give how *trial* went in one sentence, and what to do; "" where nothing is."""
    return trial.said, trial.tested.advice


def sentences(tested: Tested) -> tuple[str, str]:
    """Give how a test went in one sentence, and what to do; "" where nothing is."""
    return sentence(tested), tested.advice
