"""What the doctor can tell from here of a server: whether it answers, as whom, and of its room."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from strongroom.caller import Client
from strongroom.errors import StrongroomError
from strongroom.insight.finding import LEVELS, Finding
from strongroom.service.doctor import Case, Doctor
from strongroom.wire.access import WhoAmI

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from strongroom.service.room import Room

__all__ = ["RemoteDoctor", "chosen", "doctor_of", "examiner", "rank"]

_SOON = timedelta(days=7)
_OWNER = "local-owner"  # says who the library lets in; a server has policies instead


def examiner(environ: Mapping[str, str], deployment: str | None) -> Doctor:
    """Give the doctor of the server that *environ* names; settings that are wrong are a finding."""
    from strongroom.remote.profile import whereabouts  # noqa: PLC0415 -- imports this package
    from strongroom.remote.room import RemoteRoom  # noqa: PLC0415 -- as above

    try:
        address, credential = whereabouts(environ, deployment=deployment)
        client = Client(address, credential)
    except StrongroomError as error:
        return Doctor(Case(clock=_now, trouble=error), is_owner=True)
    return RemoteDoctor(client, RemoteRoom(client), is_owner=True)


def doctor_of(client: Client, room: Room) -> Doctor:
    """Give the doctor of an open room; closing it leaves the room open."""
    return RemoteDoctor(client, room)


class RemoteDoctor(Doctor):
    """Examine a server's room as whoever the token is of. What is around the store is looked at there."""

    def __init__(self, client: Client, room: Room, *, is_owner: bool = False) -> None:
        super().__init__(Case(clock=_now, room=room), is_owner=is_owner)
        self._client = client

    def run(self, *, is_deep: bool = False, only: Sequence[str] = ()) -> list[Finding]:
        """Give all findings, worst first; where it does not answer, that alone. As `Doctor.run`."""
        try:
            seen = self._client.get("/whoami", WhoAmI)
        except StrongroomError as error:
            closed = Finding(name="room-closed", level="error", what=str(error), fix=error.hint or _FIX)
            return [closed] if not only or closed.name in only else []
        found = super().run(is_deep=is_deep, only=only)
        return sorted(
            [*chosen(self._of(seen), only), *(one for one in found if one.name != _OWNER)], key=rank
        )

    def _of(self, seen: WhoAmI) -> Iterator[Finding]:
        what = f"the server {self._client.authority} answers, and takes us for {seen.actor}"
        yield Finding(name="room-closed", level="ok", what=what)
        if seen.expires_at is not None and seen.expires_at - _now() < _SOON:
            yield Finding(
                name="ending-token",
                level="note" if seen.how == "session" else "warning",
                what=f"the {seen.how} for the server ends {seen.expires_at:%Y-%m-%d %H:%M}Z",
                fix="strongroom login" if seen.how == "session" else "have a new token issued",
            )


_FIX = "docs/remote.md tells how a server is named"


def chosen(found: Iterator[Finding], only: Sequence[str]) -> list[Finding]:
    """Give those of *found* that are asked for; () asks for all."""
    return [finding for finding in found if not only or finding.name in only]


def rank(finding: Finding) -> int:
    """Give its place among others: worst first."""
    return LEVELS.index(finding.level)


def _now() -> datetime:
    return datetime.now(timezone.utc)
