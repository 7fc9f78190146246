"""
Test connections every night from where tasks use them, and fail before the tasks do.

The task fails with one line for each connection that does not work: the step that failed (name, connection,
TLS, sign-in, read …) and what to do. Nothing of a value is told. One task for each queue tests from each kind
of worker.
"""

from __future__ import annotations

from datetime import datetime, timezone

from strongroom.airflow import StrongroomTestOperator

try:
    from airflow.sdk import dag
except ImportError:  # Airflow 2
    from airflow.decorators import dag


@dag(
    schedule="0 5 * * *",
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["strongroom"],
)
def nightly_check():
    StrongroomTestOperator(task_id="before_the_orders", names=["orders_db", "billing_api"])


nightly_check()
