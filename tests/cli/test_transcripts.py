"""Plays every transcript of this folder; `tests/cli_shell.py` says how they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli_shell import Shell, play, steps_of

TRANSCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_commands_say_what_the_transcript_says(path, tmp_path):
    shell = Shell(tmp_path)
    for step in steps_of(path.read_text(encoding="utf-8")):
        said = play(step, shell)
        assert _told(said) == _told(step.said), step.line


def _told(lines: list[str]) -> list[str]:
    # A column is as wide as its widest figure, and milliseconds differ from run to run; an id that
    # looks like a number is quoted in YAML.
    return [re.sub(" {2,}", "  ", line).replace('"<id>"', "<id>") for line in lines if line]
