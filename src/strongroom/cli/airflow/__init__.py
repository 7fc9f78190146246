"""`strongroom airflow`: an Airflow looked at, switched over and back, and what it keeps brought here."""

from __future__ import annotations

from strongroom.cli.airflow.root import app

# Help lists the commands in the order in which these declare them.
# isort: off
from strongroom.cli.airflow import check
from strongroom.cli.airflow import switch
from strongroom.cli.airflow import bring
from strongroom.cli.airflow import adopt
# isort: on

__all__ = ["adopt", "app", "bring", "check", "switch"]
