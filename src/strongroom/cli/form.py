"""
A connection as a form to edit: text without secrets ⇄ connection and metadata, and the editor between.

Rules of this file:

1. The form never holds a stored secret: it says `***`, and `***` left there keeps what is stored.
2. What is typed into it may be a secret: the file is 0600 in a 0700 folder of its own, in memory where
   the machine has such a folder, and both are removed however the command ends.
3. A form that does not read back is offered again; nothing is written from it.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from strongroom.cli import terminal
from strongroom.cli.folder import place_in_memory
from strongroom.cli.output import format_yaml, plain
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.entry import Metadata
from strongroom.model.extra import Extra
from strongroom.model.yaml11 import parse_yaml
from strongroom.service.entries import merge_hidden, shown

__all__ = ["Form", "edit"]

_MAX_FORM_BYTES = 4_194_304  # 4 MiB: a value of 1 MiB, every character of it escaped
_EDITORS = ("sensible-editor", "nano", "vi")
_FIELDS = ("conn_type", "host", "port", "schema", "login", "password", "extra", "description")
_FACTS = ("tags", "owner", "remind_at", "not_after", "references")
_HEAD = """\
# {title}
#
# *** stands for a secret: leave it to keep it, write over it to change it.
# Save and leave the editor to write; empty the file to give up.

"""


@dataclass(frozen=True, slots=True)
class Form:
    """
    What is edited.

    Args:
        title: names the connection; stands in the form's first line.
    """

    connection: Connection = field(repr=False)
    metadata: Metadata
    title: str

    def text(self) -> str:
        """Give the form to show."""
        seen = shown(self.connection)
        fields = {name: seen[name] for name in _FIELDS}
        fields["description"] = self.metadata.description or seen["description"]
        facts = {name: plain(getattr(self.metadata, name)) for name in _FACTS}
        return _HEAD.format(title=terminal.clean(self.title)) + format_yaml({**fields, "about": facts})

    def read(self, text: str) -> tuple[Connection, Metadata] | None:
        """
        Give what an edited form says; None where nothing was changed or everything deleted.

        Raises:
            InvalidInputError: it does not read back; the message tells where.
        """
        if text == self.text():
            return None
        found = parse_yaml(text)
        if found is None:
            return None
        if not isinstance(found, dict):
            raise InvalidInputError("the form is no list of fields", hint="write `field: value`, a line each")
        facts = found.pop("about", None) or {}
        _check_known(found, _FIELDS, "")
        fields = merge_hidden(self.connection, found)
        connection = Connection.from_dict(fields, "sdk")
        # In Airflow's files 0 is no port and {} is no extra; in a form they are what they say.
        if fields.get("port") == 0:
            connection = connection.replace(port=0)
        if fields.get("extra") == {}:
            connection = connection.replace(extra=Extra({}))
        return connection, self._metadata(facts, found.get("description"))

    def _metadata(self, facts: object, description: object) -> Metadata:
        if not isinstance(facts, Mapping):
            raise InvalidInputError("`about` is no list of fields")
        _check_known(facts, _FACTS, "about.")
        tags = facts.get("tags") or []
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise InvalidInputError("about.tags is no list of words", hint="tags: [finance, eu]")
        owner = facts.get("owner")
        if owner is not None and not isinstance(owner, str):
            raise InvalidInputError("about.owner is not text", hint="put it in quotes")
        references = facts.get("references", False)
        if not isinstance(references, bool):
            raise InvalidInputError("about.references is neither true nor false")
        return replace(
            self.metadata,
            description=description if isinstance(description, str) else None,
            tags=tuple(sorted(set(tags))),
            owner=owner or None,
            remind_at=_moment(facts.get("remind_at"), "remind_at"),
            not_after=_moment(facts.get("not_after"), "not_after"),
            references=references,
        )


def _check_known(found: Mapping[str, Any], known: tuple[str, ...], prefix: str) -> None:
    for name in found:
        if name not in known:
            raise InvalidInputError(
                f"the form has a field that is not known{f' under {prefix[:-1]}' if prefix else ''}",
                hint=f"known are {', '.join(known)}",
            )


def _moment(value: object, name: str) -> datetime | None:
    if value is None:
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        # The YAML reader gives dates alone; a time of day is written in quotes.
        return datetime(value.year, value.month, value.day, tzinfo=timezone.utc)
    try:
        moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        raise InvalidInputError(
            f"about.{name} is no date", hint=f'{name}: 2026-12-31 or "2026-12-31T12:00Z"'
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


# --- the editor ----------------------------------------------------------------------------------


def edit(form: Form, session: Session) -> tuple[Connection, Metadata] | None:
    """
    Open the editor on *form* until it reads back; None where nothing is to be written.

    Raises:
        InvalidInputError: there is no editor, it failed, or the form does not read back and the user
            does not want to try again.
    """
    command = _editor(session)
    folder = Path(tempfile.mkdtemp(prefix="strongroom-", dir=place_in_memory(session.environ)))
    try:
        path = folder / "connection.yaml"
        path.touch(mode=0o600)
        path.write_text(form.text(), encoding="utf-8")
        while True:
            _run([*command, str(path)], session)
            try:
                return form.read(_text_of(path))
            except InvalidInputError as error:
                if not _again(error, session):
                    raise
    finally:
        shutil.rmtree(folder)


def _again(error: InvalidInputError, session: Session) -> bool:
    if not terminal.can_ask():
        return False
    terminal.tell_error(error, session)
    return terminal.ask_text("edit again? [Y/n] ").strip().lower() in ("", "y", "yes")


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
        if len(data) > _MAX_FORM_BYTES:
            raise InvalidInputError(f"the form has more than {_MAX_FORM_BYTES} bytes", limit=_MAX_FORM_BYTES)
        return data.decode("utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        offset = error.start
    raise InvalidInputError("the form is not UTF-8", offset=offset)


def _editor(session: Session) -> list[str]:
    named = session.environ.get("VISUAL") or session.environ.get("EDITOR")
    if named:
        try:
            return shlex.split(named)
        except ValueError:
            raise InvalidInputError("$VISUAL or $EDITOR is no command") from None
    found = next((name for name in _EDITORS if shutil.which(name)), None)
    if found is None:
        raise InvalidInputError(
            "there is no editor", hint="name one: EDITOR=nano strongroom connections edit …"
        )
    return [found]


def _run(command: list[str], session: Session) -> None:
    try:
        ended = subprocess.run(command, check=False, env=dict(session.environ))  # noqa: S603 -- the user's own editor
    except OSError:
        raise InvalidInputError("the editor cannot be started", hint="look at $VISUAL and $EDITOR") from None
    if ended.returncode:
        raise InvalidInputError(f"the editor ended with {ended.returncode}; nothing was written")
