"""Errors: named for who can act, whole after a process pool, empty of values."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta

import pytest

from strongroom import errors
from strongroom.errors import InvalidInputError, StrongroomError

EXAMPLES = [
    errors.AccessDeniedError("no", reason="policy p1", hint="ask"),
    errors.BackendConfigError("wrong", hint="change it"),
    errors.BackendUnavailableError("down", backend="vault", retry_after=timedelta(seconds=3)),
    errors.ConflictError("changed", current_version="4"),
    errors.InvalidInputError("bad", offset=3, limit=250, rule="R4", hint="write it so"),
    errors.MalformedEntryError("bad", backend="vault", ref='connection "x"', offset=1),
    errors.NotAuthenticatedError("who"),
    errors.NotFoundError("nothing", asked=[("env", "absent"), ("vault", "absent")]),
    errors.NotRecordedError("unwritten", folder="/srv/audit"),
    errors.RateLimitedError("slow", retry_after=timedelta(seconds=1)),
    errors.ReadOnlyError("fixed"),
    errors.SealedError("no key"),
    errors.SettingsError("wrong", key="cache.ttl", hint="write a number"),
    errors.TamperedError("changed"),
]
BY_CODE = {error.code: error for error in EXAMPLES}


def test_every_error_has_an_example_and_a_code_of_its_own():
    assert {type(error).__name__ for error in EXAMPLES} == set(errors.__all__) - {"StrongroomError"}
    assert len(BY_CODE) == len(EXAMPLES)


def test_errors_are_flat_below_one_base():
    assert all(type(error).__bases__ == (StrongroomError,) for error in EXAMPLES)


@pytest.mark.parametrize("error", BY_CODE.values(), ids=BY_CODE)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickling_with_its_evidence(error, protocol):
    back = pickle.loads(pickle.dumps(error, protocol))
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert back.args == error.args
    assert vars(back) == vars(error)
    assert back.code == error.code


@pytest.mark.parametrize("error", BY_CODE.values(), ids=BY_CODE)
def test_an_error_survives_copying(error):
    for back in (copy.copy(error), copy.deepcopy(error)):
        assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))


def _fail():
    raise InvalidInputError("bad", offset=7, rule="R8")


def test_an_error_comes_whole_out_of_a_process_pool():
    with ProcessPoolExecutor(1) as pool, pytest.raises(InvalidInputError) as caught:
        pool.submit(_fail).result()
    assert (caught.value.offset, caught.value.rule) == (7, "R8")


@pytest.mark.parametrize("error", BY_CODE.values(), ids=BY_CODE)
def test_str_is_the_message_and_nothing_else(error):
    assert str(error) == error.args[0]
    assert f"{error}" == str(error)
    assert repr(error) == f"{type(error).__name__}({str(error)!r})"


def test_evidence_is_typed():
    found = BY_CODE["not_found"]
    assert found.asked == (("env", "absent"), ("vault", "absent"))
    assert BY_CODE["backend_unavailable"].retry_after == timedelta(seconds=3)
    assert all(hasattr(error, "hint") for error in EXAMPLES)


def test_importing_the_errors_loads_nothing_else():
    code = (
        "import sys; before = set(sys.modules); import strongroom.errors;"
        "print(*(name for name in set(sys.modules) - before if not name.startswith('strongroom')))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) <= {"__future__"}
