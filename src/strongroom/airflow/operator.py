"""
Operators: write an entry, and tell what expires.

Not for renewing a token others renew, too: that is `StrongroomHook.update` in a task of one's own.

Rules of this file:

1. The value is no template field: Airflow keeps rendered fields in its database, and the value of a Dag file
   in the serialized Dag. It is rendered all the same, when the task executes.
2. What is returned, and so becomes an XCom, is where it went; never what.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from strongroom.airflow.hook import StrongroomHook

try:
    from airflow.sdk import BaseOperator
    from airflow.sdk.definitions.xcom_arg import XComArg
except ImportError:
    from airflow.models.baseoperator import BaseOperator
    from airflow.models.xcom_arg import XComArg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.airflow.hook import Expiring
    from strongroom.model.ref import Kind

__all__ = ["StrongroomExpiryOperator", "StrongroomWriteOperator"]


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
