"""What docs/policy.md shows is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from strongroom.policy import Action
from strongroom.policy.cedar import validate
from strongroom.policy.schema import FACTS, PRINCIPALS, ROLES, RUN
from strongroom.policy.text import MAX_STATEMENTS, MAX_TEXT

MANUAL = (Path(__file__).parents[2] / "docs" / "policy.md").read_text("utf-8")
EXAMPLES = re.findall(r"```cedar\n(.*?)```", MANUAL, re.DOTALL)
IN_SHELL = re.findall(r"\$ cat \S+\.cedar\n(.*?)\n\$ ", MANUAL, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example_of_the_manual_may_be_written(number):
    found = validate("example", EXAMPLES[number], roles=["data", "pci", "loader"])
    assert [remark.message for remark in found] == []


def test_policy_of_the_beginning_may_be_written():
    (text,) = IN_SHELL
    assert validate("data-team", text, roles=["data"]) == ()


@pytest.mark.parametrize(
    "word",
    [
        *(action.value for action in Action),
        *FACTS,
        *RUN,
        *PRINCIPALS.values(),
        *ROLES,
        "approved",
        "source",
        "user",
        "deployment",
    ],
)
def test_everything_a_policy_may_speak_of_is_in_the_manual(word):
    assert re.search(rf"\b{word}\b", MANUAL)


def test_limits_are_those_of_the_manual():
    assert f"{MAX_TEXT:,} characters, {MAX_STATEMENTS} statements" in MANUAL


def test_there_are_examples():
    assert len(EXAMPLES) >= 5
