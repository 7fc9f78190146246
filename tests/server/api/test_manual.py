"""docs/api.md: written from the table, and its examples run."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


def _script():
    spec = importlib.util.spec_from_file_location("api_manual", ROOT / "scripts" / "api_manual.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_script_writes():
    assert _script().manual(PAGE) == PAGE, "run scripts/api_manual.py"


def test_the_examples_run_in_the_order_they_stand(api):
    if shutil.which("curl") is None:
        if os.environ.get("CI"):
            pytest.fail("curl is not installed")
        pytest.skip("curl is not installed")
    environ = {
        "PATH": os.environ["PATH"],
        "STRONGROOM_URL": api.server.address,
        "TOKEN": api.tokens["admin"],
    }
    assert len(EXAMPLES) >= 3
    for example in EXAMPLES:
        script = example.replace("curl -sS", "curl -sS --fail-with-body --no-progress-meter")
        done = subprocess.run(
            ["bash", "-eu", "-c", script],
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
        assert done.returncode == 0, (example, done.stdout, done.stderr)
