"""`strongroom backup`: copies of the store that outlive it, proven and tried out before they are needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import terminal
from strongroom.cli.app import command, noun
from strongroom.cli.intake import STDIN, read_secret
from strongroom.cli.output import Column, show_record, show_rows, write
from strongroom.cli.session import Session, ask_passphrase
from strongroom.errors import ConflictError, InvalidInputError
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from strongroom.assembly.backup import BackupDesk
    from strongroom.service.backup import Checked, Lost, MadeBackup, Manifest, Proven, Span

__all__ = [
    "File",
    "Identity",
    "Key",
    "facts_of",
    "identity_in",
    "lost_in_words",
    "open_desk",
    "plain_span",
    "show_lost",
    "steps",
]

app = noun(
    "backup",
    """
    Back the store up, and see that backups can be brought back.

    Example:
      $ strongroom backup keygen recovery.txt
      $ strongroom backup create monday.srb --recipient age1…
      $ strongroom backup drill monday.srb --identity recovery.txt
    """,
)

Steps = Callable[[str, int, int], None]

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.", show_default=False)]
Identity = Annotated[
    str, typer.Option("--identity", "-i", metavar="FILE", help="The recovery identity; - for stdin.")
]
Key = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="NAME+ID+KEY", help="Whose signature counts, where this host knows none."),
]

_IDENTITY_BYTES = 65_536
_SHOWN = 100  # changes that a table tells one by one
_LABELS = {
    "backup": "backup",
    "at": "made at",
    "signer": "signed by",
    "holds": "holds",
    "opened": "opened",
    "recipients": "for",
    "key": "key",
    "lost": "lost by it",
    "seconds": "seconds",
}
_COLUMNS = (
    Column("at", "AT"),
    Column("actor", "ACTOR", 1),
    Column("action", "ACTION"),
    Column("what", "WHAT", styles={"": "bold"}),
    Column("version", "VERSION", 2),
)
_KEPT = (
    Column("file", "FILE", styles={"": "bold"}),
    Column("size", "BYTES", 1, is_number=True),
    Column("at", "FINISHED"),
)


@command(app, "keygen")
def keygen(
    context: typer.Context,
    *,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where the identity is to be.", show_default=False)
    ],
) -> None:
    """
    Make a recovery identity, and print its recipient.

    The identity opens every backup made for its recipient, without any other key: keep it offline, twice,
    and not where backups are. The recipient is public; it belongs into the settings:
    backup.recipients = ["age1…"]. The file is one of age.

    Example:
      $ strongroom backup keygen recovery.txt
    """
    from strongroom.assembly.backup import new_identity  # noqa: PLC0415 -- `--help` does without

    session: Session = context.obj
    identity, recipient = new_identity()
    now = datetime.now(timezone.utc).replace(microsecond=0)
    text = f"# created: {now:%Y-%m-%dT%H:%M:%SZ}\n# public key: {recipient}\n{identity.reveal()}\n"
    _write_once(file, text.encode())
    show_record(
        session,
        {"recipient": recipient, "identity": str(file)},
        labels={"recipient": "recipient", "identity": "identity"},
    )
    if session.output == "table":
        write("")
        write("keep the identity offline, twice, and not where the backups are: it opens all of them")


def _write_once(path: Path, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags, 0o600), "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
    except FileExistsError:
        raise ConflictError(
            f'"{path}" exists already and was left as it is', hint="name another file for the new identity"
        ) from None
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise InvalidInputError(f'the identity cannot be written to "{path}": {reason}') from None


@command(app, "create")
def create(
    context: typer.Context,
    *,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Where the backup is to be; in backup.folder if unsaid."),
    ] = None,
    recipient: Annotated[
        list[str] | None,
        typer.Option(
            "--recipient", "-r", metavar="AGE1…", help="Whose identity opens it; those of the settings else."
        ),
    ] = None,
) -> None:
    """
    Back the whole store up into one file.

    Everybody goes on reading and writing meanwhile. It holds every deployment of the store as it stood in one
    moment, sealed to the recipients and signed with the key that signs the audit log. Its keys are in it for
    the recipients too: a lost key file or key service is survived. The audit log itself is not in it;
    witnesses keep what proves that. A server that is asked puts it into the folder of its own settings.

    Example:
      $ strongroom backup create monday.srb --recipient age1…
      $ strongroom backup create
    """
    session: Session = context.obj
    if file is None or session.is_remote:
        _create_kept(session, is_plain=file is None and not recipient)
        return
    with open_desk(session, "a backup is made") as desk, terminal.progress("backing up") as bar:
        made = desk.create(file, recipients=recipient or (), progress=bar or _no_bar)
    manifest = made.manifest
    show_record(
        session,
        {**facts_of(manifest), "file": str(made.path), "size": made.size, "key": made.key},
        labels={"file": "file", **_LABELS},
    )
    if session.output == "table":
        write("")
        write("keep the key with the identity: it tells on any host that a backup is yours")


def _create_kept(session: Session, *, is_plain: bool) -> None:
    """Have the room put a backup where its settings say, for whom they say."""
    if not is_plain:
        raise InvalidInputError(
            "where a backup of the settings' folder goes, and for whom, is said by the settings alone",
            hint="leave FILE and --recipient out, or name both beside the store",
        )
    with session.room() as room, terminal.progress("backing up"):
        made = room.backups.create()
    record = made._asdict() | {"backup": made.id, "holds": _held(made)}
    show_record(session, record, labels={"file": "file", **_LABELS})


def _held(made: MadeBackup) -> str:
    entries, versions = _counted(made.entries, "entry", "entries"), _counted(made.versions, "version")
    return f"{entries}, {versions} of {', '.join(made.deployments)}"


@command(app, "list")
def list_(context: typer.Context) -> None:
    """
    List the backups in the folder of the settings, newest first.

    Nothing of them is proven by it: strongroom backup verify does that.

    Example:
      $ strongroom backup list
    """
    session: Session = context.obj
    with session.room() as room:
        rows = [{"file": one.file, "size": one.size, "at": one.at} for one in room.backups.list()]
    show_rows(session, _KEPT, [rows], nothing="there is none yet; strongroom backup create makes one")


@command(app, "verify")
def verify(
    context: typer.Context,
    *,
    file: File,
    identity: Annotated[
        str | None,
        typer.Option(
            "--identity", "-i", metavar="FILE", help="Open everything, too, with this; - for stdin."
        ),
    ] = None,
    key: Key = None,
) -> None:
    """
    Prove a backup whole, and whose it is.

    It tells how far the room has gone on since, too: what would be lost. With the identity every value is
    opened as well, in a store of its own that is thrown away.

    Example:
      $ strongroom backup verify monday.srb
      $ strongroom backup verify monday.srb --identity recovery.txt
    """
    session: Session = context.obj
    secret = None if identity is None else identity_in(identity)
    with open_desk(session, "a backup is verified") as desk, steps() as tell:
        checked = desk.verify(file, identity=secret, keys=key or (), progress=tell)
    _show(session, checked)


@command(app, "drill")
def drill(context: typer.Context, *, file: File, identity: Identity, key: Key = None) -> None:
    """
    Try a backup out.

    It is brought back into a store of its own, opened to the last value, compared with what is on record,
    and thrown away. Its keys are wrapped anew by what the settings name, and opened with that, as after a
    restore. What is in use stays untouched. The drill is recorded.

    Example:
      $ strongroom backup drill monday.srb --identity recovery.txt
    """
    session: Session = context.obj
    secret = identity_in(identity)
    with open_desk(session, "a backup is tried out") as desk, steps() as tell:
        drilled = desk.drill(file, identity=secret, keys=key or (), progress=tell)
    _show(session, drilled.checked, seconds=round(drilled.seconds, 1))


# --- what restore shares ---------------------------------------------------------------------------


def open_desk(session: Session, what: str) -> BackupDesk:
    """
    Open what backups take.

    Raises:
        SettingsError: an agent or a server is asked; *what* happens beside the store.
    """
    session.require_here(what)
    from strongroom.assembly.backup import open_backups  # noqa: PLC0415 -- it loads the store

    return open_backups(session.settings(), environ=session.environ, passphrase=ask_passphrase)


def identity_in(source: str) -> Secret[str]:
    """
    Read an identity file; one that others can read is told, and used: it may be all that is left.

    Raises:
        InvalidInputError: it cannot be read.
    """
    with suppress(OSError, ValueError):
        if source != STDIN and Path(source).stat().st_mode & 0o077:
            terminal.note(
                "others on this machine can read the recovery identity, and with a backup every value: "
                "chmod 600 it"
            )
    return Secret(read_secret(source, what="the recovery identity", limit=_IDENTITY_BYTES))


@contextmanager
def steps() -> Iterator[Steps]:
    """Give what shows one step after the other."""
    with ExitStack() as bars:
        shown: dict[str, Callable[[int, int], None] | None] = {}

        def tell(step: str, done: int, total: int) -> None:
            if step not in shown:
                bars.pop_all().close()
                shown[step] = bars.enter_context(terminal.progress(step))
            bar = shown[step]
            if bar is not None:
                bar(done, total)

        yield tell


def _no_bar(_done: int, _total: int) -> None:
    """Show nothing."""


def facts_of(manifest: Manifest, proven: dict[str, Proven] | None = None) -> dict[str, object]:
    """Give what people want to know of a backup."""
    tables = manifest.tables
    found: dict[str, object] = {
        "backup": manifest.id,
        "at": manifest.at,
        "store": manifest.store,
        "schema": manifest.schema,
        "release": manifest.release,
        "deployments": manifest.deployments,
        "holds": f"{_counted(tables['entries'].rows, 'entry', 'entries')}, "
        f"{_counted(tables['versions'].rows, 'version')}, {_counted(len(manifest.keys), 'key')} "
        f"of {', '.join(manifest.deployments)}",
        "entries": tables["entries"].rows,
        "versions": tables["versions"].rows,
        "recipients": manifest.recipients,
    }
    if proven is not None:
        opened = sum(each.versions for each in proven.values())
        found["opened"] = f"every value of {_counted(opened, 'version')}"
    return found


def _show(session: Session, checked: Checked, **more: object) -> None:
    proven = None if checked.proven is None else dict(checked.proven)
    record = {
        **facts_of(checked.manifest, proven),
        "signer": checked.signer,
        "lost": [lost_in_words(span) for span in checked.spans],
        **more,
    }
    if session.output != "table":
        record["lost"] = [plain_span(span) for span in checked.spans]
    show_record(session, record, labels=_LABELS)
    show_lost(session, checked.spans)


def plain_span(span: Span) -> dict[str, object]:
    """Give what one deployment loses in plain types."""
    return {
        "deployment": span.deployment,
        "since": span.since,
        "until": span.until or None,
        "trouble": span.trouble or None,
        "changes": [_row(lost) for lost in span.changes],
    }


def show_lost(session: Session, spans: Sequence[Span]) -> None:
    """Tell the changes that going back loses, one by one; JSON and YAML hold them already."""
    rows = [_row(lost) for span in spans for lost in span.changes]
    if session.output != "table" or not rows:
        return
    write("")
    show_rows(session, _COLUMNS, [rows[:_SHOWN]])
    if len(rows) > _SHOWN:
        terminal.note(f"and {len(rows) - _SHOWN:,} more; --output json tells all", session)


def lost_in_words(span: Span) -> str:
    """Tell in a line what one deployment loses."""
    said = f"{span.deployment}: "
    if span.changes:
        changes = _counted(len(span.changes), "change")
        entries = _counted(len(span.entries), "entry", "entries")
        said += f"{changes} to {entries}, made after {span.since} up to {span.until}"
    else:
        said += f"nothing on record since {span.since}" if not span.trouble else "unknown"
    return f"{said}; {span.trouble}" if span.trouble else said


def _row(lost: Lost) -> dict[str, object]:
    return {
        "at": lost.at,
        "actor": lost.actor,
        "action": lost.action,
        "what": str(lost.ref) if lost.ref is not None else lost.reason,
        "version": lost.version,
    }


def _counted(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
