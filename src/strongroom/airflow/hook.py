"""
Read, write and follow entries in a task, where this process asks or at the place of a connection.

    from strongroom.airflow import StrongroomHook

    hook = StrongroomHook()                        # asks where the secrets backend asks
    token = hook.update("api_token", renew, expires_in=3600)

Not for answering Airflow's own lookups (`backend.py`). Everything that is given out, and everything that is
written, is hidden from then on in what this process logs (`hiding.py`).
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

import strongroom
from strongroom.airflow.hiding import hide, hiding, telling
from strongroom.airflow.options import Options, options_of
from strongroom.airflow.provider import CONN_FIELDS, UI_FIELD_BEHAVIOUR
from strongroom.airflow.source import source_of
from strongroom.errors import AccessDeniedError, InvalidInputError, NotAuthenticatedError, StrongroomError
from strongroom.model.connection import Connection
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret

try:
    from airflow.sdk.bases.hook import BaseHook
except ImportError:
    from airflow.hooks.base import BaseHook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.airflow.source import Source
    from strongroom.live.follow import Follow
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Kind
    from strongroom.service.entries import Written
    from strongroom.service.room import Room
    from strongroom.service.writing import Writing

__all__ = ["Expiring", "StrongroomHook", "text_of"]

_REQUIRED = object()
_PROBE = Ref("config", "strongroom-health")  # a name that nothing has
_PAGE = 500  # names looked at a time


class Expiring(NamedTuple):
    """
    An entry that ends soon, or that somebody wanted to be reminded of.

    Args:
        backend: the place that holds it.
        what: `expires` (then it is gone), `not after` (then it is refused) or `remind`.
        at: when, UTC.
    """

    kind: str
    name: str
    team: str | None
    backend: str
    what: str
    at: datetime

    def __str__(self) -> str:
        team = "" if self.team is None else f" of team {self.team}"
        return f'{self.kind} "{self.name}"{team} in {self.backend}: {self.what} {self.at:%Y-%m-%d %H:%M} UTC'


class StrongroomHook(BaseHook):
    """
    Ask one place.

    Args:
        strongroom_conn_id: a connection of type `strongroom`, which says where; None: where the secrets
            backend of this process asks.
        kwargs: as Airflow's own hooks take them.

    Threads: may be used from several threads, in the process that made it.
    """

    conn_name_attr = "strongroom_conn_id"
    default_conn_name = "strongroom_default"
    conn_type = "strongroom"
    hook_name = "Strongroom"

    def __init__(self, strongroom_conn_id: str | None = None, **kwargs: Any) -> None:  # noqa: ANN401 -- Airflow's
        super().__init__(**kwargs)
        self.strongroom_conn_id = strongroom_conn_id
        self._source: Source | None = None

    # --- reading -----------------------------------------------------------------------------------

    def variable(
        self, name: str, default: object = _REQUIRED, *, json: bool = False, team: str | None = None
    ) -> Any:  # noqa: ANN401 -- text, or any JSON
        """Give the text of a variable; arguments and errors as `strongroom.variable`."""
        lookup = self.room.lookup
        found = lookup.find_variable(name, team)
        if found is None:
            if default is not _REQUIRED:
                return default
            raise lookup.absent(Ref("variable", name, team))
        hide("variable", name, found.secret)
        return lookup.json_of(found) if json else found.secret.reveal()

    def connection(self, name: str, *, team: str | None = None) -> Connection:
        """Give a connection; errors as `strongroom.connection`. `get_connection` gives Airflow's own form."""
        found = self.room.lookup.connection(name, team)
        hide("connection", name, found)
        return found

    def follow(
        self,
        name: str,
        on_change: Callable[[Entry], None] | None = None,
        *,
        kind: Kind = "connection",
        team: str | None = None,
        interval: timedelta | None = None,
    ) -> Follow:
        """Follow an entry; arguments and errors as `strongroom.follow`. Each version is hidden first."""
        on_change = telling(kind, name, on_change)
        following = self.room.lookup.follow(Ref(kind, name, team), on_change, interval=interval)
        hide(kind, name, following.current.secret)
        return following

    # --- writing -----------------------------------------------------------------------------------

    def write(self, name: str, value: object, *, kind: Kind = "variable", **said: Any) -> Written:  # noqa: ANN401 -- as there
        """
        Write an entry; arguments and errors as `strongroom.write`.

        Args:
            name: which one.
            value: as there; anything else that is JSON is written as its text.
            kind: as there.
            said: as there.
        """
        given = text_of(value)
        hide(kind, name, given)
        return self._writing.write(name, given, kind=kind, **said)

    def update(
        self,
        name: str,
        change: Callable[[str | None], str | Secret[str] | Connection | None],
        *,
        kind: Kind = "variable",
        team: str | None = None,
        **said: Any,  # noqa: ANN401 -- as there
    ) -> str | None:
        """Change a value that others may change, too; arguments and errors as `strongroom.update`."""
        return self._writing.update(Ref(kind, name, team), hiding(kind, name, change), **said)

    # --- what ends ---------------------------------------------------------------------------------

    def expiring(self, within: timedelta = timedelta(days=14)) -> list[Expiring]:
        """
        Tell what ends, or is to be renewed, within that time or ended before; the soonest first, no values.

        Only of places that tell: our own store does, and a server and an agent of what stands in theirs.

        Raises:
            AccessDeniedError, BackendUnavailableError: there is no list.
        """
        until = datetime.now(timezone.utc) + within
        found: list[Expiring] = []
        after: Ref | None = None
        while True:
            rows = self.room.inventory.page(after=after, limit=_PAGE)
            for row in rows:
                for what, at in _ends(row.metadata):
                    if at <= until:
                        found.append(Expiring(*row.ref, row.backend, what, at))
            if not rows or rows[-1].ref == after:
                return sorted(found, key=lambda one: one.at)
            after = rows[-1].ref

    # --- where it asks -----------------------------------------------------------------------------

    @property
    def room(self) -> Room:
        """A room of the place, for all else that can be done there (docs/python.md)."""
        return self._asked.room()

    def get_conn(self) -> Room:
        """Give `room`, as Airflow's hooks call it."""
        return self.room

    @property
    def _writing(self) -> Writing:
        source = self._asked
        agent = source.client
        return strongroom._writing(agent, None if agent is not None else source.room())  # noqa: SLF001 -- its other caller

    @property
    def _asked(self) -> Source:
        if self._source is None:
            self._source = self._named() if self.strongroom_conn_id else _configured()
        return self._source

    def _named(self) -> Source:
        return source_of(_options_in(self.get_connection(self.strongroom_conn_id)))

    def test_connection(self) -> tuple[bool, str]:
        """Tell whether the place answers, for the button of Airflow's form."""
        place = "place"
        try:
            source = self._asked
            place = source.place
            if source.client is not None:
                source.client.ping()
                return True, f"the {place} answers"
            source.room().lookup.find(_PROBE)
        except NotAuthenticatedError as error:
            return False, _line(error)
        except AccessDeniedError:
            return True, f"the {place} answers, and lets this token read some names only"
        except StrongroomError as error:
            return False, _line(error)
        return True, f"the {place} answers"

    # --- the form of Airflow 2 -----------------------------------------------------------------------

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Give the fields beside Airflow's own."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget  # noqa: PLC0415 -- Airflow 2's web server
        from wtforms import StringField  # noqa: PLC0415 -- as above

        return {
            name: StringField(
                str(field["label"]), description=str(field["description"]), widget=BS3TextFieldWidget()
            )
            for name, field in CONN_FIELDS.items()
        }

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Give how Airflow's own fields are shown."""
        return {key.replace("-", "_"): value for key, value in UI_FIELD_BEHAVIOUR.items()}


