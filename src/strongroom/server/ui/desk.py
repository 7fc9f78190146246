"""
One request about one form of an entry: what stands, what was typed, where it goes, and how it is drawn.

Not for what the request asks (`form.py`, `saving.py`), nor for the fields themselves (`sheet.py`).
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

from strongroom import catalog
from strongroom.catalog import FAMILIES
from strongroom.errors import (
    InvalidInputError,
    StrongroomError,
)
from strongroom.model.ref import Ref
from strongroom.policy import Action
from strongroom.server.ui.drafts import DRAFTS
from strongroom.server.ui.frame import Twin, form_of, page, url_for
from strongroom.server.ui.sheet import VALUE, Sheet, id_of, remark_text, text_of
from strongroom.server.ui.texts import say
from strongroom.server.ui.trial import trial_words
from strongroom.service.merging import EXTRA, FACTS
from strongroom.wire.entry import TeamQuery
from strongroom.wire.shape import MAX_COMMENT_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.server.endpoint import Answer, Call
    from strongroom.server.form import Form
    from strongroom.server.ui.sheet import Part
    from strongroom.service.entries import Described

__all__ = ["KINDS", "Aside", "Desk", "problem_of", "ref_in"]

_NAMES = (
    "f.",
    "w.",
    "s.",
    "c.",
    "u.",
    "take.",
    "act",
    "draft",
    "held",
    "paste_held",
    "seen",
    "comment",
    "paste",
    "pick",
    "kind",
    "name",
    "team",
    "to",
)
KINDS = ("connection", "variable")
_BACKEND_WORDS = 200
_PASTED: dict[str, Any] = {"problem": "", "hint": "", "several": (), "draft": "", "form": "", "warnings": ()}


class Aside(NamedTuple):
    """What of a form waits on the server: secrets, and what stood before something was pasted."""

    secrets: Mapping[str, str]
    before: Mapping[str, str] | None = None
    before_secrets: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        return "Aside(…)"


class Desk:
    """One request about one form: what stands, what was typed, where it goes."""

    def __init__(self, call: Call, ref: Ref | None, found: Described | None) -> None:
        self.call = call
        self.ref = ref
        self.found = found
        self.form: Form = form_of(call, *_NAMES) if call.method == "POST" else call.form
        self.kind = ref.kind if ref is not None else self.form.text("kind") or "connection"
        if self.kind not in KINDS:
            raise InvalidInputError("there is no such kind of entry", hint="connection or variable")
        self.sheet = Sheet(self.kind, found)
        self.name = ref.name if ref is not None else ""
        self.team = ref.team if ref is not None else None
        self.to = ""
        self.comment = ""
        self.pasted: dict[str, Any] = {}
        self.held = Aside({})

    # --- in ------------------------------------------------------------------------------------------

    def take(self) -> None:
        """Take in what was typed."""
        form = self.form
        if self.ref is None:
            self.name = form.text("name", most=400).strip()
            self.team = form.text("team", most=400).strip() or None
        self.to = form.text("to", most=_BACKEND_WORDS)
        self.comment = form.text("comment")
        if len(self.comment) > MAX_COMMENT_CHARACTERS:
            self.sheet.errors["comment"] = say("form.too_long", most=MAX_COMMENT_CHARACTERS)
        key = form.text("draft", most=60)
        self.held = (DRAFTS.get(self.call, key) if key else None) or Aside({})
        self.sheet.read(form, self.held.secrets)
        expected = form.text("held", most=6)
        lost = int(expected) - len(self.held.secrets) if expected.isdecimal() else 0
        if lost > 0:
            self.sheet.errors[""] = say("form.gone_secrets", count=lost)

    def checked(self) -> dict[str, object]:
        """Give the changes, and tell what is missing of a new entry."""
        sheet = self.sheet
        changes = sheet.changes()
        if self.ref is None:
            try:
                Ref(self.kind, self.name, self.team)  # type: ignore[arg-type]  # one of two
            except InvalidInputError as error:
                sheet.errors["name"] = say("form.name_missing") if not self.name else f"{problem_of(error)}"
            if self.kind == "connection" and not sheet.conn_type:
                sheet.errors["conn_type"] = say("form.type_missing")
            if self.kind == "variable" and VALUE not in sheet.secrets:
                sheet.errors[VALUE] = say("form.value_missing")
        if self.kind == "connection" and not sheet.errors:
            sheet.connection()  # what does not fit together is told here
        return changes

    # --- out -----------------------------------------------------------------------------------------

    @property
    def draft(self) -> str:
        """Put what must not be shown aside; gives what it is found by, "" where there is nothing."""
        secrets, before = self.sheet.secrets, self.held.before
        if not secrets and before is None:
            return ""
        held = (secrets, before or {}, self.held.before_secrets or {})
        size = sum(len(text) for texts in held for text in texts.values())
        return DRAFTS.put(self.call, self.held._replace(secrets=dict(secrets)), size=size)

    @property
    def here(self) -> str:
        """Where the form is asked."""
        if self.ref is None:
            return url_for(self.call, "/entries/new")
        return url_for(self.call, f"/edit/{self.ref.kind}/{self.ref.name}", team=self.ref.team)

    @property
    def saves(self) -> str:
        """Where it is saved."""
        if self.ref is None:
            return url_for(self.call, "/entries")
        return url_for(self.call, f"/entries/{self.ref.kind}/{self.ref.name}", team=self.ref.team)

    @property
    def away(self) -> str:
        """Where one goes who gives up."""
        return url_for(self.call, "/inventory") if self.ref is None else self.saves

    def twin(self) -> Twin:
        """Give the same as a command and as a call."""
        if self.ref is None:
            noun = f"{self.kind}s"
            verb = "add" if self.kind == "connection" else "set"
            typed = self.sheet.conn_type if self.kind == "connection" else ""
            more = f" --conn-type {_word(typed)}" if typed else ""
            value = " -" if self.kind == "variable" else ""
            name = self.name or "NAME"
            return Twin(
                f"strongroom {noun} {verb} {_word(name)}{value}{more}",
                "PUT",
                f"/v1/entries/{self.kind}/{quote(name)}",
            )
        if self.kind == "variable":
            return Twin(
                f"strongroom variables set {_word(self.name)} -",
                "PATCH",
                f"/v1/entries/variable/{quote(self.name)}",
            )
        said = "".join(f" {one}" for one in self._options())
        return Twin(
            f"strongroom connections edit {_word(self.name)}{said}",
            "PATCH",
            f"/v1/entries/connection/{quote(self.name)}",
        )

    def _options(self) -> list[str]:
        """Give the changes as options of the command; what is secret by its name alone."""
        found = []
        for path, value in self.sheet.changes().items():
            if path in FACTS:
                continue
            if value is None:
                found.append(f"--unset {_word(path)}")
            elif path in self.sheet.secrets:
                found.append(f"--set-from {_word(path)}=-")
            else:
                found.append(f"--set {_word(f'{path}={text_of(value)}')}")
        return found

    def words(self) -> dict[str, Any]:
        """Give what every view of the form prints."""
        found, parts = self.found, self.sheet.parts()
        return {
            "sheet": self.sheet,
            "parts_": parts,
            "about": self.sheet.about(),
            "kind": self.kind,
            "name": self.name,
            "entry_team": self.team,
            "found": found,
            "is_new": self.ref is None,
            "draft": self.draft,
            "here": self.here,
            "saves": self.saves,
            "away": self.away,
            "to": self.to,
            "comment": self.comment,
            "pasted": _PASTED | self.pasted,
            "reveals": self._reveals(),
            "id_of": id_of,
            "errors": dict(self.sheet.errors),
            "said_top": self._said_top(parts),
            "changed": self._changed(),
            "to_correct": [
                {"id": _control(path), "label": self._label(path), "text": text}
                for path, text in self.sheet.errors.items()
            ],
        }

    def _reveals(self) -> dict[str, dict[str, str]]:
        """Give where each sealed field is shown and where it is copied, for who may reveal."""
        ref, actor = self.ref, self.call.identity.actor
        if ref is None or not self.call.place.guard.can(actor, Action.REVEAL, ref).is_allowed:
            return {}
        address = f"/reveal/{ref.kind}/{ref.name}"
        return {
            path: {
                act: url_for(self.call, address, team=ref.team, part=path, act=act)
                for act in ("show", "copy")
            }
            for path in self.sheet.stored
            if path not in FACTS
        }

    def _label(self, path: str) -> str:
        key = {"": "title", "comment": "why", "conn_type": "type"}.get(path, path)
        if key in ("title", "why", "type", "name", "team", "to", "extra"):
            return say(f"form.{key}")
        return self.sheet.box(path).label

    def _changed(self) -> list[str]:
        return [path.removeprefix(EXTRA) for path in self.sheet.changes()]

    def _said_top(self, parts: tuple[Part, ...]) -> list[str]:
        """Give what lint says of no field that is drawn."""
        drawn = {box.path for part in parts for box in part.all}
        return [
            remark_text(one) for one in self.sheet.remarks if one.level != "note" and one.field not in drawn
        ]

    def show(self, *, status: int = 200, block: str | None = None) -> Answer:
        """Give the form."""
        call, found = self.call, self.found
        ref = None if found is None else found.ref
        title = "form.edit" if ref is not None else f"form.new_{self.kind}"
        return page(
            call,
            "form.html",
            nav="inventory",
            title=title,
            twin=self.twin(),
            status=status,
            block=block,
            types=_types(self.sheet.conn_type),
            is_type_known=not self.sheet.conn_type or catalog.find(self.sheet.conn_type) is not None,
            places=self._places(),
            cannot=self._cannot(),
            tests=trial_words(call, ref),
            **self.words(),
        )

    def _places(self) -> list[str]:
        if self.ref is not None and not self._is_read_only():
            return []
        with suppress(StrongroomError):
            return [row.name for row in self.call.room.backends.list() if "write" in row.abilities]
        return []

    def _is_read_only(self) -> bool:
        if self.found is None:
            return False
        with suppress(StrongroomError):
            for row in self.call.room.backends.list():
                if row.name == self.found.backend:
                    return "write" not in row.abilities
        return False

    def _cannot(self) -> str:
        """Give why what stands cannot be changed here, as far as that is known before it is tried."""
        ref, found = self.ref, self.found
        if (
            ref is not None
            and not self.call.place.guard.can(self.call.identity.actor, Action.WRITE, ref).is_allowed
        ):
            return say("form.may_not")
        if found is not None and self._is_read_only():
            return say("form.read_only", backend=found.backend)
        return ""


def ref_in(call: Call, team: str | None = None) -> Ref:
    """Give the entry that the address names."""
    asked = team if team is not None else call.asked(TeamQuery).team
    return Ref(call.params["kind"], call.params["name"], asked or None)  # type: ignore[arg-type]  # Ref checks the kind


def problem_of(error: InvalidInputError) -> str:
    """Give what is wrong as a sentence."""
    said = f"{str(error)[:1].upper()}{str(error)[1:]}"
    return f"{said}, at character {error.offset + 1}." if error.offset is not None else f"{said}."


def _types(chosen: str) -> list[dict[str, Any]]:
    """Give the types of the catalog by family, and the one that is chosen where the catalog lacks it."""
    groups = [
        {
            "group": say(f"form.family_{family}"),
            "options": [(name, _title(name)) for name in names],
        }
        for family, names in FAMILIES.items()
    ]
    if chosen and catalog.find(chosen) is None:
        groups.append({"group": say("form.type_other"), "options": [(chosen, chosen)]})
    return groups


def _title(name: str) -> str:
    kind = catalog.find(name)
    return name if kind is None else kind.title


def _control(path: str) -> str:
    """Give the id of the control that an error is about."""
    return {
        "": "main",
        "name": "f-name",
        "comment": "f-comment",
        "extra": "s-extra",
        "conn_type": "f-conn_type",
    }.get(path, id_of(path))


def _word(text: str) -> str:
    return shlex.quote(text)
