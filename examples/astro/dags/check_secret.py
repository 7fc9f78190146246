"""
Find out whether a task gets the right secret, without printing it.

In place of `print(conn.password)`, which lands in a log that many read:

- **compare**: is it the one that another place holds? A `Secret` compares in constant time and never prints;
- **a fingerprint**, keyed by the run: two tasks of a run can tell whether they got the same, and elsewhere it
  says nothing. (It can be guessed where the secret itself can: not for short ones);
- **who answered**: `strongroom explain connection orders_db`, on the worker, tells the place, the version and
  why, and no value.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone

import strongroom

try:
    from airflow.sdk import BaseHook, dag, get_current_context, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task
    from airflow.hooks.base import BaseHook
    from airflow.operators.python import get_current_context


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), catchup=False, tags=["strongroom"])
def check_secret():
    @task
    def compare() -> bool:
        given = strongroom.Secret(BaseHook.get_connection("orders_db").password)
        return given == strongroom.connection("orders_db").password

    @task
    def fingerprint() -> str:
        return fingerprint_of(BaseHook.get_connection("orders_db").password)

    @task
    def same(before: str) -> None:
        if fingerprint_of(BaseHook.get_connection("orders_db").password) != before:
            raise ValueError("the password of orders_db was changed during this run")

    @task
    def shown() -> str:
        return f"password: {strongroom.connection('orders_db').password}"

    compare()
    same(fingerprint())
    shown()


def fingerprint_of(secret: str) -> str:
    """Give 8 hexadecimal digits that tell secrets of this run apart."""
    key = hashlib.sha256(get_current_context()["run_id"].encode()).digest()
    return hashlib.blake2b(secret.encode(), key=key, digest_size=4).hexdigest()


check_secret()
