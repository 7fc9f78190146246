"""
`strongroom dev`: copies of what one may read of a deployment, for work on this machine.

Not for keeping secrets (`up`, `connections`, `variables`): copies end by themselves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from strongroom import place
from strongroom.cli import terminal
from strongroom.cli.app import Group, command
from strongroom.cli.entry import age, public_text
from strongroom.cli.init import asker
from strongroom.cli.output import Column, sentence, show_record, show_rows, write
from strongroom.cli.session import Session, ask_passphrase
from strongroom.cli.survey import counted
from strongroom.errors import AccessDeniedError, ConflictError, InvalidInputError, StrongroomError

if TYPE_CHECKING:
    from strongroom.model.entry import Entry
    from strongroom.model.ref import Kind, Ref
    from strongroom.service.copies import Folder, Into, Line, Missing, Pull, State
    from strongroom.service.inventory import Row
    from strongroom.service.room import Room
    from strongroom.settings import Settings

__all__ = ["app"]

_NATIVE = "native"
_STAYING = ("env", "file")  # kinds that are asked before the copies, as they were without them
_ELSEWHERE = frozenset(
    f"STRONGROOM_{name}"
    for name in ("SOCKET", "URL", "PROFILE", "TOKEN", "TOKEN_FILE", "CA", "ALLOW_PLAIN_HTTP", "DEPLOYMENT")
)
"""What says where else to ask, or which deployment of it."""
_SPAN = re.compile(r"([0-9]{1,5})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=30)
_SHOWN = 20  # rows of what was not copied, for people
_MISSING = (Column("kind", "KIND"), Column("name", "NAME", styles={"": "bold"}), Column("reason", "REASON"))
_ROWS = (
    Column("kind", "KIND"),
    Column("name", "NAME", styles={"": "bold"}),
    Column("conn_type", "TYPE", 1),
    Column("backend", "BACKEND"),
)
_STATUS = {
    "source": "from",
    "into": "kept in",
    "age": "age",
    "expires_at": "good until",
    "held": "copies",
    "expired": "not good any more",
    "not_copied": "not copied",
    "files": "files",
    "answers": "asked here",
}


class _Dev(Group):
    """A command with others below it."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401 -- a context of typer's own
        return [*super().collect_usage_pieces(ctx)[:-2], "[COMMAND]"]


