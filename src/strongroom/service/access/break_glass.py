"""
Break the glass: whoever policy lets is an administrator for a while, in need, and everybody hears of it.

Rules of this file:

1. The right is policy's own action (`break_glass`): who may take an administrator's place needs none of his
   rights before.
2. It takes a reason and ends by itself. One at a time each: a longer need is another reason.
3. It is loud: a record of its own before and after, an alarm in the log, a figure, and a word in every
   `whoami` of that person. Read-only mode does not stand in its way, and changes nothing of that mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from strongroom.errors import ConflictError, InvalidInputError, NotFoundError
from strongroom.model.principal import PERSON as PREFIX
from strongroom.model.principal import check_actor
from strongroom.policy import Action
from strongroom.registry import ABSENT, Change
from strongroom.service.access.desk import Done, standing
from strongroom.service.access.shape import BREAK_GLASS, PERSON, Glass, decoded, encoded
from strongroom.service.access.standing import glass_of

if TYPE_CHECKING:
    from strongroom.registry import Snapshot
    from strongroom.service.access.desk import Desk

__all__ = ["BreakGlass", "GlassRow"]

_MAX_REASON_CHARACTERS = 500
_SHORTEST = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class GlassRow:
    """
    That a person broke the glass.

    Args:
        actor: who is an administrator until *expires*.
        reason: why, in his words.
        source: the address he did it from; "" on the host.
    """

    actor: str
    reason: str
    begun: datetime
    expires: datetime
    source: str


class BreakGlass:
    """Break the glass, and end that, as one actor. Every act raises what those of `People` do."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def begin(self, reason: str, lifetime: timedelta) -> GlassRow:
        """
        Be an administrator for *lifetime*.

        Args:
            reason: 1 to 500 printable characters; it is recorded.
            lifetime: from a minute to what the settings say (`access.break_glass_seconds`).

        Raises:
            InvalidInputError: there is no reason, or the lifetime is none; or the actor is no person.
            AccessDeniedError: policy does not let him.
            ConflictError: he did already, and it has not ended.
        """
        self._desk.require(Action.BREAK_GLASS)
        actor, now = self._desk.actor, self._desk.now()
        why, longest = _checked(reason), self._desk.gate.demands.glass
        if not actor.id.startswith(PREFIX):
            raise InvalidInputError("only a person breaks the glass", hint="log in as the person you are")
        if not _SHORTEST <= lifetime <= longest:
            hours = longest.total_seconds() / 3600
            raise InvalidInputError(f"the glass is broken for a minute to {hours:g} hours")
        name = actor.id.removeprefix(PREFIX)
        body = Glass(reason=why, begun=now, expires=now + lifetime, source=actor.source)

        def decide(snapshot: Snapshot) -> list[Change]:
            standing(snapshot, PERSON, name, f"person {name}")
            if glass_of(snapshot, actor.id, now) is not None:
                raise ConflictError(
                    "the glass is broken already",
                    hint="strongroom access break-glass end, then begin again with the new reason",
                )
            row = snapshot.of(BREAK_GLASS).get(name)
            return [Change(BREAK_GLASS, name, encoded(body), ABSENT if row is None else row.revision)]

        self._desk.administer(
            lambda: Done(str(self._desk.registry.change(decide))),
            reason=f"alarm: {actor.id} breaks the glass until {body.expires:%Y-%m-%d %H:%M:%S}Z: {why}",
            action=Action.BREAK_GLASS,
        )
        _alarm("alarm: %s broke the glass and is an administrator until %s", actor.id, body.expires)
        return _row(name, body)

    def end(self, actor: str | None = None) -> Done:
        """
        End it before its time: one's own always, that of another as an administrator.

        Args:
            actor: whose; None for one's own.

        Raises:
            NotFoundError: the glass is whole.
        """
        whose = self._desk.actor.id if actor is None else check_actor(actor)
        name = whose.removeprefix(PREFIX)
        is_own = whose == self._desk.actor.id
        if not is_own:
            self._desk.require()

        def decide(snapshot: Snapshot) -> list[Change]:
            if glass_of(snapshot, whose, self._desk.now()) is None:
                raise NotFoundError(f"{whose} did not break the glass, or it has ended")
            return [Change(BREAK_GLASS, name, None)]

        reason = f"{whose} is no administrator by break-glass any more"
        if not is_own:
            work = self._desk.administer(lambda: Done(str(self._desk.registry.change(decide))), reason=reason)
        else:
            # Whoever took a right may give it back, whatever policy says by now.
            work = Done(str(self._desk.registry.change(decide)))
            self._desk.gate.record(whose, "done", reason, Action.BREAK_GLASS.value)
        _alarm(
            "alarm: %s is no administrator by break-glass any more: ended by %s", whose, self._desk.actor.id
        )
        return work

    # Last, because from here on `list` is not the builtin.
    def list(self) -> list[GlassRow]:
        """Give whoever broke the glass and is an administrator now; who does not administer sees his own."""
        now, own = self._desk.now(), self._desk.actor.id
        sees_all = self._desk.may()
        found = [
            _row(row.id, body)
            for row in self._desk.rows().of(BREAK_GLASS).values()
            if now < (body := decoded(row, Glass)).expires and (sees_all or PREFIX + row.id == own)
        ]
        return sorted(found, key=lambda one: (one.expires, one.actor))


def _checked(reason: str) -> str:
    why = reason.strip()
    if not 0 < len(why) <= _MAX_REASON_CHARACTERS or not why.isprintable():
        raise InvalidInputError(
            f"breaking the glass takes a reason of 1 to {_MAX_REASON_CHARACTERS} printable characters",
            limit=_MAX_REASON_CHARACTERS if len(why) > _MAX_REASON_CHARACTERS else None,
            hint="say what is broken, and where it is followed up",
        )
    return why


def _row(name: str, body: Glass) -> GlassRow:
    return GlassRow(
        actor=PREFIX + name, reason=body.reason, begun=body.begun, expires=body.expires, source=body.source
    )


def _alarm(text: str, *said: object) -> None:
    import logging  # noqa: PLC0415 -- only where somebody is to be woken

    logging.getLogger("strongroom.access").error(text, *said)
