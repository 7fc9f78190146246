"""
The same Dag in development and in production.

`../strongroom.toml` says who answers: the environment in the deployment `dev`, OpenBao in `prod`, which
`STRONGROOM_DEPLOYMENT=prod` chooses. Nothing in this file differs, and nothing in it knows.
"""

from __future__ import annotations

from datetime import datetime, timezone

try:
    from airflow.sdk import BaseHook, Variable, dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task
    from airflow.hooks.base import BaseHook
    from airflow.models import Variable


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False, tags=["strongroom"])
def two_deployments():
    @task
    def where() -> str:
        orders = BaseHook.get_connection("orders_db")
        return f"{Variable.get('region')}: {orders.host}"

    where()


two_deployments()
