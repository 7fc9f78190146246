"""`strongroom init`: make a store and its key."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, single
from strongroom.cli.entry import is_text
from strongroom.cli.output import show_record, write
from strongroom.cli.session import Session, ask_passphrase
from strongroom.errors import ConflictError, InvalidInputError
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from strongroom.service.room import Room
    from strongroom.settings import Settings

__all__ = ["asker", "create", "places"]

app = single()

_FILE = "strongroom.toml"
_LABELS = {
    "deployment": "deployment",
    "store": "store",
    "key": "key",
    "audit": "audit",
    "settings": "settings",
}


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Where the user wants things; None for the usual place."""

    store: str | None
    key_file: str | None
    audit: str | None
    passphrase_file: str | None
    is_asked: bool

    @property
    def is_anything(self) -> bool:
        return self.is_asked or any((self.store, self.key_file, self.audit, self.passphrase_file))


@command(app, "init")
def init(
    context: typer.Context,
    *,
    store: Annotated[str | None, typer.Option(metavar="FILE", help="Where the store is to be.")] = None,
    key_file: Annotated[str | None, typer.Option(metavar="FILE", help="Where its key is to be.")] = None,
    audit: Annotated[str | None, typer.Option(metavar="FOLDER", help="Where the audit log is to be.")] = None,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="A passphrase, asked for, instead of a key file.")
    ] = False,
    passphrase_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A passphrase from a file (0600) instead of a key file."),
    ] = None,
    settings: Annotated[
        bool, typer.Option("--settings", help="Write these places to ./strongroom.toml.")
    ] = False,
) -> None:
    """
    Make an encrypted store and its key, where they are missing.

    Usable twice: what is there is left as it is, and a key is never made beside a store that has one.
    Keep a copy of the key in another place: without it nobody can open the store. Any other place than
    the usual one is written to ./strongroom.toml, so that later commands find it.

    Example:
      $ strongroom init
      $ strongroom init --store ./room.db --key-file ~/keys/room.key
      $ strongroom init --passphrase-file /run/secrets/room-passphrase
    """
    session: Session = context.obj
    chosen = _Chosen(store, key_file, audit, passphrase_file, passphrase)
    session.require_here("a store is made")
    wanted = _applied(session.settings(), chosen)
    text = _as_toml(wanted) if settings or chosen.is_anything else None
    if text is not None:
        if not is_text(text):
            raise InvalidInputError("the settings cannot name a place that is not UTF-8", hint="rename it")
        _check_free(wanted)
    with create(session, wanted):
        pass
    if text is not None:
        _write_settings(text)
    made = places(wanted)
    made["settings"] = _FILE if text is not None else str(wanted.source or "") or None
    show_record(session, made, labels=_LABELS)
    if session.output == "table":
        write("")
        write(_warning(wanted))


def _warning(settings: Settings) -> str:
    """Say what must not be lost."""
    wrappers = settings.store.wrappers
    if len(wrappers) > 1:
        return f"any of these opens the store, and without all of them nobody can: {len(wrappers)} keys"
    if wrappers[0].path is not None:
        return "keep a copy of the key in another place: without it nobody can open the store"
    if wrappers[0].kind == "passphrase":
        return "keep the passphrase in another place: without it nobody can open the store"
    return "whoever deletes that key deletes what is stored: a second wrapper keeps it (docs/wrappers.md)"


def create(session: Session, settings: Settings) -> Room:
    """Make what is missing and open the room; a new passphrase is asked for twice."""
    from strongroom import assembly  # noqa: PLC0415 -- it loads the store

    ask = asker(is_new=not settings.store.may_exist)
    return assembly.create_room(settings, environ=session.environ, passphrase=ask)


def places(settings: Settings) -> dict[str, object]:
    """Tell where everything of a room is."""
    keys = [wrapper.place for wrapper in settings.store.wrappers]
    return {
        "deployment": settings.deployment,
        "store": settings.store.place,
        "key": ", ".join(keys),
        "audit": str(settings.audit.path),
    }


