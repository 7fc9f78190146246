"""`strongroom backends setup`: what a store needs once before a backend can use it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from strongroom.cli import intake, terminal
from strongroom.cli.app import command
from strongroom.cli.entry import Yes
from strongroom.cli.folder import replace_file
from strongroom.cli.output import sentence, show_record, write
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from strongroom.service.provisioning import LeastPolicy, RoleIds, SetupPart, VaultProvisioning, Verb

__all__ = ["attach"]

_VAULT = "vault"
_FILES = ("role_id", "secret_id")
_SPAN = re.compile(r"([0-9]{1,5})([mhd])", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_MAX_TOKEN_BYTES = 65_536


def attach(parent: typer.Typer) -> None:
    """Declare this command on *parent*."""
    command(parent, "setup")(setup)


def setup(
    context: typer.Context,
    *,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME|KIND", help="A backend of the settings, or a kind.", show_default=False),
    ],
    may: Annotated[
        str, typer.Option(metavar="VERBS", help="What it is to be allowed: read, list, write.")
    ] = "read,list",
    is_print: Annotated[
        bool, typer.Option("--print", help="Print the policy; ask and change nothing.")
    ] = False,
    token_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Vault: a file with an administrator's token, - for stdin; asked for if unsaid.",
        ),
    ] = None,
    role: Annotated[str, typer.Option(metavar="NAME", help="Vault: the role of AppRole.")] = "strongroom",
    policy: Annotated[
        str | None, typer.Option(metavar="NAME", help="Vault: the policy; as the role if unsaid.")
    ] = None,
    secret_id_ttl: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Vault: how long a secret_id is good for, as 90d.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Vault: write role_id and secret_id into files there, mode 0600."
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Vault: where it is, without settings.")
    ] = None,
    yes: Yes = False,
) -> None:
    """
    Print what a store must allow a backend, or make it in Vault.

    For every kind the least policy is printed, as the store takes it, for what the settings of the backend
    name. In Vault and OpenBao policy, AppRole and role are made, and a role_id and a secret_id given; what
    is there already is left, and what is another is changed only after asking. It may be done again.

    Example:
      $ strongroom backends setup vault --print
      $ strongroom backends setup vault --save /etc/strongroom/vault
      $ strongroom backends setup aws_secrets_manager --may read,list,write
    """
    from strongroom.assembly import provisioning  # noqa: PLC0415 -- it loads the backends

    session: Session = context.obj
    session.require_here("a backend is set up")
    names = provisioning.RoleNames(role=role, policy=policy, secret_id_seconds=_seconds(secret_id_ttl))
    settings, verbs = session.settings(), _verbs(may)
    backend = provisioning.find_backend(settings, name, url=url)
    if is_print or backend.kind != _VAULT:
        found = provisioning.least_policy(settings, backend, environ=session.environ, verbs=verbs)
        _show_policy(session, found, verbs)
        if backend.kind == _VAULT:
            terminal.note(
                f"without --print: policy {policy or role}, AppRole and its role {role} are made", session
            )
        return
    admin = _admin_token(token_file, backend.name)
    with provisioning.open_vault(
        settings, backend, environ=session.environ, verbs=verbs, names=names, admin=admin
    ) as vault:
        _set_up(session, vault, _Keeping.of(save), is_agreed=yes)


def _verbs(given: str) -> tuple[Verb, ...]:
    from strongroom.service.provisioning import VERBS  # noqa: PLC0415 -- it loads what speaks to Vault

    words = {word.strip() for word in given.split(",") if word.strip()}
    if not words or words - set(VERBS):
        raise InvalidInputError(
            "--may is none of what a backend does", hint="--may read,list,write, or fewer"
        )
    return tuple(verb for verb in VERBS if verb in words)


def _seconds(text: str | None) -> int:
    if text is None:
        return 0
    span = _SPAN.fullmatch(text)
    if span is None or not int(span[1]):
        raise InvalidInputError("--secret-id-ttl is no span of time", hint="--secret-id-ttl 90d, 12h or 30m")
    return int(timedelta(**{_UNITS[span[2]]: int(span[1])}).total_seconds())


def _admin_token(source: str | None, name: str) -> Secret[str]:
    what = "the administrator's token"
    if source is None:
        if not terminal.can_ask():
            raise InvalidInputError(
                f"there is no terminal to ask for {what} on", hint="say --token-file FILE, or --token-file -"
            )
        text = terminal.ask_secret(f"token of an administrator of {terminal.clean(name)} (not kept): ")
    else:
        text = intake.read_secret(source, what=what, limit=_MAX_TOKEN_BYTES)
    if not text.strip():
        raise InvalidInputError(f"{what} is empty")
    return Secret(text.strip())


def _show_policy(session: Session, found: LeastPolicy, verbs: Sequence[str]) -> None:
    if session.output == "table":
        write(found.text.rstrip("\n"))
    else:
        sentence(
            session,
            "",
            {"backend": found.name, "kind": found.kind, "may": list(verbs), "policy": found.text},
        )


# --- vault -------------------------------------------------------------------------------------------


class _Keeping(NamedTuple):
    """Where the ids are to be kept; None shows them."""

    folder: Path | None

    @classmethod
    def of(cls, folder: Path | None) -> _Keeping:
        """Make sure, before anything is made on the server, that files can be written there."""
        if folder is None:
            return cls(None)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInputError(
                f"the folder for the ids cannot be made: {os.strerror(error.errno or 0).lower()}"
            ) from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise InvalidInputError("the folder for the ids cannot be written to")
        return cls(folder.absolute())

    @property
    def paths(self) -> tuple[Path, ...]:
        return () if self.folder is None else tuple(self.folder / name for name in _FILES)

    def kept(self) -> RoleIds | None:
        """Give what is kept there already."""
        from strongroom.service.provisioning import RoleIds  # noqa: PLC0415 -- as `_verbs`

        if not self.paths or not all(path.exists() for path in self.paths):
            return None
        return RoleIds(*(Secret(intake.read_secret(str(path), what=path.name)) for path in self.paths))

    def keep(self, ids: RoleIds) -> None:
        """
        Write *ids* into their files.

        Raises:
            InvalidInputError: one cannot be written.
        """
        try:
            for path, text in zip(self.paths, ids, strict=True):
                replace_file(path, text)
        except OSError as error:
            why = os.strerror(error.errno or 0).lower()
            raise InvalidInputError(f"the ids cannot be written: {why}") from None


def _set_up(session: Session, vault: VaultProvisioning, keeping: _Keeping, *, is_agreed: bool) -> None:
    parts = vault.look()
    for part in parts:
        if part.state == "other":
            terminal.confirm(f"{part.change}, on {vault.url}", is_agreed=is_agreed)
    kept = keeping.kept()
    is_good = kept is not None and parts[-1].state != "missing" and vault.is_good(kept)
    if any(path.exists() for path in keeping.paths) and not is_good:
        terminal.confirm(f"replace what is in {keeping.folder}, which logs in no more", is_agreed=is_agreed)
    vault.make(parts)
    ids = None if is_good else vault.issue()
    if ids is not None and keeping.folder is not None:
        try:
            keeping.keep(ids)
        except InvalidInputError:
            vault.withdraw(ids)
            raise
    _tell(session, vault, parts, keeping, ids)


def _tell(
    session: Session,
    vault: VaultProvisioning,
    parts: Sequence[SetupPart],
    keeping: _Keeping,
    ids: RoleIds | None,
) -> None:
    done = {"missing": "made", "other": "changed", "there": "there already"}
    facts: dict[str, object] = {"backend": vault.name, "url": vault.url}
    facts |= {part.what: {"name": part.name, "state": done[part.state]} for part in parts}
    labels = {part.what: f"{part.what} {part.name}" for part in parts}
    if keeping.folder is not None:
        facts["files"] = [str(path) for path in keeping.paths]
        facts["ids"] = "there already" if ids is None else "made"
    elif ids is not None:
        facts |= {name: text.reveal() for name, text in zip(_FILES, ids, strict=True)}
    if session.output != "table":
        sentence(session, "", facts)
        return
    shown = facts | {part.what: done[part.state] for part in parts}
    more = ("files", "ids", *_FILES)
    show_record(session, shown, labels=labels | {key: key for key in more})
    if keeping.folder is None:
        terminal.note("the secret_id is shown this once; keep it where only the backend reads it", session)
    terminal.note(f"for the settings: {_settings(vault, keeping, ids)}", session)


def _settings(vault: VaultProvisioning, keeping: _Keeping, ids: RoleIds | None) -> str:
    mount = "" if vault.wish.mount == "approle" else f', mount_point = "{vault.wish.mount}"'
    said: Mapping[str, str] = {path.name: f'{{ file = "{path}" }}' for path in keeping.paths}
    if not said and ids is not None:
        said = {"role_id": f'"{ids.role_id.reveal()}"', "secret_id": "{ file = … }"}
    words = ", ".join(f"{name} = {text}" for name, text in said.items())
    return f'auth = {{ method = "approle"{mount}, {words} }}'
