"""
A pytest plugin: the fixture `strongroom_room`, a room over a fake for tests of one's own DAGs.

```python
def test_my_task(strongroom_room):
    strongroom_room.connection("orders_db", "postgres://u:p@db/orders")
    strongroom_room.variable("region", "eu")
    assert my_task() == "read from eu"      # which calls strongroom.connection("orders_db")
```

Inside the test `strongroom.connection`, `variable`, `follow` and their async forms answer from this
room and from nothing else: no settings, no environment, no store. Needs the base install only, and
imports nothing of Strongroom before the fixture is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from strongroom.model.ref import Kind
    from strongroom.service.room import Room
    from strongroom.testing.fakes import Flaky

__all__ = ["FakeRoom", "strongroom_room"]


class FakeRoom:
    """
    A room that holds what a test puts into it.

    Attributes:
        room: the room itself, with all its nouns.
        backend: the fake behind it: `backend.fail()` is an outage, `backend.calls` what was asked.

    Nothing is cached, so a test sees trouble and changes at once.
    """

    def __init__(self, folder: Path) -> None:
        from strongroom.assembly import room_of  # noqa: PLC0415 -- see the module
        from strongroom.chain import Link  # noqa: PLC0415
        from strongroom.settings import load  # noqa: PLC0415
        from strongroom.testing.fakes import Flaky, utc_now  # noqa: PLC0415

        environ = {
            "STRONGROOM_HOME": str(folder),
            "STRONGROOM__CACHE__TTL": "0",
            "STRONGROOM__CACHE__ABSENT_TTL": "0",
            "STRONGROOM__CACHE__STALE_IF_ERROR": "0",
        }
        self.backend: Flaky = Flaky("fake", clock=utc_now)
        settings = load(environ=environ, cwd=folder)
        self.room: Room = room_of([Link(backend=self.backend)], settings, clock=utc_now)

    def connection(
        self, name: str, connection: str | Mapping[str, object], *, team: str | None = None
    ) -> None:
        """
        Hold a connection.

        Args:
            name: its name.
            connection: a URI or JSON text, or Airflow's fields (`{"conn_type": "http", "host": "h"}`).
            team: whose it is.

        Raises:
            InvalidInputError: it is no connection, so that a test does not prove nonsense.
        """
        from strongroom.model.connection import Connection  # noqa: PLC0415

        if isinstance(connection, str):
            Connection.parse(connection)
            text = connection
        else:
            text = Connection.from_dict(connection).format("json").reveal()
        self._put("connection", name, text, team)

    def variable(self, name: str, value: object, *, team: str | None = None) -> None:
        """Hold a variable; what is not text is held as JSON."""
        import json  # noqa: PLC0415

        self._put("variable", name, value if isinstance(value, str) else json.dumps(value), team)

    def _put(self, kind: Kind, name: str, text: str, team: str | None) -> None:
        from strongroom.model.ref import Ref  # noqa: PLC0415

        self.backend.put(Ref(kind, name, team), text)


@pytest.fixture
def strongroom_room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeRoom]:
    """Answer `strongroom.connection` and the like from what the test puts into this room."""
    import strongroom  # noqa: PLC0415 -- see the module

    fake = FakeRoom(tmp_path_factory.mktemp("strongroom"))
    with fake.room, strongroom.use_room(fake.room):
        yield fake
