"""
Run an `airflow` command of which the execution API speaks its two latest versions: `python shortly.py …`.

Airflow 3 makes its API anew for each of nine versions, at the first question, and answers nothing else until
then: half a second of a core for each. Its own tasks ask in the latest.
"""

# ruff: noqa: PLC0415 -- Airflow is imported when it is there

from __future__ import annotations

import runpy
import sys


def speak_shortly():
    """Take the older versions from the execution API of this process."""
    try:
        from airflow.api_fastapi.execution_api.versions import bundle
    except ImportError:  # Airflow 2
        return
    bundle.versions = bundle.versions[:2]


if __name__ == "__main__":
    speak_shortly()
    sys.argv[0] = "airflow"
    runpy.run_module("airflow", run_name="__main__", alter_sys=True)
