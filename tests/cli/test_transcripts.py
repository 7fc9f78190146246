"""Plays every transcript of this folder; `tests/cli_shell.py` says how they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli_shell import Shell, play, steps_of

TRANSCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_commands_say_what_the_transcript_says(path, tmp_path):
    shell = Shell(tmp_path)
    for step in steps_of(path.read_text(encoding="utf-8")):
        said = play(step, shell)
        expected = [line for line in step.said if line]
        assert [line for line in said if line] == expected, step.line
