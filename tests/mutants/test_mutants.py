"""
Each test of a regression notices when it comes back.

In the suite only what the table says is looked at. `make trials` makes each change in a copy of the source
and runs its test, which must fail there and pass on the copy as it is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import strongroom
from mutants.table import MUTANTS
from regressions.table import REGRESSIONS

TESTS = Path(__file__).parents[1]
SOURCE = Path(strongroom.__file__).parent
SECONDS = 600


def files_of(mutant, source=SOURCE):
    """Give the file, or all of the package, that a mutant is made in."""
    file, folder = source / mutant.source, source / mutant.source.removesuffix(".py")
    if file.is_file():
        return [file]
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def holders(mutant, source=SOURCE):
    """Give each file with the old text, as often as it stands there."""
    return [
        file
        for file in files_of(mutant, source)
        for _ in range(file.read_text(encoding="utf-8").count(mutant.old))
    ]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.id)
def test_what_a_mutant_replaces_stands_once(mutant):
    assert len(holders(mutant)) == 1
    assert mutant.old != mutant.new


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.id)
def test_a_mutant_is_noticed_by_a_test_of_its_regression(mutant):
    assert mutant.test in REGRESSIONS[mutant.id].tests


def test_every_regression_has_a_mutant():
    assert {one.id for one in MUTANTS} == set(REGRESSIONS)


# --- the trial --------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path):
    """A copy of the source, for as long as one test takes."""
    copy = tmp_path / "src" / "strongroom"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    yield copy
    shutil.rmtree(tmp_path)


def tried(copy, *tests):
    """Run *tests* on the *copy*: give the exit code and what was said."""
    folder = copy.parent.parent
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environ = {**os.environ, "PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    for name in [name for name in environ if name.startswith("PYTEST_")]:
        del environ[name]  # of a worker that runs this
    done = subprocess.run(
        [*command, f"--basetemp={folder / 'tmp'}"],
        env=environ,
        cwd=TESTS.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout[-4000:] + done.stderr[-1000:]


@pytest.mark.trial
def test_without_a_change_every_test_of_a_mutant_passes(copy):
    tests = sorted({str(TESTS / one.test) for one in MUTANTS})
    code, said = tried(copy, *tests)
    assert code == 0, said


@pytest.mark.trial
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.id)
def test_a_mutant_is_noticed(mutant, copy):
    (file,) = holders(mutant, copy)
    file.write_text(file.read_text(encoding="utf-8").replace(mutant.old, mutant.new), encoding="utf-8")
    code, said = tried(copy, str(TESTS / mutant.test))
    assert code == 1, f"nothing noticed {mutant.id}: {said}"
    failed = re.findall(r"^FAILED (\S+)", said, re.MULTILINE)
    assert failed, f"the tests did not run: {said}"
    print(f"{mutant.id}: {failed[0].rpartition('/')[2]}")
