"""What every test stands on."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No test is a timed test: a busy machine must not fail one.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# A job that a shell starts in the background, or under nohup, is born with these ignored, and so are its
# children: a test that sends Ctrl-C would wait for ever. Tests of signals start from what a terminal gives.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)

# The store needs Python 3.11 (docs/adr/0002). On 3.10 what makes one skips, by version and not by what is
# installed: where the store should be and is not, the tests must fail.
HAS_STORE = sys.version_info >= (3, 11)
WITHOUT_STORE = "making a store needs Python 3.11"
_IMPORT_A_STORE = (
    "agent",  # its extra is for 3.11, too
    "audit/test_duties.py",
    "inside_airflow",
    "live/test_end_to_end.py",
    "live/test_engine.py",  # SQLAlchemy comes with the store
    "live/test_engine_dialects.py",
    "live/test_lease_close.py",
    "live/test_leases.py",
    "live/test_login_token.py",
    "backends/test_remote.py",
    "docs",
    "policy",
    "regressions",
    "server",
    "service/test_backup.py",
    "faults/test_backup_kill.py",
    "service/test_host_remote.py",
    "service/test_house_policies.py",
    "service/test_policies.py",
    "airflow_api",
    "store",
    "faults/test_kill.py",
    "test_barrier.py",
    "test_caller.py",
    "cli/test_remote.py",
    "test_registry.py",
    "service/test_access.py",
    "service/test_access_throttle.py",
    "service/test_access_timing.py",
    "vendors/test_jwks.py",  # checking tokens is for 3.11, too
    "vendors/test_jwt.py",
    "vendors/test_jwt_counterpart.py",
    "vendors/test_oidc.py",
)
_MAKE_A_STORE = (
    "backends/test_native.py",
    "cli/test_access.py",
    "cli/test_airflow.py",
    "cli/test_edit.py",
    "cli/test_files.py",
    "cli/test_help.py",
    "cli/test_intake.py",
    "cli/test_main.py",
    "cli/test_manners.py",
    "cli/test_output.py",
    "cli/test_terminal.py",
    "cli/test_transcripts.py",
    "faults/test_disk.py",
    "faults/test_processes.py",
    "faults/test_house.py",
    "live/test_probe_databases.py",  # over SQLAlchemy, as above
    "service/test_bundle.py",
    "service/test_changes.py",
    "service/test_doctor.py",
    "service/test_house.py",
    "service/test_pitfalls.py",
    "service/test_reading.py",
    "service/test_rights.py",
    "test_acceptance.py",
    "test_acceptance_chain.py",
    "test_assembly.py",
    "test_leaks.py",
)
_HERE = Path(__file__).parent
collect_ignore = [] if HAS_STORE else [str(_HERE / name) for name in _IMPORT_A_STORE]


def pytest_report_header():
    return None if HAS_STORE else f"not collected, {WITHOUT_STORE}: {', '.join(_IMPORT_A_STORE)}"


# `make trials` adds what is marked `trial`: a test, or some of its parameters, of which others stay here.
TRIALS = "STRONGROOM_TRIALS" in os.environ

# Modules whose tests take seconds each. Every worker of xdist begins with its share of them and ends with
# tests that take none: a worker takes over from the end of another's line, and never what is under way there.
_LONG = re.compile(
    r"tests/(inside_airflow|airflow_api/test_real|faults|parity|test_acceptance|server/(test_serve|api/test_fuzz)"
    r"|agent/test_(partition|revocation|processes|kills|clocks|soak|herd|attacks|writes|push|versions|outage)"
    r"|live/test_(end_to_end|canaries)"
    r"|cli/test_(terminal|up|main|run|asking|watch)"
    r"|ui/test_(?!parts))"
)


def _spread(items, workers):
    """Put the long modules in turn at the beginning of each worker's share, which xdist cuts evenly."""
    long, rest = {}, []
    for item in items:
        if _LONG.search(item.nodeid if item.nodeid.startswith("tests/") else f"tests/{item.nodeid}"):
            # The modules of tests/parity ask one real Airflow, which every worker starts for itself.
            module = item.path.parent if item.path.parent.name == "parity" else item.path
            long.setdefault(module, []).append(item)
        else:
            rest.append(item)
    shares = [[] for _ in range(workers)]
    for number, module in enumerate(long.values()):
        shares[number % workers] += module
    spread = []
    for number, share in enumerate(shares):
        size = (len(items) - len(spread)) // (workers - number)  # as `worksteal` cuts
        most = max(size - len(share), 0)
        spread += [*share, *rest[:most]]
        rest = rest[most:]
    items[:] = spread + rest


def pytest_collection_modifyitems(config, items):
    if not TRIALS:
        for item in items:
            if item.get_closest_marker("trial"):
                item.add_marker(pytest.mark.skip(reason="a trial: make trials"))
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers > 1:
        _spread(items, workers)
    if HAS_STORE:
        return
    wanting = {_HERE / name for name in _MAKE_A_STORE}
    for item in items:
        if item.path in wanting:
            item.add_marker(pytest.mark.skip(reason=WITHOUT_STORE))


# What CI may leave out: what a backend has not, what a trial is for, what only root or another Python does.
# Anything else that skips there is a program or a right of the machine that is missing, and a failure.
_MAY_SKIP = re.compile(
    r"this backend|\btrial|another test proves|\broot\b|another user|Python 3\.1|refuses to"
)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.skipped and os.environ.get("CI") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not _MAY_SKIP.search(reason):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} may not skip where CI is set: {reason}"


def pytest_sessionfinish():
    databases = sys.modules.get("parts.databases")
    if databases is not None:
        databases.stop_all()
