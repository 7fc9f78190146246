"""
`/import`: bring in what one has, the plan first.

    GET  /import        drop files, choose them, or paste a text
    POST /import        what they hold (`act=read`, `act=choose`), what would happen (`act=plan`)
    POST /import/run    import it

Rules of this file:

1. A file is read in memory and kept there, sealed from everybody else, until it is imported or for half an
   hour (`drafts.py`); nothing of it but names is drawn.
2. The plan is the import itself on trial: what it shows is what will happen, as far as nothing changes.
3. What was refused stays out; what was fit is written, one batch a kind.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from strongroom.errors import StrongroomError
from strongroom.server.endpoint import Answer, Endpoint
from strongroom.server.ui.drafts import DRAFTS, MOST_OF_ONE
from strongroom.server.ui.frame import Toast, Twin, form_of, page, redirect
from strongroom.server.ui.texts import say
from strongroom.service.bringing import MAX_FILE_BYTES, Brought, Piece, sort_out
from strongroom.service.kinds import Kinds
from strongroom.service.lint import Linter
from strongroom.service.transfer import ImportOptions
from strongroom.transfer.plan import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from strongroom.server.endpoint import Call
    from strongroom.server.form import Form
    from strongroom.transfer.plan import Line

__all__ = ["ENDPOINTS"]

_MAX_FILES = 20
_ENTRY_CHARACTERS = 256  # what an entry takes in memory beside its text
_SHOWN = 500  # lines of a plan; what needs an eye is shown whole
_EXISTING: tuple[Literal["skip", "overwrite", "fail"], ...] = ("skip", "overwrite", "fail")
_NAMES = ("act", "files", "text", "draft", "take", "team", "to", "existing", "rename.", "comment")


class _Held(NamedTuple):
    """What was dropped."""

    files: tuple[Brought, ...]

    @property
    def pieces(self) -> Iterator[tuple[str, Brought, Piece]]:
        """Every piece of every file, and what it is called in the form."""
        for at, file in enumerate(self.files):
            for piece in file.pieces:
                yield f"{at}:{piece.kind}", file, piece


class _Choice(NamedTuple):
    """Where it is to go."""

    take: frozenset[str]
    team: str | None
    to: str | None
    existing: Literal["skip", "overwrite", "fail"]
    rename: Mapping[str, str]
    comment: str


# --- choosing ----------------------------------------------------------------------------------------


def choose(call: Call) -> Answer:
    """Ask what to bring."""
    return _chosen(call)


def _chosen(call: Call, *, problem: str = "", status: int = 200) -> Answer:
    return page(
        call,
        "importing.html",
        nav="import",
        title="import.title",
        twin=Twin("strongroom connections import FILE --dry-run", "POST", "/v1/entries"),
        status=status,
        step=2,
        problem=problem,
        limit=MAX_FILE_BYTES // 1_048_576,
    )


def act(call: Call) -> Answer:
    """Sort out what was dropped, or tell what an import of it would do."""
    form = form_of(call, *_NAMES)
    done = form.text("act", most=20) or "read"
    if done == "read":
        return _read(call, form)
    key = form.text("draft", most=60)
    held = DRAFTS.get(call, key)
    if not isinstance(held, _Held):
        return _chosen(call, problem=say("import.gone"), status=410)
    if done == "choose":
        return _sorted(call, key, held, _choice(call, form))
    return _planned(call, key, held, _choice(call, form))


def _read(call: Call, form: Form) -> Answer:
    given = [(one.name, one.content) for one in form.files("files")]
    text = form.text("text")
    if text.strip():
        given.append(("", text.encode()))
    if not given:
        return _chosen(call, problem=say("import.nothing"), status=422)
    if len(given) > _MAX_FILES:
        return _chosen(call, problem=say("import.too_many", most=_MAX_FILES), status=422)
    dialect = call.place.settings.lookup.dialect
    held = _Held(tuple(sort_out(Path(name).name, content, dialect) for name, content in given))
    size = sum(len(content) for _, content in given)
    size += _ENTRY_CHARACTERS * sum(len(piece.names) for _, _, piece in held.pieces)
    if size > MOST_OF_ONE:
        return _chosen(call, problem=say("import.too_large"), status=413)
    key = DRAFTS.put(call, held, size=size)
    take = frozenset(name for name, _, piece in held.pieces if not piece.is_doubtful)
    return _sorted(call, key, held, _Choice(take, None, None, "skip", {}, ""))


def _choice(call: Call, form: Form) -> _Choice:
    said = form.text("existing", most=20)
    existing = next((one for one in _EXISTING if one == said), _EXISTING[0])
    return _Choice(
        take=frozenset(form.all("take")),
        team=form.text("team", most=400).strip() or None,
        to=form.text("to", most=200) or None,
        existing=existing,
        rename={
            name[len("rename.") :]: form.text(name, most=400).strip()
            for name in form.names
            if name.startswith("rename.") and form.text(name, most=400).strip()
        },
        comment=form.text("comment", most=1000) or f"import by {call.identity.actor.id}",
    )


def _sorted(call: Call, key: str, held: _Held, choice: _Choice) -> Answer:
    """Show what was found, and ask what of it is to be taken and where it goes."""
    rows: list[dict[str, Any]] = [
        {
            "key": name,
            "file": file.name or say("import.pasted"),
            "form": file.form,
            "kind": piece.kind,
            "count": len(piece.names),
            "names": piece.names[:3],
            "is_doubtful": piece.is_doubtful,
            "is_taken": name in choice.take,
        }
        for name, file, piece in held.pieces
    ]
    faults = [
        {
            "file": file.name or say("import.pasted"),
            "line": fault.line,
            "what": _capital(fault.what),
            "hint": fault.hint,
            "rest": bool(file.pieces),
        }
        for file in held.files
        for fault in file.faults
    ]
    chosen = [row for row in rows if row["is_taken"]]
    return page(
        call,
        "import_sorted.html",
        nav="import",
        title="import.title",
        twin=_twin(held, choice),
        block="main",
        step=3,
        rows=rows,
        faults=faults,
        draft=key,
        choice=choice,
        places=_places(call),
        counts_of={
            kind: sum(row["count"] for row in chosen if row["kind"] == kind)
            for kind in ("connection", "variable")
        },
    )


def _places(call: Call) -> list[str]:
    try:
        return [row.name for row in call.room.backends.list() if "write" in row.abilities]
    except StrongroomError:
        return []


def _twin(held: _Held, choice: _Choice) -> Twin:
    taken = [(file, piece) for name, file, piece in held.pieces if name in choice.take]
    file, piece = taken[0] if taken else (None, None)
    noun = "variables" if piece is not None and piece.kind == "variable" else "connections"
    name = "FILE" if file is None or not file.name else shlex.quote(file.name)
    to = f" --to {shlex.quote(choice.to)}" if choice.to else ""
    return Twin(f"strongroom {noun} import {name}{to} --dry-run", "POST", "/v1/entries")


# --- the plan ----------------------------------------------------------------------------------------


def _planned(call: Call, key: str, held: _Held, choice: _Choice) -> Answer:
    """Show what an import would do, entry by entry."""
    if not choice.take:
        return _sorted(call, key, held, choice)
    problem, reports = "", list[tuple[str, Piece, Report]]()
    try:
        reports = list(_run(call, held, choice, dry_run=True))
    except StrongroomError as error:
        problem = _capital(str(error)) + (f" ({error.hint})" if error.hint else "")
    return page(
        call,
        "import_plan.html",
        nav="import",
        title="import.title",
        status=422 if problem else 200,
        twin=_twin(held, choice),
        block="main",
        step=4,
        problem=problem,
        draft=key,
        choice=choice,
        is_done=False,
        **_told(reports),
    )


def run(call: Call) -> Answer:
    """Import what was planned."""
    form = form_of(call, *_NAMES)
    key = form.text("draft", most=60)
    held = DRAFTS.get(call, key)
    if not isinstance(held, _Held):
        return _chosen(call, problem=say("import.gone"), status=410)
    choice = _choice(call, form)
    reports = list(_run(call, held, choice, dry_run=False))
    DRAFTS.drop(call, key)
    told = _told(reports)
    if not told["counted"]["refused"] and not told["counted"]["skipped"] and not told["eyes"]:
        return redirect(call, "/inventory", toast=Toast("import.done", {"count": told["written"]}))
    return page(
        call,
        "import_plan.html",
        nav="import",
        title="import.title",
        twin=Twin("strongroom inventory", "GET", "/v1/inventory"),
        block="main",
        step=5,
        problem="",
        draft="",
        choice=choice,
        is_done=True,
        **told,
    )


def _run(call: Call, held: _Held, choice: _Choice, *, dry_run: bool) -> Iterator[tuple[str, Piece, Report]]:
    linter = Linter(Kinds({}, cache=Path()))
    transfer = call.room.transfer
    for name, file, piece in held.pieces:
        if name not in choice.take:
            continue
        options = ImportOptions(
            on_existing=choice.existing,
            rename={old: new for old, new in choice.rename.items() if old in piece.names},
            keep_going=True,
            team=choice.team,
            to=choice.to,
            dialect=call.place.settings.lookup.dialect,
            dry_run=dry_run,
            comment=choice.comment,
            check=linter.remarks,
        )
        work = transfer.import_connections if piece.kind == "connection" else transfer.import_variables
        yield file.name or str(say("import.pasted")), piece, work(piece.source, piece.form, options)


def _told(reports: list[tuple[str, Piece, Report]]) -> dict[str, Any]:
    """Give what the plan prints: every line, what needs an eye first, and the counts."""
    lines = [_line(file, piece, line, report) for file, piece, report in reports for line in report.lines]
    eyes = [line for line in lines if line["eye"]]
    rest = [line for line in lines if not line["eye"]]
    counted = Counter(str(line["outcome"]) for line in lines)
    return {
        "eyes": eyes,
        "lines": rest[:_SHOWN],
        "left_out": max(0, len(rest) - _SHOWN),
        "total": len(lines),
        "written": counted["new"] + counted["over"],
        "counted": {name: counted[name] for name in ("new", "over", "skipped", "refused")},
    }


def _line(file: str, piece: Piece, line: Line, report: Report) -> dict[str, Any]:
    outcome = line.outcome
    word = "over" if line.is_overwritten else "new"
    if outcome in ("skipped", "refused"):
        word = outcome
    change = next((one for one in report.names_to_change if one.name == line.name), None)
    return {
        "file": file,
        "kind": piece.kind,
        "name": _shown(line.name),
        "type": _type_of(piece, line.name),
        "raw": line.name,
        "new_name": line.new_name,
        "team": line.team,
        "outcome": word,
        "reason": _capital(line.reason),
        "warning": _capital(line.warning),
        "remarks": line.remarks,
        "suggestion": "" if change is None else change.suggestion,
        "eye": outcome == "refused" or bool(line.warning) or change is not None,
    }


def _type_of(piece: Piece, name: str) -> str | None:
    """Give the type of a connection where the file says it plainly: for its picture alone."""
    entry = piece.source.get(name) if isinstance(piece.source, Mapping) else None
    if isinstance(entry, Mapping):
        return str(entry.get("conn_type") or "") or None
    if isinstance(entry, str) and "://" in entry:
        return entry.partition("://")[0].replace("-", "_").replace("postgresql", "postgres")
    return getattr(entry, "conn_type", None)


def _shown(name: str) -> str:
    """Give a name of a file for a page: control characters escaped."""
    return name if name.isprintable() else name.encode("unicode_escape").decode("ascii")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


ENDPOINTS = (
    Endpoint("GET", "/import", choose, "Ask what to bring in", "page"),
    Endpoint(
        "POST",
        "/import",
        act,
        "Sort out what was brought, or plan its import",
        "page",
        takes_form=True,
        cost=5.0,
    ),
    Endpoint("POST", "/import/run", run, "Import what was planned", "page", takes_form=True, is_change=True),
)
