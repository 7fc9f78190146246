"""
Read a variable.

Nothing here says where it is kept: Airflow asks its secrets backend, which asks the environment, a Vault, a
store of Strongroom's or whatever the settings name.
"""

from __future__ import annotations

from datetime import datetime, timezone

import strongroom

try:
    from airflow.sdk import Variable, dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task
    from airflow.models import Variable


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False, tags=["strongroom"])
def read_variable():
    @task
    def report() -> str:
        region = Variable.get("region")
        limits = Variable.get("limits", deserialize_json=True)
        # A default is for what is nowhere. What is denied, or cannot be asked just now, stops the task: a
        # default in its place would be a wrong value that nobody notices.
        mode = strongroom.variable("mode", default="careful")
        return f"at most {limits['orders']} orders in {region}, {mode}"

    report()


read_variable()
