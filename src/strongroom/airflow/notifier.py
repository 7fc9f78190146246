"""
Tell what expires within some days, as a callback of a task or Dag: names and times, never a value.

    from strongroom.airflow import StrongroomNotifier

    with DAG("nightly", on_success_callback=StrongroomNotifier(within_days=30)): …

`StrongroomExpiryOperator` does the same as a task of its own.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from strongroom.airflow.hook import StrongroomHook

try:
    from airflow.sdk import BaseNotifier
except ImportError:
    from airflow.notifications.basenotifier import BaseNotifier

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterable, Sequence

    from strongroom.airflow.hook import Expiring

__all__ = ["StrongroomNotifier", "notified"]


class StrongroomNotifier(BaseNotifier):  # noqa: AIR301 -- its place in 2 is the second one asked
    """
    Warn of each entry that expires soon, and have others notified.

    Args:
        within_days: how far to look ahead.
        notifiers: as `StrongroomExpiryOperator`: Slack, mail, … of Airflow's providers, or any callable.
        strongroom_conn_id: as `StrongroomHook`.
    """

    def __init__(
        self,
        *,
        within_days: float = 14,
        notifiers: Sequence[Any] = (),
        strongroom_conn_id: str | None = None,
    ) -> None:
        super().__init__()
        self.within_days = within_days
        self.notifiers = list(notifiers)
        self.strongroom_conn_id = strongroom_conn_id

    def notify(self, context: Any) -> None:  # noqa: ANN401 -- Airflow's Context
        """Look, warn and notify."""
        import logging  # noqa: PLC0415 -- loaded long before

        hook = StrongroomHook(self.strongroom_conn_id)
        found = hook.expiring(timedelta(days=self.within_days))
        notified(found, self.notifiers, context, logging.getLogger("strongroom.airflow.notifier"))

    async def async_notify(self, context: Any) -> None:  # noqa: ANN401 -- Airflow's Context
        """Do what `notify` does without blocking the loop."""
        from asyncio import to_thread  # noqa: PLC0415 -- who awaits has it loaded

        await to_thread(self.notify, context)


def notified(
    found: Iterable[Expiring],
    notifiers: Iterable[Any],
    context: Any,  # noqa: ANN401 -- Airflow's Context
    log: logging.Logger,
) -> list[str]:
    """Warn of each of *found* and, where there are any, call each of *notifiers*; give the texts."""
    texts = [str(one) for one in found]
    for text in texts:
        log.warning("%s", text)
    if texts:
        told = {**context, "strongroom_expiring": texts, "strongroom_expiring_text": "\n".join(texts)}
        for each in notifiers:
            each(told)
    return texts
