"""Which of Airflow's processes this is, by what is loaded in it."""

from __future__ import annotations

import subprocess
import sys

import pytest

STAND_IN = """
import os, sys, types

def loaded(name, **holds):
    module = sys.modules[name] = types.ModuleType(name)
    vars(module).update(holds)

def of(name):
    return type(name, (), {})()

%s
from strongroom.airflow.process import has_portal, major, which
print(which().value, major(), has_portal())
"""
RUNNER = "airflow.sdk.execution_time.task_runner"
STACK_3 = "airflow.sdk.definitions._internal.contextmanager"
STACK_2 = "airflow.models.taskinstance"
TI = 'loaded("structlog.contextvars", get_contextvars=lambda: {"ti_id": "1"})'
NO_TI = 'loaded("structlog.contextvars", get_contextvars=dict)'
SERVER = 'os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"'
THREE = 'loaded("airflow", __version__="3.3.2")'
TWO = 'loaded("airflow", __version__="2.11.2")'


def comms(name):
    return f'loaded("{RUNNER}", SUPERVISOR_COMMS=of("{name}"))'


def argv(*words):
    return f"sys.argv = {list(words)!r}"


def seen(*lines):
    done = subprocess.run(
        [sys.executable, "-c", STAND_IN % "\n".join(lines)],
        capture_output=True,
        text=True,
        check=True,
        env={},
        timeout=30,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("process", "lines"),
    [
        ("task", [comms("CommsDecoder"), TI, f'loaded("{STACK_3}", _CURRENT_CONTEXT=[1])']),
        ("task", [comms("CommsDecoder"), TI, f'loaded("{STACK_3}", _CURRENT_CONTEXT=[1])', SERVER]),
        ("task_parse", [comms("CommsDecoder"), TI, f'loaded("{STACK_3}", _CURRENT_CONTEXT=[])']),
        ("parse", [comms("CommsDecoder"), NO_TI]),
        ("parse", [comms("CommsDecoder")]),
        ("trigger", [comms("TriggerCommsDecoder"), TI]),
        ("dags_test", [comms("InProcessSupervisorComms")]),
        ("server", [SERVER]),
        ("server", [argv("/bin/airflow", "api-server")]),
        ("cli", [argv("/bin/airflow", "variables", "get", "x")]),
        ("cli", [SERVER, argv("/bin/airflow", "connections", "get", "x")]),
        ("supervisor", ['loaded("airflow.sdk.execution_time.supervisor")']),
        ("unknown", []),
        ("unknown", [f'loaded("{RUNNER}", SUPERVISOR_COMMS=None)']),
    ],
)
def test_processes_of_airflow_3(process, lines):
    assert seen(THREE, *lines) == [process, "3", "False"]


@pytest.mark.parametrize(
    ("process", "lines"),
    [
        ("task", [argv("/bin/airflow", "tasks", "run"), f'loaded("{STACK_2}", _CURRENT_CONTEXT=[1])']),
        ("task_parse", [argv("/bin/airflow", "tasks", "run")]),
        ("dags_test", [argv("/bin/airflow", "dags", "test", "x")]),
        ("server", [argv("/bin/airflow", "scheduler")]),
        ("server", [argv("/bin/airflow", "webserver")]),
        ("cli", [argv("/bin/airflow", "variables", "get", "x")]),
        (
            "parse",
            [
                argv("/bin/airflow", "scheduler"),
                'child = types.SimpleNamespace(name="DagFileProcessor7-Process")',
                'loaded("multiprocessing.process", current_process=lambda: child)',
            ],
        ),
        (
            "trigger",
            [
                "held = types.SimpleNamespace(get=lambda _: 1)",
                'loaded("airflow.utils.log.trigger_handler", ctx_task_instance=held)',
            ],
        ),
        ("unknown", []),
    ],
)
def test_processes_of_airflow_2(process, lines):
    assert seen(TWO, *lines) == [process, "2", "False"]


@pytest.mark.parametrize(
    "line",
    [
        'loaded("structlog.contextvars")',
        'loaded("structlog.contextvars", get_contextvars=lambda: 1 / 0)',
        f'loaded("{STACK_3}")',
        'loaded("greenback", has_portal=lambda: 1 / 0)',
    ],
)
def test_a_release_that_moved_its_insides_is_no_error(line):
    assert seen(THREE, comms("CommsDecoder"), line)[1:] == ["3", "False"]


def test_a_task_sdk_alone_is_airflow_3():
    assert seen('loaded("airflow.sdk", __version__="1.3.2")')[1] == "3"


def test_without_airflow_there_is_no_version():
    assert seen() == ["unknown", "0", "False"]
