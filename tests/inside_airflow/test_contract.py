"""`airflow_class` around real classes of Airflow, in its own process: the contract of every backend."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from inside_airflow.both import overlay
from parts.certificates import Authority
from parts.openbao import Dev, shared

INSIDE = Path(__file__).with_name("inside")


def run_within(place, folder, suite, said):
    """Run the tests of *suite* in Airflow's Python, with *said* in the environment."""
    shutil.copy(INSIDE / f"{suite}.py", folder / f"test_{suite}.py")  # away from what these tests install
    done = subprocess.run(
        [place.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rs", f"test_{suite}.py"],
        env={
            **place.environ(folder / "home"),
            "PYTHONPATH": str(overlay()),
            "_AIRFLOW__AS_LIBRARY": "1",
            **said,
        },
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_a_class_of_airflow_keeps_the_contract_of_every_backend(airflow, tmp_path):
    place = airflow(3)
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
        run_within(place, tmp_path, "contract", {"VAULT": json.dumps(vault)})


def test_classes_of_akeyless_and_lockbox_are_asked_through_their_own_sdks(airflow, tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server", "localhost")
    shutil.copy(certificate, tmp_path / "crt")
    shutil.copy(key, tmp_path / "key")
    said = {"FOLDER": str(tmp_path), "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(authority.file)}
    run_within(airflow(3), tmp_path, "strangers", said)
