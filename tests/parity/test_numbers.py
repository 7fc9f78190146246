"""The differences between our backends and Airflow's are a closed list."""

import re
from pathlib import Path

from parity import test_env, test_file, test_metastore, test_vault

PAGE = Path(__file__).parent.parent.parent / "docs" / "compatibility.md"


def documented(letters):
    return re.findall(rf"^\| ([{letters}]\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_difference_of_a_backend_is_documented_and_every_documented_one_is_met():
    used = set().union(*(module.NUMBERS for module in (test_env, test_file, test_metastore, test_vault)))
    assert used <= set(documented("RFB"))
    assert {number for number in used if number.startswith("B")} == set(documented("B"))
    assert documented("B") == [f"B{number}" for number in range(1, len(documented("B")) + 1)]
