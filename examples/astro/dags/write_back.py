"""
Write a secret back: a token that was refreshed, for every task that comes after.

Two tasks may refresh it at the same time. `strongroom.update` writes only over what it has read, and asks
again where another was faster, so nothing is lost; `expires_in` has the value gone when the token is.

`Variable.set` writes into Airflow's own database instead, where the secrets backend hides it from readers.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import strongroom

try:
    from airflow.sdk import Variable, dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task
    from airflow.models import Variable


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False, tags=["strongroom"])
def write_back():
    @task
    def refresh() -> None:
        strongroom.update("billing_session", refreshed, expires_in=timedelta(hours=1))

    @task
    def use() -> int:
        session = Variable.get("billing_session", deserialize_json=True)
        return int(session["uses"])

    refresh() >> use()


def refreshed(standing: str | None) -> str:
    """Give the session that follows *standing*. It may be called more than once, so it does nothing else."""
    uses = json.loads(standing)["uses"] if standing else 0
    return json.dumps({"token": f"session-{datetime.now(timezone.utc):%Y%m%d%H%M%S%f}", "uses": uses + 1})


write_back()
