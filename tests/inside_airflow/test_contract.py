"""`airflow_class` around real classes of Airflow, in its own process: the contract of every backend."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from inside_airflow.both import overlay
from parts.openbao import Dev, shared

SUITE = Path(__file__).with_name("inside") / "contract.py"


def test_a_class_of_airflow_keeps_the_contract_of_every_backend(airflow, tmp_path):
    place, overlaid = airflow(3), overlay()
    shutil.copy(SUITE, tmp_path / "test_contract.py")  # away from what is installed for these tests alone
    with shared(Dev) as server:
        mount = server.mount()
        policy = server.policy(f'path "{mount}/*" {{ capabilities = ["read"] }}')
        role = server.role(policy)
        vault = {
            "url": server.url,
            "mount": mount,
            "token": server.root,
            "policy": policy,
            "auth_mount": role.mount,
            "role_id": role.role_id,
            "secret_id": role.secret_id(),
        }
        said = {"VAULT": json.dumps(vault), "PYTHONPATH": str(overlaid), "_AIRFLOW__AS_LIBRARY": "1"}
        done = subprocess.run(
            [place.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", "test_contract.py"],
            env={**place.environ(tmp_path / "home"), **said},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
