"""
Read a connection, Airflow's way and ours.

A hook takes it by its id alone: `PostgresHook(postgres_conn_id="orders_db")`, `S3Hook(aws_conn_id=…)`. None
of them has to know of Strongroom.
"""

from __future__ import annotations

from datetime import datetime, timezone

import strongroom

try:
    from airflow.sdk import BaseHook, dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task
    from airflow.hooks.base import BaseHook


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False, tags=["strongroom"])
def read_connection():
    @task
    def airflows_way() -> str:
        orders = BaseHook.get_connection("orders_db")
        return f"{orders.conn_type} at {orders.host}:{orders.port}/{orders.schema}"

    @task
    def our_way(shop: str) -> str:
        # A name may be put together of parts, each of which is checked to be one segment of a name: nobody's
        # parameter reads another entry. The password is a Secret: whatever prints it prints Secret(…).
        warehouse = strongroom.connection("warehouse_{shop}", shop=shop)
        return f"{warehouse.conn_type} at {warehouse.host}, password {warehouse.password}"

    airflows_way()
    our_way("sales")


read_connection()
