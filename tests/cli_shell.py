"""
A shell for tests of the command line: runs commands in this process, and plays transcripts.

A transcript is a text file of commands and what they say:

    # a comment, kept
    % NAME=VALUE              sets a variable of the environment (no value: takes it away)
    + file.txt                begins a file; its lines follow, each after `| `
    = airflow3/airflow.db     brings a file of tests/data here
    $ strongroom read region  a command, as typed in a shell
    < eu-west-1               a line of its standard input
    eu-west-1                 what it wrote to stdout
    ! strongroom: …           what it wrote to stderr
    ? 3                       its exit code, where it is not 0

What differs from run to run is written `<home>`, `<time>`, `<version>` (of Strongroom), `<ms>`,
`<seconds>`, `<id>`, `<token>`, `<recipient>`, `<key>`.
Write a transcript anew after a change meant to show: `python tests/cli_shell.py tests/cli/*.txt`.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from shutil import copy, copytree

from strongroom import __version__
from strongroom.cli.main import main

_DATA = Path(__file__).parent / "data"


@dataclass
class Result:
    code: int
    out: str
    err: str


class Shell:
    """
    Commands against one room in a folder of its own.

    Attributes:
        folder: the working directory.
        environ: all that a command sees.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {"STRONGROOM_HOME": str(folder / "room"), "PATH": os.environ["PATH"], "TERM": "dumb"}
        # A server that `up` starts would outlive the test.
        self.environ["STRONGROOM__SERVER__AUTOSTART"] = "false"

    @classmethod
    def with_room(cls, folder: Path) -> Shell:
        """Give a shell whose room is made: a copy, since making one takes a tenth of a second."""
        shell = cls(folder)
        copytree(Path(_first_room().name) / "room", folder / "room")
        return shell

    def __call__(self, line: str | list[str], stdin: str | bytes = b"", **environ: str) -> Result:
        """Run `strongroom` with what *line* says; gives its exit code and what it wrote."""
        arguments = shlex.split(line) if isinstance(line, str) else line
        data = stdin.encode() if isinstance(stdin, str) else stdin
        out, err = _Stream(), _Stream()
        before = sys.stdin, sys.stdout, sys.stderr, Path.cwd()
        sys.stdin, sys.stdout, sys.stderr = _Stream(data), out, err
        try:
            os.chdir(self.folder)
            code = main(arguments, {**self.environ, **environ})
        finally:
            sys.stdin, sys.stdout, sys.stderr, folder = before
            os.chdir(folder)
        return Result(code, out.text(), err.text())


@cache
def _first_room() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    assert Shell(Path(folder.name))("init").code == 0
    return folder


class _Stream(io.TextIOWrapper):
    """A standard stream that is no terminal."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(io.BytesIO(data), encoding="utf-8", newline="\n")

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode()


# --- transcripts ---------------------------------------------------------------------------------


@dataclass
class Step:
    """One command of a transcript with what leads to it and what is expected of it."""

    lead: list[str] = field(default_factory=list)
    line: str = ""
    stdin: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


_BEGINNING = re.compile(r"[#%+$=] \S|#$")  # a table may begin with `#  NAME`


def steps_of(text: str) -> list[Step]:
    steps, step = [], Step()
    for line in text.split("\n"):
        if step.line and _BEGINNING.match(line):
            steps.append(step)
            step = Step()
        if line.startswith("$ "):
            step.line = line[2:]
        elif not step.line:
            step.lead.append(line)
        elif line.startswith("< "):
            step.stdin.append(line[2:])
        else:
            step.said.append(line)
    return [*steps, step]


def play(step: Step, shell: Shell) -> list[str]:
    """Do what a step says and give what was said, as a transcript writes it."""
    name = ""
    for line in step.lead:
        if line.startswith("% "):
            key, _, value = line[2:].partition("=")
            shell.environ[key] = value
            if not value:
                del shell.environ[key]
        elif line.startswith("+ "):
            name = line[2:]
            (shell.folder / name).write_text("")
            (shell.folder / name).chmod(0o600)  # as what writes secrets would
        elif line.startswith("= "):
            copy(_DATA / line[2:], shell.folder)
        elif line.startswith("| "):
            with (shell.folder / name).open("a") as file:
                file.write(line[2:] + "\n")
    if not step.line:
        return []
    program, *arguments = shlex.split(step.line)
    assert program == "strongroom"
    result = shell(arguments, "".join(f"{line}\n" for line in step.stdin))
    said = result.out.split("\n") if result.out else [""]
    # A value without a line end is shown as it is; `read` adds none.
    said = said[:-1] if said[-1] == "" else said
    said += [f"! {line}" for line in result.err.splitlines()]
    said += [f"? {result.code}"] if result.code else []
    return [_constant(line, shell) for line in said]


_VARYING = (
    (re.compile(r"\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?Z"), "<time>"),
    (re.compile(r"\b[ag]_[0-9a-f]{16}\b"), "<id>"),
    (re.compile(r'(?:(?<=^revision  )|(?<="revision": "))[0-9a-f]{12}\b', re.MULTILINE), "<id>"),
    (re.compile(r"\b[0-9a-f]{16}\b|\b[0-9a-f]{32}\b|\b[0-9a-f]{64}\b"), "<id>"),
    (re.compile(r"(?<=  )\d+\.\d(?=  |$)|(?<=milliseconds: )[\d.]+"), "<ms>"),
    (re.compile(r"(?<=age_seconds: )[\d.e-]+"), "<seconds>"),
    (re.compile(rf"local:{os.geteuid()}\b"), "local:<user>"),
    (re.compile(r"\bage1[02-9ac-hj-np-z]{58}\b"), "<recipient>"),
    (re.compile(r"(?<=<id>)\+[0-9a-f]{8}\+[A-Za-z0-9+/=]{44}"), "+<key>"),
    (re.compile(r"\bsrm_[tsle]_[A-Za-z0-9_-]{49}\b"), "<token>"),
)


def _constant(line: str, shell: Shell) -> str:
    line = line.replace(str(shell.folder), "<home>").replace(__version__, "<version>")
    for pattern, name in _VARYING:
        line = pattern.sub(name, line)
    # Where the widths of a table follow from what varies, so do the blanks.
    line = re.sub(r" {2,}(?=<ms>|MS\b)|(?<=<ms>) {2,}|(?<=\bMS) {2,}", "  ", line)
    # Quoted only where it begins with a digit.
    return re.sub(r'^( *)version: "<id>"$', r"\1version: <id>", line)


def rewrite(path: Path) -> None:
    """Play a transcript and write down what was said."""
    with tempfile.TemporaryDirectory() as folder:
        shell, lines = Shell(Path(folder)), []
        for step in steps_of(path.read_text()):
            said = play(step, shell)
            gap = [""] if step.line else []
            lines += step.lead + ([f"$ {step.line}"] if step.line else [])
            lines += [f"< {line}" for line in step.stdin] + said + gap
    path.write_text("\n".join(lines).rstrip("\n") + "\n")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        rewrite(Path(argument))
