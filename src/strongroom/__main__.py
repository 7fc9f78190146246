"""Run as `python -m strongroom`."""

from __future__ import annotations

from strongroom.cli.main import run

if __name__ == "__main__":
    run()
