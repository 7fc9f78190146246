"""The page about connection types says what the catalog holds."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_the_page_is_written_of_the_catalog():
    script = runpy.run_path(str(ROOT / "scripts" / "type_manual.py"))
    page = script["PAGE"].read_text(encoding="utf-8")
    assert script["manual"](page) == page, "write it anew: python scripts/type_manual.py"