def text_of(value: object) -> str | Secret[str] | Connection:
    """
    Give what is written of *value*: itself, or its JSON.

    Raises:
        InvalidInputError: it is no JSON.
    """
    if isinstance(value, (str, Secret, Connection)):
        return value
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        pass
    raise InvalidInputError(
        f"a value of type {type(value).__name__} is no text and no JSON",
        hint="write text, or what JSON holds",
    )


def _configured() -> Source:
    """Give where the secrets backend of this process asks; without one, what is found as everywhere."""
    configured = strongroom._configured  # noqa: SLF001 -- as in the class
    return source_of(Options()) if configured is None else configured()


def _options_in(found: Any) -> Options:  # noqa: ANN401 -- Airflow's Connection
    """
    Give where a connection of type `strongroom` says to ask.

    Raises:
        SettingsError: it says what cannot be.
    """
    extra: Mapping[str, Any] = found.extra_dejson
    said = {name: extra.get(name) or None for name in CONN_FIELDS}
    host = found.host or ""
    if host and "://" not in host:
        host = f"https://{host}" + (f":{found.port}" if found.port else "")
    return options_of({"url": host or None, "token": found.password or None, **said})


def _ends(metadata: Any) -> list[tuple[str, datetime]]:  # noqa: ANN401 -- model.entry.Metadata
    said = [
        ("expires", metadata.expires_at),
        ("not after", metadata.not_after),
        ("remind", metadata.remind_at),
    ]
    return [(what, at) for what, at in said if at is not None]


def _line(error: StrongroomError) -> str:
    return f"{error} ({error.hint})" if error.hint else str(error)
