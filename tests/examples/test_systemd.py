"""The units that are shipped: accepted by systemd itself, hardly exposed, and enough to run in."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parts.agent import agent, missing

ROOT = Path(__file__).parent.parent.parent
UNITS = ROOT / "examples" / "systemd"
MOST_EXPOSED = 16  # of 100, in systemd's own measure; under 20 it calls "OK"
# Runs a program as MemoryDenyWriteExecute= has it: PR_SET_MDWE with PR_MDWE_REFUSE_EXEC_GAIN, prctl(2).
NO_NEW_CODE = (
    "import ctypes, os, sys\n"
    "if ctypes.CDLL(None, use_errno=True).prctl(65, 1, 0, 0, 0): sys.exit(77)\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n"
)


@pytest.fixture
def units(tmp_path):
    """The units as they would be installed, with a program that is there."""
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze is not installed")
    folder = tmp_path / "units"
    shutil.copytree(UNITS, folder)
    service = folder / "strongroom-agent.service"
    program = Path(sys.executable).with_name("strongroom")
    service.write_text(service.read_text().replace("/usr/local/bin/strongroom", str(program)))
    return folder


def analyze(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_systemd_accepts_the_units(units):
    done = analyze("verify", *sorted(units.glob("strongroom-agent*.s*[et]")))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["last-good.conf", "files.conf"])
def test_systemd_accepts_what_may_be_added(units, name):
    for other in (units / "strongroom-agent.service.d").iterdir():
        if other.name != name:
            other.unlink()
    done = analyze("verify", units / "strongroom-agent.service")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_is_hardly_exposed(units):
    done = analyze(
        "security", "--offline=true", f"--threshold={MOST_EXPOSED}", units / "strongroom-agent.service"
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_sockets_have_the_names_by_which_the_agent_knows_them():
    text = "".join(path.read_text() for path in sorted(UNITS.glob("*.socket")))
    assert re.findall(r"FileDescriptorName=(\w+)", text) == ["http", "agent"]
    assert re.findall(r"ListenStream=(\S+)", text) == [
        "/run/strongroom/http.sock",
        "/run/strongroom/agent.sock",
    ]


def test_the_agent_runs_where_memory_gains_no_code(tmp_path):
    probe = subprocess.run([sys.executable, "-c", NO_NEW_CODE, "/bin/true"], check=False)
    if probe.returncode == 77:
        pytest.skip("this kernel has no PR_SET_MDWE")
    prefix = [sys.executable, "-c", NO_NEW_CODE]
    policy = tmp_path / "policy.cedar"
    policy.touch(mode=0o600)
    policy.write_text("permit (principal, action, resource is Entry);")
    settings = f'chain = ["env"]\n[agent]\npolicy = "{policy}"\n[agent.last_good]\nkey = "keyring"\n'
    with agent(tmp_path, settings, environ={"AIRFLOW_VAR_REGION": "eu"}, prefix=prefix) as one:
        assert one.python("import strongroom; print(strongroom.variable('region'))") == "eu"