def asker(*, is_new: bool) -> Callable[[], Secret[str]]:
    """Give what asks for the passphrase when it is needed: once, and twice the same where it is new."""
    asked: list[Secret[str]] = []

    def ask() -> Secret[str]:
        # Making and opening both need it; the user is asked once.
        if not asked:
            asked.append(ask_passphrase())
            if is_new and asked[0] != Secret(terminal.ask_secret("the same again: ")):
                raise InvalidInputError("the two passphrases differ; nothing was made")
        return asked[0]

    return ask


def _applied(settings: Settings, chosen: _Chosen) -> Settings:
    from strongroom.settings import SecretSource, WrapperSettings  # noqa: PLC0415 -- `--help` does without

    if sum((chosen.key_file is not None, chosen.passphrase_file is not None, chosen.is_asked)) > 1:
        raise InvalidInputError(
            "--key-file, --passphrase and --passphrase-file exclude one another",
            hint="one of them holds the key",
        )
    store = settings.store
    if chosen.store and "://" in chosen.store:
        raise InvalidInputError(
            "--store is the place of a file",
            hint="write the address of a server as store.url into the settings, then: strongroom init",
        )
    if chosen.store:
        store = replace(store, path=_absolute(chosen.store))
    if chosen.key_file:
        store = replace(store, wrappers=(WrapperSettings(kind="file", path=_absolute(chosen.key_file)),))
    if chosen.is_asked:
        store = replace(store, wrappers=(WrapperSettings(kind="passphrase"),))
    if chosen.passphrase_file:
        source = SecretSource(
            kind="file", argument=(str(_absolute(chosen.passphrase_file)),), key="store.wrappers.passphrase"
        )
        store = replace(store, wrappers=(WrapperSettings(kind="passphrase", passphrase=source),))
    audit = replace(settings.audit, path=_absolute(chosen.audit)) if chosen.audit else settings.audit
    return replace(settings, store=store, audit=audit)


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


# --- strongroom.toml -----------------------------------------------------------------------------


def _check_free(settings: Settings) -> None:
    if settings.source is not None:
        raise ConflictError(
            f"there are settings already, in {settings.source}",
            hint="change the places there, then: strongroom init",
        )
    if os.path.lexists(_FILE):
        raise ConflictError(
            f"./{_FILE} exists already", hint="change the places there, then: strongroom init"
        )


def _as_toml(settings: Settings) -> str:
    import tomlkit  # noqa: PLC0415 -- only who writes settings needs it

    document = tomlkit.document()
    document.add(tomlkit.comment("Settings of Strongroom: docs/settings.md says what else may stand here."))
    document.add("deployment", tomlkit.item(settings.deployment))
    document.add("chain", tomlkit.item(["env", "native"]))
    store = tomlkit.table()
    store.add("path", str(settings.store.path))
    wrappers = tomlkit.array()
    for wrapper in settings.store.wrappers:
        row = tomlkit.inline_table()
        row.add("kind", wrapper.kind)
        if wrapper.path is not None:
            row.add("path", str(wrapper.path))
        if wrapper.passphrase is not None:
            source = tomlkit.inline_table()
            source.add("file", wrapper.passphrase.argument[0])
            row.add("passphrase", source)
        for key, value in wrapper.options.items():
            row.add(key, value)
        wrappers.append(row)
    store.add("wrappers", wrappers)
    document.add("store", store)
    audit = tomlkit.table()
    audit.add("path", str(settings.audit.path))
    document.add("audit", audit)
    return tomlkit.dumps(document)


def _write_settings(text: str) -> None:
    try:
        with Path(_FILE).open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise ConflictError(
            f"./{_FILE} exists already", hint="the store and key are made; name their places there"
        ) from None
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise InvalidInputError(f"./{_FILE} cannot be written: {reason}") from None
