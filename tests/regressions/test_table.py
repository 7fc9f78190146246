"""Every id has a test, and every test that is named for one exists."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

import pytest

from regressions.attacks import ATTACKS
from regressions.table import LEFT_OUT, REGRESSIONS

TESTS = Path(__file__).parents[1]
WANTED = [f"RT{number:02}" for number in range(1, 38)]
ROWS = {
    "AA": (1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15, 17),
    "PO": (1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14),
    "JW": (1, 2, 4, 5, 6, 8, 9, 10),
    "NM": (2, 3, 4, 5, 6, 7, 8, 10, 12),
    "IN": (2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 14, 15),
    "TL": (2, 3, 4, 6, 7),
    "CR": (2, 3, 4, 6, 7, 8, 10, 11, 12, 14),
    "AU": (1, 2, 4, 5, 6, 7, 8, 9),
    "SS": (1, 3, 4, 5, 7, 8, 9),
    "DS": (1, 3, 4, 5, 6, 7, 8, 9),
    "LK": (1, 2, 3, 5, 7, 10),
    "LO": (2, 3, 4, 6, 7, 8),
}
EVERY = REGRESSIONS | ATTACKS


@lru_cache
def named_in(file):
    body = ast.parse((TESTS / file).read_text(encoding="utf-8")).body
    return {one.name for one in body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_")}


@pytest.mark.parametrize("id_", EVERY)
def test_every_test_of_an_id_exists(id_):
    assert EVERY[id_].tests
    assert EVERY[id_].what
    for node in EVERY[id_].tests:
        file, _, name = node.partition("::")
        assert (TESTS / file).is_file(), node
        assert name in named_in(file), node


def test_every_regression_has_a_row_or_a_reason():
    assert set(WANTED) <= set(REGRESSIONS) | set(LEFT_OUT)


def test_every_attack_on_this_surface_has_a_row_or_a_reason():
    wanted = {f"{group}{number:02}" for group, numbers in ROWS.items() for number in numbers}
    assert wanted == set(ATTACKS) | (set(LEFT_OUT) & wanted)


def test_nothing_is_both_proven_and_left_out():
    assert not set(LEFT_OUT) & set(EVERY)
    assert all(LEFT_OUT.values())
