"""
Work for hours with a secret that is changed meanwhile.

Ask for the connection again before each piece of work, and do not keep it: asking costs microseconds. After a
rotation the next answer is the new value: at once where an agent is told of the change, else within the
`cache.ttl` of the settings.
"""

from __future__ import annotations

import urllib.request
from datetime import datetime, timezone

try:
    from airflow.sdk import BaseHook, dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task
    from airflow.hooks.base import BaseHook


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["strongroom"],
    params={"batches": 2},
)
def rotated_secret():
    @task
    def bill(batches: str) -> list[int]:
        return [send(batch) for batch in range(int(batches))]

    bill("{{ params.batches }}")


def send(batch: int) -> int:
    """Send one batch to the billing API, with the token that is good now."""
    billing = BaseHook.get_connection("billing_api")
    request = urllib.request.Request(  # noqa: S310 -- the scheme is the connection's
        f"{billing.schema or 'https'}://{billing.host}:{billing.port}/batches/{batch}",
        method="POST",
        headers={"Authorization": f"Bearer {billing.password}"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 -- as above
        return int(answer.status)


rotated_secret()
