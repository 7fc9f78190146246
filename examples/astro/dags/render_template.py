"""
Use variables and connections in templates.

Where a program wants a password, hand it over in its environment and never on its command line, which every
user of the machine can read. In Airflow's page of rendered templates it is `***`.
"""

from __future__ import annotations

from datetime import datetime, timezone

try:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import dag
except ImportError:  # Airflow 2
    from airflow.decorators import dag
    from airflow.operators.bash import BashOperator


@dag(
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=timezone.utc),
    catchup=False,
    tags=["strongroom"],
    params={"team": "sales"},
)
def render_template():
    BashOperator(
        task_id="count",
        # In place of psql: tells that it got all it needs.
        bash_command='test -n "$PGPASSWORD" && echo "$PGHOST, $REGION, $WAREHOUSE"',
        env={
            "PGHOST": "{{ conn.orders_db.host }}",
            "PGPASSWORD": "{{ conn.orders_db.password }}",
            "REGION": "{{ var.value.region }}",
            "WAREHOUSE": "{{ conn.get('warehouse_' ~ params.team).host }}",
        },
        append_env=True,
    )


render_template()
