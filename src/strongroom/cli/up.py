"""`strongroom up`: the first command: make what is missing, show what there is and what to type next."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, single
from strongroom.cli.init import asker, places
from strongroom.cli.output import sentence, write
from strongroom.cli.session import Session
from strongroom.cli.survey import Survey, counted, facts_of_place, show_places, show_survey
from strongroom.cli.terminal import clean, warn
from strongroom.errors import BackendConfigError, InvalidInputError, SettingsError, StrongroomError
from strongroom.service.lookup import shell_word

if TYPE_CHECKING:
    from strongroom.cli.behind import Served
    from strongroom.consent import Consent
    from strongroom.model.ref import Ref
    from strongroom.service.discovery import Discovery, Place
    from strongroom.service.proposal import NewFile, Proposal
    from strongroom.service.room import Room
    from strongroom.settings import BackendSettings, Settings
    from strongroom.transfer.plan import Line

app = single()

# For one answer of one place that was found, and for all that give none: the whole takes less than 5 s.
_ANSWER_SECONDS = 1.5
_SILENCE_SECONDS = 3.0
_REFUSED_SHOWN = 10
_NATIVE = "native"
_ENV = "env"


@command(app, "up")
def up(
    context: typer.Context,
    *,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Write the settings and import what was found, unasked.")
    ] = False,
    no: Annotated[bool, typer.Option("--no", help="Ask nothing, and change nothing that was found.")] = False,
    is_served: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Run the server behind, on this machine alone.")
    ] = True,
) -> None:
    """
    Make what is missing, and show what there is.

    Makes an encrypted store and its key. Finds, without changing any of it, what is here already: Airflow's
    connections and variables in the environment, its metadata database and secrets backend, .env,
    airflow_settings.yaml, Vault; and shows all of it as one list, the problems first. Then offers to write
    that down as settings and to import it into the store: each on a yes, and only shown where nobody can be
    asked. Starts the server behind, on this machine alone, unless it runs, and prints a link that signs in
    once. Usable again at any time: what is there is left as it is.

    Example:
      $ strongroom up
      $ strongroom up --yes
    """
    session: Session = context.obj
    if yes and no:
        raise InvalidInputError(
            "--yes and --no exclude one another", hint="say one of them, or none to be asked"
        )
    session.require_here("a store is made and looked around")
    _Up(session, _Answers(session, is_yes=yes, is_no=no), is_served=is_served).run()


@dataclass(frozen=True, slots=True)
class _Answers:
    """Who agrees to what."""

    session: Session
    is_yes: bool
    is_no: bool

    @property
    def can_ask(self) -> bool:
        return not self.is_no and not self.is_yes and self.session.output == "table" and terminal.can_ask()

    def agreed(self, question: str) -> bool:
        if not self.can_ask:
            return self.is_yes
        sys.stdout.flush()
        return terminal.ask_text(f"{clean(question)}? [y/N] ").strip().lower() in ("y", "yes")


class _Up:
    """One run: what it was told, and what it found."""

    def __init__(self, session: Session, answers: _Answers, *, is_served: bool) -> None:
        self._session = session
        self._is_served = is_served
        self._answers = answers
        self._agree()
        self._settings = session.settings()
        self._is_new = not self._settings.store.may_exist
        # Settings that are there already are the user's word: what else was found is only told.
        self._is_said = bool(self._settings.source or self._settings.personal or self._settings.chain)
        self._ask = asker(is_new=self._is_new)
        self._trouble: dict[str, StrongroomError] = {}

    def run(self) -> None:
        discovery = self._discovered()
        has_store = self._can_store()
        wanted = self._settings if self._is_said else self._proposed(discovery, has_store=has_store)
        with self._opened(wanted, has_store=has_store) as room:
            unmade = set(self._trouble)
            survey = Survey.of(room, self._session, self._trouble)
            found = self._beside(discovery) if self._is_said else discovery.places
            self._show(found, survey)
            offer = _Offer(imports=self._imports(discovery, room) if self._is_said else [])
            if not self._is_said:
                kept = [place.name for place in discovery.asked if _is_kept(place, survey, unmade)]
                offer = self._offered(discovery, kept, survey, room, has_store=has_store)
            offer.commands = [key for place in found for key in place.needs_command]
            offer.served = self._served(room) if has_store else None
        self._end(found, survey, offer)

    def _served(self, room: Room) -> Served | None:
        if not self._is_served or not self._settings.server.autostart:
            return None
        from strongroom.cli.behind import serve_behind  # noqa: PLC0415 -- `--help` does without

        return serve_behind(self._session, self._settings, room)

    # --- finding and opening -----------------------------------------------------------------------

    def _agree(self) -> None:
        """
        Ask for a yes to settings that were only come across. `--yes` is none: it was said before anybody
        saw them. Without a yes they are refused when they are read.
        """
        needed = self._consent()
        if needed is None or needed.is_given or not self._answers.can_ask:
            return
        write(clean(f"{_near(needed.file)} stands here, and nobody agreed to it yet:"))
        for line in needed.told():
            write(clean(f"  {line}"))
        if self._answers.agreed("let it do that, now and with every later command here"):
            _keep(needed)

    def _consent(self) -> Consent | None:
        from strongroom import settings  # noqa: PLC0415 -- `--help` needs no settings

        return settings.consent(self._session.config, environ=self._session.environ)

    def _discovered(self) -> Discovery:
        from strongroom.service.discovery import discover  # noqa: PLC0415 -- `--help` does without

        environ = self._session.environ
        found = discover(environ, cwd=Path.cwd())
        commands = [key for place in found.places for key in place.needs_command]
        if commands and self._answers.agreed(
            f"run the command that Airflow's configuration names as {' and '.join(commands)}"
        ):
            found = discover(environ, cwd=Path.cwd(), may_run=True)
        return found

    def _can_store(self) -> bool:
        from strongroom.assembly import require_store_tools  # noqa: PLC0415 -- it loads the store

        try:
            require_store_tools()
        except BackendConfigError as error:
            if not self._is_new:
                raise
            warn(f"no store was made: {error}", self._session, hint=error.hint)
            return False
        return True

    def _load(self, tables: dict[str, Any]) -> Settings:
        from strongroom import settings  # noqa: PLC0415 -- `--help` needs no settings

        session = self._session
        return settings.load(
            session.config, environ=session.environ, deployment=session.deployment, tables=tables
        )

    def _proposed(self, discovery: Discovery, *, has_store: bool) -> Settings:
        """Give settings over what was found, without the places whose tables cannot be right."""
        silent = sum(place.kind not in (_ENV, "file") for place in discovery.asked)
        seconds = min(_ANSWER_SECONDS, _SILENCE_SECONDS / max(silent, 1))
        tables = discovery.tables(has_store=has_store, timeout_seconds=seconds)
        for name, table in list(tables["backend"].items()):
            try:
                self._load({"backend": {name: table}})
            except SettingsError as error:
                self._trouble[name] = error
                del tables["backend"][name]
                tables["chain"].remove(name)
        return self._load(tables)

    def _opened(self, wanted: Settings, *, has_store: bool) -> Room:
        """Make what is missing; where a store could not be made at all, open what else there is."""
        from strongroom import assembly  # noqa: PLC0415 -- it loads the store

        make = assembly.create_room if has_store else assembly.open_room
        told = None if self._is_said else self._tell
        return make(wanted, environ=self._session.environ, passphrase=self._ask, on_trouble=told)

    def _tell(self, name: str, error: StrongroomError) -> None:
        if name == _NATIVE:
            raise error
        self._trouble[name] = error

    def _beside(self, discovery: Discovery) -> tuple[Place, ...]:
        """Give what was found that the settings do not name."""
        known = self._settings.backend.values()
        return tuple(
            replace(place, reason=place.reason or "your settings do not name it", table=None)
            for place in discovery.places
            if place.kind != "env" and not any(_is_same(place, backend) for backend in known)
        )

    def _imports(self, discovery: Discovery, room: Room) -> list[tuple[str, str]]:
        """Give the commands that bring in what stands beside the settings, each with why."""
        if not any("write" in backend.abilities for backend in room.backends.list()):
            return []
        unnamed = {place.name for place in self._beside(discovery)}
        return [
            (typed, f"bring in what {place.where} holds")
            for place in discovery.asked
            if place.name in unnamed
            for typed in _commands_for(place)
        ]

    # --- showing -----------------------------------------------------------------------------------

    def _show(self, found: Sequence[Place], survey: Survey) -> None:
        for place in found:
            for warning in place.warnings:
                warn(warning, self._session)
        if self._is_said:
            for name, error in survey.trouble.items():
                warn(f"the names of {name} are missing here: {error}", self._session)
        if self._session.output != "table":
            return
        made = places(self._settings)
        if self._settings.store.may_exist:
            write(clean(f"{'made' if self._is_new else 'found'} the store {made['store']}"))
            write(clean(f"its key is {made['key']}: keep {_copy(self._settings)} in another place"))
            write("")
        if any(place.kind != "env" for place in found):
            show_places(self._session, found, survey)
            write("")
        show_survey(self._session, survey)

    def _end(self, found: Sequence[Place], survey: Survey, offer: _Offer) -> None:
        commands = _next(survey, offer)
        if self._session.output != "table":
            is_made = self._is_new and self._settings.store.may_exist
            facts = {**places(self._settings), "made": is_made, **survey.facts()}
            facts["places"] = [facts_of_place(place, survey) for place in found]
            facts |= offer.facts()
            sentence(self._session, "", facts | {"next": [typed for typed, _ in commands]})
            return
        write("")
        if offer.served is not None:
            offer.served.show()
        write("next:")
        _write_commands(commands)

    # --- offering ----------------------------------------------------------------------------------

    def _offered(
        self, discovery: Discovery, kept: list[str], survey: Survey, room: Room, *, has_store: bool
    ) -> _Offer:
        from strongroom.service.proposal import propose  # noqa: PLC0415 -- as `_discovered`

        def proposal(*, has_team: bool = True) -> Proposal:
            return propose(
                discovery, kept, deployment=room.deployment, has_store=has_store, has_team=has_team
            )

        offer = _Offer(importable=len(survey.missing) if has_store else 0)
        if any(name != _ENV for name in kept):
            first = proposal()
            has_team = self._written(first.team, "the team's settings", offer)
            # Without the team's part, mine has to hold all of it.
            is_whole = has_team or not self._answers.can_ask
            mine = first.mine if is_whole else proposal(has_team=False).mine
            self._written(mine, "what is only yours", offer)
            if offer.written and (needed := self._consent()) is not None:
                _keep(needed)  # he was shown it, and said yes to it
        if offer.importable and self._answers.agreed(
            f"import {counted(offer.importable, 'entry')} into the store, where what it holds stays"
        ):
            offer.lines = self._imported(room, survey.missing)
        return offer

    def _written(self, files: Sequence[NewFile], what: str, offer: _Offer) -> bool:
        """Show *files*, and write them on a yes."""
        from strongroom.service.proposal import write as write_files  # noqa: PLC0415 -- as above

        if not files:
            return False
        offer.files += files
        if self._session.output == "table":
            write("")
            write(f"{what}, {'to be written' if self._answers.is_yes else 'not written yet'}:")
            _write_files(files)
        if not self._answers.agreed(f"write {' and '.join(_near(file.path) for file in files)}"):
            return False
        write_files(files)
        offer.written += [_near(file.path) for file in files]
        if self._session.output == "table":
            write(clean(f"wrote {', '.join(_near(file.path) for file in files)}"))
        return True

    def _imported(self, room: Room, refs: Sequence[Ref]) -> list[Line]:
        from strongroom import assembly  # noqa: PLC0415 -- as `_opened`
        from strongroom.service.adoption import bring_in  # noqa: PLC0415 -- only on a yes

        only = self._load({"chain": [_NATIVE]})
        with assembly.open_room(only, environ=self._session.environ, passphrase=self._ask) as store:
            lines = bring_in(room, store, refs, dialect=self._settings.lookup.dialect)
        if self._session.output == "table":
            _write_report(lines)
        return lines


@dataclass(slots=True)
class _Offer:
    """
    What was offered and what of it was done.

    Args:
        files: shown, written or not.
        written: paths.
        importable: entries that the store does not hold.
        lines: what became of each in the import; None where there was none.
        commands: of Airflow's configuration, that were not run.
        imports: what to type to bring in what stands beside the settings, and why.
        served: the server that runs behind, or None.
    """

    files: list[NewFile] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    importable: int = 0
    lines: list[Line] | None = None
    commands: list[str] = field(default_factory=list)
    imports: list[tuple[str, str]] = field(default_factory=list)
    served: Served | None = None

    @property
    def open(self) -> str:
        """What is left to say yes to, in words."""
        told = [f"run the command of {key}" for key in self.commands]
        if len(self.written) < len(self.files):
            told.append("write these files")
        if self.importable and self.lines is None:
            told.append(f"import {counted(self.importable, 'entry')}")
        return " and ".join(told)

    def facts(self) -> dict[str, object]:
        files = [
            {
                "path": str(file.path),
                "text": file.shown,
                "mode": f"{file.mode:o}",
                "is_secret": file.is_secret,
            }
            for file in self.files
        ]
        counts = None if self.lines is None else dict(Counter(line.outcome for line in self.lines))
        refused = [
            {"name": line.name, "reason": line.reason}
            for line in self.lines or ()
            if line.outcome == "refused"
        ]
        return {
            "files": files,
            "written": self.written,
            "importable": self.importable,
            "imported": counts,
            "refused": refused,
            **({} if self.served is None else {"server": self.served.facts()}),
        }


def _keep(consent: Consent) -> None:
    try:
        consent.give()
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise InvalidInputError(f"the yes cannot be kept in {consent.home}: {reason}") from None


def _is_kept(place: Place, survey: Survey, unmade: set[str]) -> bool:
    """Tell whether *place* belongs into settings: it can be made, and a mere guess has proved right."""
    error = survey.trouble.get(place.name)
    if place.name in unmade or isinstance(error, BackendConfigError | SettingsError):
        return False
    # A file that cannot be read would stop every lookup until it is mended; a server comes back by itself.
    if error is not None and place.kind == "file":
        return False
    return not place.is_guess or survey.entries[place.name] > 0


def _is_same(place: Place, backend: BackendSettings) -> bool:
    """Tell whether a backend of the settings is *place*."""
    if backend.kind != place.kind or not place.table:
        return False
    return all(_said(backend, key) == value for key, value in place.table.items() if value in place.key)


def _said(backend: BackendSettings, key: str) -> object:
    try:
        return backend.options.get(key) if key == "url" else backend.path(key)
    except SettingsError:
        return None


def _commands_for(place: Place) -> Iterator[str]:
    """Give what to type to bring in all that *place* holds; nothing where no command reads such a place."""
    for key, value in (place.table or {}).items():
        path = shell_word(_near(value)) if isinstance(value, Path) else ""
        if key == "airflow_home":
            yield f"strongroom airflow import --home {path}"
        elif path:
            nouns = [noun for noun in ("connections", "variables") if key.startswith(noun)]
            both = ["connections", "variables"] if key in ("environment", "settings") else []
            yield from (f"strongroom {noun} import {path}" for noun in nouns or both)


def _near(path: Path) -> str:
    return f"./{path.relative_to(Path.cwd())}" if path.is_relative_to(Path.cwd()) else str(path)


def _write_files(files: Sequence[NewFile]) -> None:
    for file in files:
        write(clean(f"  {_near(file.path)} (mode {file.mode:o})"))
        for line in file.shown.rstrip("\n").split("\n"):
            write(clean(f"      {line}").rstrip())


def _write_report(lines: Sequence[Line]) -> None:
    count = Counter(line.outcome for line in lines)
    told = [
        f"{count[outcome]:,} {outcome}" for outcome in ("imported", "skipped", "refused") if count[outcome]
    ]
    write(", ".join(told) or "nothing was imported")
    refused = [line for line in lines if line.outcome == "refused"]
    for line in refused[:_REFUSED_SHOWN]:
        write(clean(f"  {line.name}: {line.reason}"))
    if len(refused) > _REFUSED_SHOWN:
        write(f"  … and {len(refused) - _REFUSED_SHOWN:,} more")


def _copy(settings: Settings) -> str:
    return "a copy" if any(wrapper.path for wrapper in settings.store.wrappers) else "it"


# --- what to type next -----------------------------------------------------------------------------


def _next(survey: Survey, offer: _Offer) -> list[tuple[str, str]]:
    """Give the commands to type next, each with why."""
    doctor = ("strongroom doctor", "see what is as it should be")
    again = [*([("strongroom up --yes", offer.open)] if offer.open else []), *offer.imports]
    if not survey.total:
        return [
            *again,
            ("strongroom connections import connections.json", "bring in an Airflow export"),
            ("strongroom variables set region", "or type in a first value"),
            doctor,
        ]
    ref = survey.first[0].ref
    commands = [
        *again,
        (
            f"strongroom explain {ref.kind} {'-- ' * ref.name.startswith('-')}{shell_word(ref.name)}",
            "see what answers, and why",
        ),
    ]
    if survey.example is not None:
        ref = survey.example.ref
        typed = f"strongroom run --{ref.kind} {shell_word(ref.name)} -- python job.py"
        commands.append((typed, "hand it to a job"))
    return [*commands, doctor]


def _write_commands(commands: Sequence[tuple[str, str]]) -> None:
    width = max(len(typed) for typed, _ in commands)
    is_wide = (
        sys.stdout.isatty() and 4 + width + max(len(why) for _, why in commands) > get_terminal_size().columns
    )
    for typed, why in commands:
        write(clean(f"  {typed}") + f"\n      {why}" if is_wide else clean(f"  {typed:<{width}}  {why}"))