app = typer.Typer(name="dev", cls=_Dev, add_completion=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def dev(
    context: typer.Context,
    *,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="PATTERN", help="Only names like this; * is any text; repeatable."),
    ] = None,
    kind: Annotated[
        Literal["connection", "variable"] | None, typer.Option(metavar="KIND", help="connection or variable.")
    ] = None,
    into: Annotated[
        Literal["store", "env", "airflow-settings"],
        typer.Option(
            metavar="WHERE",
            help="store, encrypted; or in clear: env, ./.env, or airflow-settings, ./airflow_settings.yaml.",
        ),
    ] = "store",
    expires_in: Annotated[
        str, typer.Option(metavar="TIME", help="How long the copies are good: 30m, 12h, up to 30d.")
    ] = "12h",
    reason: Annotated[
        str, typer.Option(metavar="TEXT", callback=public_text, help="Why; recorded where it is read.")
    ] = "local development",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be copied; read no value, write nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Let a line be added to .gitignore, unasked.")
    ] = False,
) -> None:
    """
    Copy what you may read of a deployment, to work here without it.

    Reads every connection and variable that you may read, of the server or agent that is named (--profile),
    else of the deployment of your settings (--deployment), and keeps them in an encrypted store in
    ./.strongroom/dev, which only you can open and git does not see. From then on everything that runs in
    this folder is answered by the environment and by that store: airflow standalone, airflow dags test,
    strongroom.connection(…). Nothing else has to be set.

    Each value is revealed to you: decided and recorded where it stands, with the reason. What you may not
    read is listed with the reason of that decision. Copies are refused once they are not good any more;
    the same command makes them anew, and goes on where an interrupted one stopped.

    Example:
      $ strongroom --profile prod dev
      $ strongroom --profile prod dev --only 'orders_*' --expires-in 2h
      $ strongroom --deployment prod dev --into env
      $ strongroom dev status
      $ strongroom dev clean
    """
    if context.invoked_subcommand is not None:
        return
    asked = _Asked(
        only=tuple(only or ()),
        kinds=(kind,) if kind else ("connection", "variable"),
        into=into,
        lifetime=_span(expires_in),
        reason=reason.strip(),
        is_dry=dry_run,
        is_agreed=yes,
    )
    if not asked.reason:
        raise InvalidInputError("a reveal needs a reason", hint='say why: --reason "looking for a bug"')
    _Copying(context.obj, asked).run()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What the command line says."""

    only: tuple[str, ...]
    kinds: tuple[Kind, ...]
    into: Into
    lifetime: timedelta
    reason: str
    is_dry: bool
    is_agreed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """
    Where is copied from.

    Args:
        said: in words.
        passed_over: its backends whose entries need no copy.
        is_agent: values are read, not revealed, and come with their references resolved.
    """

    room: Room
    said: str
    passed_over: frozenset[str] = frozenset()
    is_agent: bool = False


class _Copying:
    """One run of the command."""

    def __init__(self, session: Session, asked: _Asked) -> None:
        from strongroom.service.copies import Folder  # noqa: PLC0415 -- `--help` does without

        self._session = session
        self._asked = asked
        self._folder = Folder(_project(session))
        self._troubles: dict[str, StrongroomError] = {}
        self._removed = 0

    def run(self) -> None:
        # What is asked here later, with nothing of another place said.
        here = _settings_here(self._session, self._folder)
        source = _source(self._session, self._tell)
        with source.room:
            if self._asked.is_dry:
                self._show_wanted(source)
                return
            standing = self._checked(source)
            self._folder.make()
            with self._folder.locked():
                try:
                    state = self._pulled(source, here, standing)
                except BaseException:
                    if standing is None and not self._has_any():
                        self._folder.remove()  # nothing was copied: nothing to go on with
                    raise
        self._show(state)

    def _has_any(self) -> bool:
        if not self._folder.key.exists():
            return False
        with _copies(self._session, self._folder) as store:
            return any(store.inventory.pages(team=self._session.team))

    # --- before ----------------------------------------------------------------------------------

    def _checked(self, source: _Source) -> State | None:
        """Refuse what would mix copies or show them to git; give what stands here of the same source."""
        standing = self._folder.state()
        if standing is not None and (standing.source, standing.into) != (source.said, self._asked.into):
            raise ConflictError(
                f"copies from {standing.source} stand here already, in {_where(standing.into)}",
                hint="strongroom dev clean removes them",
            )
        self._check_git()
        return standing

    def _check_git(self) -> None:
        from strongroom.service.copies import files  # noqa: PLC0415 -- as above

        environ, into = self._session.environ, self._asked.into
        self._folder.make()
        with suppress(InvalidInputError):  # without git the folder's own .gitignore has to do
            if not files.check_git(self._folder.store, environ):
                raise ConflictError(
                    "git would take .strongroom along", hint="add this line to .gitignore: /.strongroom/"
                )
        if into == "store":
            return
        path = self._folder.project / files.FILES[into]
        if not files.check_git(path, environ):
            question = f"add /{path.name} to {path.parent.name}/.gitignore, since git would take it along"
            terminal.confirm(question, is_agreed=self._asked.is_agreed)
            files.ignore(path)
            if not files.check_git(path, environ):
                raise ConflictError(f"git would still take {path.name} along", hint="look at .gitignore")

    # --- copying ---------------------------------------------------------------------------------

    def _pulled(self, source: _Source, here: Settings, standing: State | None) -> State:
        from strongroom.service.copies import State, files, pull  # noqa: PLC0415 -- as above

        now = _now()
        expires = now + self._asked.lifetime
        is_going_on = standing is not None and standing.ended is None
        began = standing.began if standing is not None and is_going_on else now
        state = State(source=source.said, into=self._asked.into, began=began, expires=expires)
        if standing is not None:
            state = replace(state, files=standing.files)
        self._folder.note(state)
        with (
            _copies(self._session, self._folder, is_made=True) as store,
            terminal.progress("copying") as show,
        ):
            asked = self._pull(source, expires, began if is_going_on else None)
            asked = asked if show is None else replace(asked, progress=show)
            lines = pull(source.room, store, asked, now=_now, on_trouble=self._tell)
            self._check_any(lines)
            if self._asked.into != "store":
                name = files.FILES[self._asked.into]
                self._folder.note(replace(state, files=(name,)))
                files.write(
                    store,
                    self._folder.project / name,
                    self._asked.into,
                    source=source.said,
                    expires=expires,
                    team=self._session.team,
                )
                state = replace(state, files=(name,))
        if self._asked.into == "store":
            self._folder.lay(_chain(here), here.deployment)
        else:
            self._folder.forget_store()
        state = replace(
            state,
            ended=_now(),
            copied=sum(line.outcome in ("copied", "kept") for line in lines),
            missing=tuple(_missing(lines)),
        )
        self._folder.note(state)
        self._removed = sum(line.outcome == "removed" for line in lines)
        return state

    def _pull(self, source: _Source, expires: datetime, since: datetime | None) -> Pull:
        from strongroom.service.copies import Pull  # noqa: PLC0415 -- as above

        def revealed(ref: Ref) -> Entry:
            if source.is_agent:
                return source.room.lookup.entry(ref)
            return source.room.entries.reveal(ref, reason=self._asked.reason)

        return Pull(
            reveal=revealed,
            resolves=source.is_agent,
            patterns=self._asked.only,
            kinds=self._asked.kinds,
            team=self._session.team,
            passed_over=source.passed_over,
            expires=expires,
            since=since,
            comment=f"copied from {source.said}",
            is_whole=not self._troubles,
        )

    def _check_any(self, lines: Sequence[Line]) -> None:
        count = Counter(line.outcome for line in lines)
        if not lines and self._troubles:
            raise next(reversed(self._troubles.values()))
        if count["denied"] and not count["copied"] and not count["kept"]:
            first = next(line for line in lines if line.outcome == "denied")
            raise AccessDeniedError(
                f"none of {counted(count['denied'], 'entry')} may be read: {first.ref}: {first.reason}",
                reason=first.reason,
                hint="ask for the right to reveal them",
            )

    def _tell(self, name: str, error: StrongroomError) -> None:
        if name not in self._troubles:
            self._troubles[name] = error
            terminal.warn(f"what {name} holds is missing: {error}", self._session, hint=error.hint)

    # --- showing ---------------------------------------------------------------------------------

    def _show_wanted(self, source: _Source) -> None:
        from strongroom.service.copies.pull import wanted  # noqa: PLC0415 -- as above

        rows, _ = wanted(source.room, self._pull(source, _now(), None), self._tell)
        show_rows(self._session, _ROWS, [[_row(row) for row in rows]], nothing="nothing would be copied")
        if rows:
            terminal.note(
                f"{counted(len(rows), 'entry')} of {source.said} would be read; what may not be, shows then",
                self._session,
            )

    def _show(self, state: State) -> None:
        facts = _facts(state) | {"removed": self._removed}
        if self._session.output != "table":
            sentence(self._session, "", facts)
            self._warn_of_elsewhere(state)
            return
        until = f"good until {state.expires:%Y-%m-%dT%H:%M:%SZ}"
        write(terminal.clean(f"copied {counted(state.copied, 'entry')} from {state.source}, {until}"))
        write(f"they are in {_where(state.into)}")
        if self._removed:
            write(f"removed {counted(self._removed, 'copy')} of what is not there any more")
        _show_missing(self._session, state.missing)
        self._warn_of_elsewhere(state)
        if state.into != "store":
            terminal.warn("the file holds secrets in clear; only you can read it (0600)", self._session)
        write("")
        write("next:")
        write("  strongroom dev status  see how old they are")
        write("  strongroom dev clean   remove them")

    def _warn_of_elsewhere(self, state: State) -> None:
        """Tell what keeps processes here from being answered by the copies."""
        said = None if state.into != "store" else _elsewhere(self._session)
        if said is not None:
            terminal.warn(said[0], self._session, hint=said[1])


# --- where from, and where to --------------------------------------------------------------------------


def _project(session: Session) -> Path:
    from strongroom.settings import working_folder  # noqa: PLC0415 -- `--help` does without

    named = session.environ.get("STRONGROOM_CONFIG")
    # What is only mine stands beside a file that every later process names too.
    return (working_folder() / named).parent if named and session.config is None else working_folder()


def _plain(environ: Mapping[str, str]) -> dict[str, str]:
    """Give *environ* without what names another place than the settings here."""
    plain = {name: text for name, text in environ.items() if name not in _ELSEWHERE}
    return plain | {"STRONGROOM_AGENT": "off"}


def _settings_here(session: Session, folder: Folder) -> Settings:
    """
    Read what holds here without the copies.

    Raises:
        SettingsError: it is wrong, or nobody agreed to it yet.
    """
    from strongroom import settings  # noqa: PLC0415 -- `--help` does without

    return settings.load(None, environ=_plain(session.environ), cwd=folder.project, with_copies=False)


def _chain(here: Settings) -> tuple[str, ...]:
    """Give what is asked from now on: what stays on this machine and was asked before, then the copies."""
    kinds = {name: here.backend[name].kind if name in here.backend else name for name in here.chain}
    staying = [name for name, kind in kinds.items() if kind in _STAYING] if kinds else ["env"]
    return (*staying, _NATIVE)


def _source(session: Session, tell: Callable[[str, StrongroomError], None]) -> _Source:
    """
    Open what is copied from; *tell* is told of a backend of the settings that cannot be made here.

    Raises:
        InvalidInputError: nothing is named that would hold more than this machine has already.
    """
    where = place.Place(place.LIBRARY) if session.config is not None else place.find(session.environ)
    deployment = f", deployment {session.deployment}" if session.deployment else ""
    if where.kind == place.AGENT:
        return _Source(room=session.room(), said=f"the agent at {where.path}", is_agent=True)
    if where.kind == place.SERVER:
        return _Source(room=session.room(), said=_server(session) + deployment)
    return _settled(session, tell)


def _server(session: Session) -> str:
    from strongroom.remote.profile import whereabouts  # noqa: PLC0415 -- only where a server is asked

    address, _ = whereabouts(session.environ, deployment=session.deployment)
    profile = session.environ.get("STRONGROOM_PROFILE")
    return f"the profile {profile} ({address.url})" if profile else f"the server {address.url}"


def _settled(session: Session, tell: Callable[[str, StrongroomError], None]) -> _Source:
    from strongroom import assembly, settings  # noqa: PLC0415 -- `--help` does without

    wanted = settings.load(
        session.config, environ=session.environ, deployment=session.deployment, with_copies=False
    )
    if session.config is None and wanted.agent.required:
        raise place.missing_agent()
    staying = set(_chain(wanted)) - {_NATIVE}
    more = [name for name in wanted.chain if name not in staying and name != _NATIVE]
    if not more and not wanted.store.may_exist:
        raise InvalidInputError(
            "no deployment is named that could be copied from",
            hint="strongroom login URL, then: strongroom --profile NAME dev; or --deployment NAME",
        )
    wanted = replace(wanted, write_to=None)  # nothing is written there
    room = assembly.open_room(wanted, environ=session.environ, passphrase=ask_passphrase, on_trouble=tell)
    file = f" of {wanted.source.name}" if wanted.source else ""
    return _Source(
        room=room, said=f"the deployment {wanted.deployment}{file}", passed_over=frozenset(staying)
    )


def _elsewhere(session: Session) -> tuple[str, str] | None:
    """Tell what of the environment asks another place than the settings here, and what to do."""
    kept = dict(session.environ)
    if session.profile is not None:
        kept.pop("STRONGROOM_PROFILE", None)  # said for this command alone
    where = place.find(kept)
    if where.setting is not None:
        return (
            f"{where.setting} is set: what runs with it asks there, and not these copies",
            f"unset {where.setting}",
        )
    if where.kind == place.AGENT:
        return (
            f"an agent answers at {where.path}: what runs here asks it, and not these copies",
            "export STRONGROOM_AGENT=off",
        )
    if kept.get("STRONGROOM_DEPLOYMENT"):
        return (
            "STRONGROOM_DEPLOYMENT is set: what runs with it has the settings of that deployment",
            "unset STRONGROOM_DEPLOYMENT",
        )
    return None


def _where(into: Into) -> str:
    from strongroom.service.copies import files  # noqa: PLC0415 -- `--help` does without

    return "./.strongroom/dev, encrypted" if into == "store" else f"./{files.FILES[into]}, in clear"


# --- status and clean ----------------------------------------------------------------------------------


@command(app, "status")
def status(context: typer.Context) -> None:
    """
    Tell what was copied, how old it is and how long it is good.

    Example:
      $ strongroom dev status
      $ strongroom dev status --output json
    """
    from strongroom.service.copies import Folder  # noqa: PLC0415 -- `--help` does without

    session: Session = context.obj
    folder = Folder(_project(session))
    state = folder.state()
    if state is None:
        sentence(session, "nothing was copied here; strongroom dev does it", {"source": None})
        return
    facts = _facts(state) | _standing(session, folder, state)
    shown = dict(facts)
    if session.output == "table":
        shown["age"] = age(state.began, _now())
        shown["into"] = _where(state.into)
        shown["not_copied"] = len(state.missing) or None
        shown["expired"] = facts["expired"] or None
        shown["answers"] = "yes" if facts["answers"] else None
    show_record(session, shown, labels=_STATUS)
    if session.output == "table":
        _show_missing(session, state.missing)
        _remark(session, state, facts)


def _standing(session: Session, folder: Folder, state: State) -> dict[str, object]:
    """Tell how many copies are not good any more, and whether they are asked at all."""
    now = _now()
    if state.into != "store":
        gone = state.expires <= now
        return {"held": state.copied, "expired": state.copied if gone else 0, "answers": False}
    dates: list[datetime] = []
    if folder.key.exists() and folder.store.exists():
        with _copies(session, folder) as store:
            pages = store.inventory.pages(team=session.team)
            dates = [row.metadata.not_after or state.expires for page in pages for row in page]
    return {
        "held": len(dates),
        "expires_at": min(dates, default=state.expires),
        "expired": sum(date <= now for date in dates),
        "answers": folder.settings.exists() and _elsewhere(session) is None,
    }


def _copies(session: Session, folder: Folder, *, is_made: bool = False) -> Room:
    """Open the store of the copies alone; with *is_made* it is made where it is missing."""
    from strongroom import assembly, settings  # noqa: PLC0415 -- `--help` does without

    environ = _plain(session.environ)
    alone = settings.load(
        None, environ=environ, cwd=folder.project, tables=folder.tables(), with_copies=False
    )
    if is_made:
        return assembly.create_room(alone, environ=environ, passphrase=asker(is_new=False))
    return assembly.open_room(alone, environ=environ, passphrase=ask_passphrase)


def _remark(session: Session, state: State, facts: Mapping[str, object]) -> None:
    if state.ended is None:
        terminal.note("the last strongroom dev was interrupted; the same command goes on", session)
    elif facts["expired"]:
        terminal.note("copies are not good any more; strongroom dev makes them anew", session)
    said = _elsewhere(session)
    if state.into == "store" and said is not None:
        terminal.warn(said[0], session, hint=said[1])


@command(app, "clean")
def clean(context: typer.Context) -> None:
    """
    Remove every copy, overwritten first.

    The key of the store goes before the store. Usable twice; what others wrote in .env stays as it is.

    Example:
      $ strongroom dev clean
    """
    from strongroom.service.copies import Folder, files  # noqa: PLC0415 -- `--help` does without

    session: Session = context.obj
    folder = Folder(_project(session))
    with suppress(InvalidInputError):  # what is known cannot be read: all is removed just the same
        folder.state()
    removed = [name for name in files.FILES.values() if files.remove(folder.project / name)]
    had_folder = folder.path.is_dir()
    left = folder.remove()
    removed += ["./.strongroom/dev"] if had_folder else []
    told = [name if name.startswith("./") else f"./{name}" for name in removed]
    text = f"removed the copies in {' and '.join(told)}" if told else "there are no copies here"
    sentence(session, text, {"removed": told, "left": list(left)})
    if left:
        terminal.warn(
            f"./.strongroom/dev holds what strongroom dev did not write: {', '.join(left)}", session
        )


# --- telling -------------------------------------------------------------------------------------------


def _missing(lines: Sequence[Line]) -> list[Missing]:
    from strongroom.service.copies import Missing  # noqa: PLC0415 -- `--help` does without

    return [
        Missing(
            kind=line.ref.kind,
            name=line.ref.name,
            team=line.ref.team,
            reason=line.reason,
            is_denied=line.outcome == "denied",
        )
        for line in lines
        if line.outcome in ("denied", "failed")
    ]


def _show_missing(session: Session, missing: Sequence[Missing]) -> None:
    if not missing:
        return
    write("")
    write(f"{counted(len(missing), 'entry')} not copied:")
    rows = [{"kind": one.kind, "name": one.name, "reason": one.reason} for one in missing[:_SHOWN]]
    show_rows(session, _MISSING, [rows])
    if len(missing) > _SHOWN:
        write(f"and {len(missing) - _SHOWN:,} more: --output json tells all")


def _facts(state: State) -> dict[str, object]:
    return {
        "source": state.source,
        "into": state.into,
        "began_at": state.began,
        "ended_at": state.ended,
        "expires_at": state.expires,
        "copied": state.copied,
        "files": [f"./{name}" for name in state.files],
        "missing": [
            {
                "kind": one.kind,
                "name": one.name,
                "team": one.team,
                "reason": one.reason,
                "is_denied": one.is_denied,
            }
            for one in state.missing
        ],
    }


def _row(row: Row) -> dict[str, object]:
    return {
        "kind": row.ref.kind,
        "name": row.ref.name,
        "conn_type": row.metadata.conn_type,
        "backend": row.backend,
    }


def _span(text: str) -> timedelta:
    found = _SPAN.fullmatch(text)
    lifetime = timedelta(**{_UNITS[found[2]]: int(found[1])}) if found else timedelta()
    if not timedelta() < lifetime <= _LONGEST:
        raise InvalidInputError("--expires-in is no time up to 30 days", hint="--expires-in 30m, 12h or 5d")
    return lifetime


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)
