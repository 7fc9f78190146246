"""
Single options in the text of an `airflow.cfg`, set and put back without touching anything else of it.

Not for what Airflow reads out of it (`vendors/airflow.py`).

Rules of this file:

1. Text in, text out. Comments, blank lines, order and the ends of lines stay as they are.
2. What `put_back` gives is what stood before `set_option`, to the byte, wherever else the file has changed
   meanwhile. Where the option itself has changed, it refuses.
"""

from __future__ import annotations

import re
from configparser import Error as ConfigParserError
from configparser import RawConfigParser
from dataclasses import dataclass

from strongroom.errors import ConflictError

__all__ = ["Edit", "put_back", "set_option"]

_SECTION = re.compile(r"\[([^\]]+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """
    One option that was set.

    Args:
        section: as it stands in brackets.
        option: its name.
        after: the lines that were written, with their ends.
        before: those that stood in their place; "" where there were none.
        makes_section: the heading of the section is among what was written.
        ending: the end of line that the file's last line was given first; "" where it had one.
    """

    section: str
    option: str
    after: str
    before: str = ""
    makes_section: bool = False
    ending: str = ""


def set_option(text: str, section: str, option: str, value: str) -> tuple[str, Edit]:
    """
    Give *text* with one option set, and what was done.

    Args:
        text: of an `airflow.cfg`.
        section: without brackets.
        option: its name.
        value: as Airflow is to read it; one line.

    Raises:
        ConflictError: the file cannot be read, or would then say something else too, as where lines
            that are indented would become part of ours.
    """
    after, edit = _set(text, section, option, value)
    wanted = _read(text)
    wanted.setdefault(section, {})[option] = value.replace("%", "%%")
    if _read(after) != wanted:
        raise ConflictError(
            f"[{section}] {option} cannot be set without changing what stands beside it",
            hint=f"write it by hand: no line below [{section}] may be indented but those that go on",
        )
    return after, edit


def _read(text: str) -> dict[str, dict[str, str]]:
    """Read as Airflow does, without expanding anything."""
    parser = _Parser(strict=False)
    try:
        parser.read_string(text)
    except ConfigParserError:
        pass
    else:
        return {name: dict(parser.items(name)) for name in parser.sections()}
    # Outside of `except`: the parser's error quotes a line.
    raise ConflictError("airflow.cfg is not what Airflow could read", hint="mend it first")


class _Parser(RawConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr


def _set(text: str, section: str, option: str, value: str) -> tuple[str, Edit]:
    end = "\r\n" if "\r\n" in text else "\n"
    line = f"{option} = {value.replace('%', '%%')}{end}"
    ending = end if text and not text.endswith("\n") else ""
    text += ending
    lines = text.splitlines(keepends=True)
    found = _span(lines, section, option)
    if found is not None:
        first, last = found
        before = "".join(lines[first:last])
        edit = Edit(section=section, option=option, after=line, before=before, ending=ending)
        return "".join([*lines[:first], line, *lines[last:]]), edit
    heading = _heading(lines, section)
    if heading is not None:
        edit = Edit(section=section, option=option, after=line, ending=ending)
        return "".join([*lines[: heading + 1], line, *lines[heading + 1 :]]), edit
    made = f"[{section}]{end}{line}"
    edit = Edit(section=section, option=option, after=made, makes_section=True, ending=ending)
    return text + made, edit


def put_back(text: str, edit: Edit) -> str:
    """
    Give *text* with *edit* undone.

    Raises:
        ConflictError: what was written does not stand there any more.
    """
    back = _without(text, edit) if edit.makes_section else _replaced(text, edit)
    return back.removesuffix(edit.ending)


def _replaced(text: str, edit: Edit) -> str:
    lines = text.splitlines(keepends=True)
    found = _span(lines, edit.section, edit.option)
    if found is None or "".join(lines[found[0] : found[1]]) != edit.after:
        raise _changed(edit)
    return "".join([*lines[: found[0]], edit.before, *lines[found[1] :]])


def _without(text: str, edit: Edit) -> str:
    at = text.find(edit.after)
    rest = text[at + len(edit.after) :]
    # Something that was added to our section since would fall to the one before it.
    if at < 0 or (rest.strip() and not rest.lstrip().startswith("[")):
        raise _changed(edit)
    return text[:at] + rest


def _changed(edit: Edit) -> ConflictError:
    return ConflictError(
        f"[{edit.section}] {edit.option} has changed since it was set",
        hint="put it back by hand: the copy beside airflow.cfg has what stood there",
    )


def _heading(lines: list[str], section: str) -> int | None:
    for number, line in enumerate(lines):
        match = _SECTION.match(line)
        if match is not None and match[1] == section:
            return number
    return None


def _span(lines: list[str], section: str, option: str) -> tuple[int, int] | None:
    """Give where the lines of one option begin and end, continued ones too."""
    heading = _heading(lines, section)
    if heading is None:
        return None
    named = re.compile(rf"{re.escape(option)}\s*[=:]")
    for first in range(heading + 1, len(lines)):
        if _SECTION.match(lines[first]):
            return None
        if named.match(lines[first]):
            last = first + 1
            # What is indented goes on; blank lines and comments at its end are not the option's.
            while last < len(lines) and lines[last][:1] in (" ", "\t") and lines[last].strip():
                last += 1
            return first, last
    return None
