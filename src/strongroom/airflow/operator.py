"""
Operators: write an entry, tell what expires, and test connections from where tasks use them.

Not for renewing a token others renew, too: that is `StrongroomHook.update` in a task of one's own.

Rules of this file:

1. The value is no template field: Airflow keeps rendered fields in its database, and the value of a Dag file
   in the serialized Dag. It is rendered all the same, when the task executes.
2. What is returned, and so becomes an XCom, is where it went; never what.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from strongroom.airflow.hook import StrongroomHook
from strongroom.errors import BackendUnavailableError, InvalidInputError, StrongroomError
from strongroom.model.ref import Ref

try:
    from airflow.sdk import BaseOperator
    from airflow.sdk.definitions.xcom_arg import XComArg
except ImportError:
    from airflow.models.baseoperator import BaseOperator
    from airflow.models.xcom_arg import XComArg

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from strongroom.airflow.hook import Expiring
    from strongroom.model.ref import Kind
    from strongroom.service.room import Room

__all__ = ["StrongroomExpiryOperator", "StrongroomTestOperator", "StrongroomWriteOperator"]

_PAGE = 500  # names looked at a time


class StrongroomWriteOperator(BaseOperator):
    """
    Write a variable or a connection.

    Args:
        name: which one; templated.
        value: text, a template of one, an XComArg, or anything JSON holds. Rendered when the task executes,
            and never kept by Airflow with the task.
        kind: `variable` or `connection`.
        team: whose it is; templated.
        expected_version: as `strongroom.write`; templated.
        expires_in: as `strongroom.write`.
        description: as `strongroom.write`; templated.
        strongroom_conn_id: as `StrongroomHook`.
        kwargs: of every operator.

    Returns:
        `backend` and `version`, as the task's XCom.
    """

    template_fields: Sequence[str] = ("name", "team", "expected_version", "description")
    ui_color: ClassVar[str] = "#e8edf3"

    def __init__(  # noqa: PLR0913 -- what may be said of a write
        self,
        *,
        name: str,
        value: Any,  # noqa: ANN401 -- text, or any JSON
        kind: Kind = "variable",
        team: str | None = None,
        expected_version: str | None = None,
        expires_in: timedelta | float | None = None,
        description: str | None = None,
        strongroom_conn_id: str | None = None,
        **kwargs: Any,  # noqa: ANN401 -- Airflow's
    ) -> None:
        super().__init__(**kwargs)
        self.name = name
        self.value = value
        self.kind = kind
        self.team = team
        self.expected_version = expected_version
        self.expires_in = expires_in
        self.description = description
        self.strongroom_conn_id = strongroom_conn_id
        # Airflow finds upstream tasks in template fields alone.
        XComArg.apply_upstream_relationship(self, value)

    def execute(self, context: Any) -> dict[str, str | None]:  # noqa: ANN401 -- Airflow's Context
        """Write it."""
        written = StrongroomHook(self.strongroom_conn_id).write(
            self.name,
            self.render_template(self.value, context),
            kind=self.kind,
            team=self.team,
            expected_version=self.expected_version,
            expires_in=self.expires_in,
            description=self.description,
            comment=f"{context['dag'].dag_id}.{self.task_id}"[:500],
        )
        self.log.info(
            "wrote the %s %s to %s, version %s", self.kind, self.name, written.backend, written.version
        )
        return {"backend": written.backend, "version": written.version}


class StrongroomExpiryOperator(BaseOperator):
    """
    Tell what expires soon: one warning each in the task log, and to whoever is to be notified.

    Args:
        within_days: how far to look ahead.
        notifiers: called where anything expires, with the context and in it `strongroom_expiring` (a list of
            texts) and `strongroom_expiring_text` (these as lines), which their templates may use.
        strongroom_conn_id: as `StrongroomHook`.
        kwargs: of every operator.

    Returns:
        the texts, as the task's XCom; no values stand in them.
    """

    ui_color: ClassVar[str] = "#e8edf3"

    def __init__(
        self,
        *,
        within_days: float = 14,
        notifiers: Sequence[Any] = (),
        strongroom_conn_id: str | None = None,
        **kwargs: Any,  # noqa: ANN401 -- Airflow's
    ) -> None:
        super().__init__(**kwargs)
        self.within_days = within_days
        self.notifiers = list(notifiers)
        self.strongroom_conn_id = strongroom_conn_id

    def execute(self, context: Any) -> list[str]:  # noqa: ANN401 -- Airflow's Context
        """Look, warn and notify."""
        from strongroom.airflow.notifier import notified  # noqa: PLC0415 -- it loads Airflow's notifiers

        found: list[Expiring] = StrongroomHook(self.strongroom_conn_id).expiring(
            timedelta(days=self.within_days)
        )
        return notified(found, self.notifiers, context, self.log)


class StrongroomTestOperator(BaseOperator):
    """
    Test connections from this worker, step by step, and fail naming each that does not work.

    Args:
        names: which ones; templated.
        prefix: all whose names begin so, in place of *names*; templated. "" for all there are.
        conn_types: of these types alone, where no names are given.
        team: whose they are.
        strongroom_conn_id: as `StrongroomHook`.
        kwargs: of every operator.

    Returns:
        one mapping for each connection, as the task's XCom: `name`, `is_ok`, `failed` (the step), `message`,
        `advice`, `milliseconds`, and `days_left` of its certificate. No values stand in them.

    Raises:
        InvalidInputError: neither names nor a prefix nor types were given, or both.
    """

    template_fields: Sequence[str] = ("names", "prefix")
    ui_color: ClassVar[str] = "#e8edf3"

    def __init__(
        self,
        *,
        names: Sequence[str] = (),
        prefix: str | None = None,
        conn_types: Sequence[str] = (),
        team: str | None = None,
        strongroom_conn_id: str | None = None,
        **kwargs: Any,  # noqa: ANN401 -- Airflow's
    ) -> None:
        super().__init__(**kwargs)
        if bool(names) == (prefix is not None or bool(conn_types)):
            raise InvalidInputError(
                "say which connections: names, or a prefix and types", hint='names=["orders_db"]'
            )
        self.names = [*names]
        self.prefix = prefix
        self.conn_types = [*conn_types]
        self.team = team
        self.strongroom_conn_id = strongroom_conn_id

    def execute(self, context: Any) -> list[dict[str, Any]]:  # noqa: ANN401, ARG002 -- Airflow's Context
        """
        Test them.

        Raises:
            BackendUnavailableError: some do not work; names each, with its step and what to do.
        """
        room = StrongroomHook(self.strongroom_conn_id).room
        tested = [self._tested(room, ref) for ref in self._refs(room)]
        for one in tested:
            (self.log.info if one["is_ok"] else self.log.warning)("%s", _line(one))
        failed = [one for one in tested if not one["is_ok"]]
        if failed:
            told = "; ".join(map(_line, failed))
            raise BackendUnavailableError(
                f"{len(failed)} of {len(tested)} connections do not work: {told}", backend="connections"
            )
        return tested

    def _refs(self, room: Room) -> Iterator[Ref]:
        if self.names:
            yield from (Ref("connection", name, self.team) for name in self.names)
            return
        after: Ref | None = None
        while rows := room.inventory.page(after=after, limit=_PAGE):
            for row in rows:
                is_meant = row.ref.kind == "connection" and row.ref.team == self.team
                is_of_type = not self.conn_types or row.metadata.conn_type in self.conn_types
                if is_meant and is_of_type and row.ref.name.startswith(self.prefix or ""):
                    yield row.ref
            if rows[-1].ref == after:
                return
            after = rows[-1].ref

    def _tested(self, room: Room, ref: Ref) -> dict[str, Any]:
        told: dict[str, Any] = {"name": ref.name, "is_ok": False, "failed": None, "advice": ""}
        try:
            trial = room.tests.begin(ref, environ=os.environ).trial
        except StrongroomError as error:
            return told | {"message": str(error), "advice": error.hint or ""}
        if trial is None:
            return told | {"message": "it was not tested"}
        failed = trial.tested.failed
        days = [step.days_left for step in trial.steps if step.days_left is not None]
        return told | {
            "is_ok": trial.is_ok,
            "failed": None if failed is None else failed.name,
            "message": trial.said,
            "advice": trial.tested.advice,
            "milliseconds": round(sum(step.milliseconds for step in trial.steps), 1),
            "days_left": min(days, default=None),
        }


def _line(one: dict[str, Any]) -> str:
    advice = f" (to do: {one['advice']})" if one["advice"] else ""
    return f"{one['name']}: {one['message']}{advice}"
