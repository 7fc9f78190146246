"""
Write tests/vectors/provider_forms.json anew: what installed Airflow providers say of their forms.

    python scripts/provider_forms.py /path/to/venv/bin/python

The environment holds apache-airflow 3.3.2 and the providers to compare with; what the providers
themselves depend on is not needed, since their metadata is read from files.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from strongroom.vendors.airflow_forms import read_forms

VECTORS = Path(__file__).parent.parent / "tests" / "vectors" / "provider_forms.json"
DROPPED = ("hook-class-name",)


def rows(python: Path) -> list[dict[str, Any]]:
    """Give a row a type, with nothing in it that differs from machine to machine."""
    with tempfile.TemporaryDirectory() as cache:
        found = read_forms(python, cache=Path(cache), imports_hooks=True)
    return [{key: value for key, value in row.items() if key not in DROPPED} for row in found]


if __name__ == "__main__":
    found = rows(Path(sys.argv[1]).absolute())
    if not found:
        sys.exit("no Airflow providers stand beside that interpreter: nothing was written")
    VECTORS.write_text(
        json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
    )
    print(f"{len(found)} connection types of {len({row['provider'] for row in found})} providers")
