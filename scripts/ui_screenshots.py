"""
Photograph pages in both themes and three widths, into docs/screenshots/NAME-THEME-WIDTH.png.

    .venv/bin/python scripts/ui_screenshots.py                      what the docs show
    .venv/bin/python scripts/ui_screenshots.py inventory entry      these
    … --themes light --widths 1440 --out /tmp/shots                 fewer, and elsewhere
    … --axe                                          tell what axe-core finds, and what scrolls sideways

The house is that of the tests of pages: 60 connections and 18 variables that Airflow wrote, invented from
end to end. A page that does not answer is told, and the rest go on; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

TREE = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TREE / "tests"))

from parts.browser import THEMES, WIDTHS, axe, browsing, furnished, launched, overflows, shot, signed_in  # noqa: E402
from parts.busy import busied  # noqa: E402
from parts.pictures import KEPT, PICTURES, shown  # noqa: E402

OUT = TREE / "docs" / "screenshots"


def main() -> int:
    """Take them, and tell how many failed."""
    asked = _arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    with tempfile.TemporaryDirectory() as home, furnished(Path(home)) as server, launched() as chromium:
        busied(server)
        for theme in asked.themes:
            for width in asked.widths:
                failed += _round(chromium, server, theme, width, asked)
    return int(bool(failed))


def _round(chromium: Any, server: Any, theme: str, width: int, asked: argparse.Namespace) -> int:  # noqa: ANN401
    """Take every picture in one window, and tell how many failed."""
    look = {"theme": theme, "width": width, "allowed": ("",)}
    beside = [signed_in(server, deployment="staging")]
    with (
        browsing(chromium, server, cookies=beside, **look) as known,
        browsing(chromium, server, None, **look) as stranger,
    ):
        windows = {True: known, False: stranger}
        names = asked.names or (PICTURES if asked.all else KEPT)
        return sum(not _take(windows[PICTURES[name].actor is not None], name, theme, asked) for name in names)


def _take(page: Any, name: str, theme: str, asked: argparse.Namespace) -> bool:  # noqa: ANN401
    picture = PICTURES[name]
    try:
        shown(page, picture)
        file = shot(page, name, asked.out, theme=theme, full=picture.is_full or asked.full)
        found = [*axe(page), *_sideways(page)] if asked.axe else []
    except Exception as trouble:  # noqa: BLE001 -- the rest go on
        print(f"{name}-{theme}: {str(trouble).splitlines()[0]}", flush=True)
        return False
    for one in found:
        print(f"{file.stem}: {one}", flush=True)
    return not found


def _sideways(page: Any) -> list[str]:  # noqa: ANN401
    wide = overflows(page)
    return [f"scrolls sideways by {wide} px"] if wide else []


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*PICTURES, []], metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--themes", nargs="+", default=list(THEMES), choices=THEMES)
    parser.add_argument("--widths", nargs="+", type=int, default=list(WIDTHS))
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--all", action="store_true", help="every page, not only what the docs show")
    parser.add_argument("--full", action="store_true", help="the whole page")
    parser.add_argument("--axe", action="store_true", help="tell what axe-core finds")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
