"""The register of a server: found over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.caller import error_of
from strongroom.place import elsewhere
from strongroom.remote.listed import row_in
from strongroom.service.mirror import Silence
from strongroom.service.registered import Asked, Found, Registered, Shown
from strongroom.service.registration import Registration
from strongroom.wire.found import FoundPage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.caller import Client
    from strongroom.model.ref import Ref

__all__ = ["RemoteRegister"]


class RemoteRegister(Registered):
    """Find lines in the register of a server. Threads: as `Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def find(self, asked: Asked, views: Sequence[Asked] = (), *, patience: float | None = None) -> Found:
        """Give one page. As `Registered.find`; how many other *views* find is not told."""
        del views, patience
        asked.check()
        query: dict[str, object] = {name: list(values) for name, values in asked.chosen.items()}
        query |= {"sort": asked.sort, "order": "desc" if asked.is_down else "asc"}
        query |= {"q": asked.text, "begin": asked.begin, "limit": asked.count}
        told = self._client.get("/find", FoundPage, query)
        return Found(
            lines=tuple(
                Shown(Registration(row_in(row), row.health, row.place, row.clash), row.read_at)
                for row in told.entries
            ),
            total=told.total,
            all=told.all_,
            attention=told.attention,
            counts=told.counts,
            whole={},
            views=(),
            silences=tuple(
                Silence(one.backend, error_of(one.error), one.since, one.read_at) for one in told.silent
            ),
            unread=tuple(told.unread),
            not_listable=tuple(told.not_listable),
            ranks={row.backend: row.place for row in told.entries},
        )

    def lines(self, refs: Sequence[Ref]) -> list[Registration]:
        """Refuse: a server looks lines up by itself."""
        del refs
        raise elsewhere("the lines of chosen names are looked up")

    def counts(self) -> Mapping[str, int]:
        """Tell how many lines there are of each health. As `Registered.counts`."""
        found = self.find(Asked(count=0))
        return {"": found.all, **found.counts.get("health", {})}
