"""`strongroom agent`: answer the processes of this machine, and look after the agent that does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from strongroom import place
from strongroom.cli import enrol
from strongroom.cli.answering import Request, path_of, serve, settings_of
from strongroom.cli.app import Group, command
from strongroom.cli.output import Column, sentence, show_record, show_rows, write
from strongroom.cli.session import Session, ask_passphrase
from strongroom.cli.terminal import warn
from strongroom.errors import BackendUnavailableError, InvalidInputError, SettingsError, StrongroomError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


app = typer.Typer(
    name="agent",
    cls=Group,
    add_completion=False,
    rich_markup_mode=None,
    help="""
    Answer the processes of this machine on a unix socket.

    One login, one cache and one record for all of them: they ask by themselves where STRONGROOM_SOCKET names
    the socket, or where it stands in its own place. Serves one deployment of the settings, the first unless
    --deployment says otherwise. Runs until Ctrl-C or SIGTERM, then answers what is under way; SIGHUP takes
    the settings anew and keeps what is remembered. docs/agent.md tells the rest.

    With --once it answers nobody: it writes the files of [agent.file.NAME], as an init container does, and
    ends with 0 where all of them are as they should be.

    Example:
      $ strongroom agent
      $ strongroom agent --once
      $ strongroom agent --socket /run/strongroom/agent.sock --deployment prod
      $ strongroom agent status
    """,
)


@app.callback(invoke_without_command=True)
def agent(
    context: typer.Context,
    *,
    socket: Annotated[
        str | None,
        typer.Option(
            "--socket", metavar="PATH", help="Where it answers, or is asked; agent.socket if unsaid."
        ),
    ] = None,
    is_once: Annotated[
        bool, typer.Option("--once", help="Write the files of the settings, and end.")
    ] = False,
) -> None:
    """Serve, unless one of the commands below is called."""
    session: Session = context.obj
    context.meta["socket"] = socket
    if context.invoked_subcommand is not None:
        if is_once:
            raise InvalidInputError("--once stands alone", hint="strongroom agent --once")
    elif is_once:
        _write_once(session)
    else:
        serve(Request(socket), session)


def _write_once(session: Session) -> None:
    settings = settings_of(session, None)
    if not settings.agent.file:
        raise SettingsError(
            "there is no file to write",
            key="agent.file",
            hint='[agent.file.NAME] with path = "…" and one of template, variable and connection',
        )
    from strongroom.agent.serve import write_once  # noqa: PLC0415 -- `--help` does without
    from strongroom.cli.main import exit_code  # noqa: PLC0415 -- which imports us

    worst: StrongroomError | None = None
    for name, error in write_once(settings, environ=session.environ, passphrase=ask_passphrase):
        if error is None:
            path = str(settings.agent.file[name].path)
            sentence(session, f"{name}: {path} is as it should be", {"file": name, "path": path})
        else:
            warn(f"{name} is not as it should be: {error}", session, hint=error.hint)
            worst = worst or error
    if worst is not None:
        raise typer.Exit(exit_code(worst))


# --- looking after it ---------------------------------------------------------------------------------


def _ask(context: typer.Context, order: Mapping[str, object]) -> dict[str, Any]:
    from strongroom.caller.agent import AgentClient  # noqa: PLC0415 -- as above

    client = AgentClient(_where(context))
    try:
        return cast("dict[str, Any]", client.admin(dict(order)))
    except BackendUnavailableError as error:
        # Everybody else is sent to `agent status`: who asks that must be sent on.
        error.hint = "start it: strongroom agent; or say where it is: strongroom agent --socket PATH …"
        raise
    finally:
        client.close()


def _where(context: typer.Context) -> str:
    """
    Give the socket of the agent that is meant: said, in the environment, in the settings.

    Where settings cannot be used it is the one in its usual place, which tells why it took them neither.
    """
    session: Session = context.obj
    said = context.meta.get("socket")
    if said is not None:
        return str(path_of(said))
    if session.environ.get("STRONGROOM_SOCKET"):
        return session.environ["STRONGROOM_SOCKET"]
    try:
        found = settings_of(session, None).agent.socket
    except SettingsError:
        usual = place.find({**session.environ, "STRONGROOM_URL": "", "STRONGROOM_PROFILE": ""})
        if session.deployment is not None or usual.kind != place.AGENT:
            raise
        return str(usual.path)
    if found is None:
        raise InvalidInputError(
            "nothing says where the agent is", hint="strongroom agent --socket PATH status"
        )
    return str(found)


_LABELS = {
    "deployment": "deployment",
    "socket": "socket",
    "http": "http",
    "tcp": "tcp",
    "user": "user",
    "pid": "pid",
    "version": "version",
    "protocol": "protocol",
    "up": "up",
    "decided": "decided by",
    "connections": "connections",
    "reads": "reads",
    "entries": "entries",
    "oldest_stale": "oldest stale",
    "parsed": "parsed",
    "runs": "runs",
    "heard": "last notice",
    "reload_trouble": "not taken anew",
    "record": "record",
    "last_good": "last good copy",
    "files": "files",
    "refused_users": "refused users",
    "top": "top readers",
    "log_level": "log level",
}
_BACKENDS = (
    Column("name", "BACKEND"),
    Column("kind", "KIND", 1),
    Column("circuit", "CIRCUIT", styles={"open": "red"}),
    Column("watched", "WATCHED", styles={"lost": "yellow"}),
    Column("entries", "ENTRIES", is_number=True),
    Column("last_notice", "LAST NOTICE", 2, show=lambda row: _time(row["last_notice"])),
)


@command(app, "status")
def status(context: typer.Context) -> None:
    """
    Show how the agent is.

    Its backends and their circuits, the oldest stale entry, the spool, the last notice, the top readers.
    Another agent than the usual one is named before the order.

    Example:
      $ strongroom agent status
      $ strongroom agent --socket /run/sr/agent.sock status
      $ strongroom agent status --output json
    """
    session: Session = context.obj
    told = _ask(context, {"do": "status"})
    if session.output != "table":
        show_record(session, told, labels={})
        return
    show_record(session, told | _summary(told), labels=_LABELS)
    write("")
    show_rows(session, _BACKENDS, [told["backends"]], nothing="the chain has no backend")


def _summary(told: Mapping[str, Any]) -> dict[str, object]:
    stale, cache = told["oldest_stale"], told["cache"]
    readers = [_reader(*told_of) for told_of in told["top_readers"]]
    return {
        "decided": _decided(told),
        "heard": _time(told["last_notice"]),
        "record": _record(told["spool"]),
        "up": _span(told["uptime_seconds"]),
        "entries": f"{cache['entries']}, {cache['absences']} absences",
        "oldest_stale": None if stale is None else _span(stale),
        "parsed": _parsed(told.get("parsing")),
        "runs": _runs(told),
        "top": ", ".join(readers),
        "last_good": _copy(told.get("last_good")),
        "files": _files(told.get("files") or []),
    }


def _parsed(told: Mapping[str, int] | None) -> str | None:
    if not told or not told["reads"]:
        return None
    return f"{told['reads']} reads at the top of DAG files, {told['asked']} asked for"


def _reader(who: str, dag: str | None, reads: int, level: str = "") -> str:
    """Tell who read how often, and how sure it is that it was he, or that DAG; older agents do not say."""
    beside = ", ".join(part for part in (dag, level) if part)
    return f"{who} ({beside}): {reads}" if beside else f"{who}: {reads}"


def _runs(told: Mapping[str, Any]) -> str | None:
    """Tell of the runs that supervisors announced, and how many of them are more than a claim."""
    announced, verified = told.get("announced", 0), told.get("verified") or {}
    if not announced:
        return None
    now, pending = verified.get("now", 0), verified.get("pending", 0)
    parts = [f"{now} verified (L2)", f"{announced - now} announced (L0)"]
    return ", ".join(parts) + (f", {pending} of them waiting to be verified" if pending else "")


def _decided(told: Mapping[str, Any]) -> str:
    server, how = told.get("server"), told.get("decisions")
    by = told["decided_by"] if server is None else f"{server['server']}, as agent {server['agent']}"
    if how is None or how["state"] == "connected":
        return str(by)
    state = "refused" if how["state"] == "refused" else f"not heard of for {_span(how['heard_seconds'])}"
    return f"{by}; {state}" + (f": {how['trouble']}" if how["trouble"] else "")


def _record(told: Mapping[str, Any]) -> str:
    """Tell of the agent's own record: how much, how safe, and how much of it the server does not have yet."""
    count = told["records"]
    parts = [f"{count} {'record' if count == 1 else 'records'}, {-(-told['bytes'] // 1024)} KiB"]
    if told["mode"] == "durable":
        parts.append("on the disk before each answer")
    if told["unrecorded"]:
        parts.append(f"{told['unrecorded']} not on record")
    if told.get("waiting"):
        parts.append(f"{told['waiting']} not delivered yet, the oldest for {_span(told['oldest_seconds'])}")
    elif "waiting" in told:
        parts.append("all delivered")
    return "; ".join([", ".join(parts), *filter(None, (told["trouble"], told.get("delivery")))])


def _time(told: object) -> str | None:
    return f"{told[:10]} {told[11:19]}Z" if isinstance(told, str) else None


def _copy(told: Mapping[str, Any] | None) -> str | None:
    if told is None:
        return None
    if told["trouble"]:
        return str(told["trouble"])
    written = _time(told["written_at"]) or "never"
    return f"{told['entries']} entries, generation {told['generation']}, written {written}"


def _files(told: Sequence[Mapping[str, Any]]) -> str | None:
    if not told:
        return None
    troubles = [f"{file['name']}: {file['trouble'] or file['state']}" for file in told if _is_odd(file)]
    return "; ".join([f"{len(told) - len(troubles)} of {len(told)} as they should be", *troubles])


def _is_odd(file: Mapping[str, Any]) -> bool:
    return bool(file["trouble"]) or file["state"] != "written"


def _span(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


@command(app, "flush")
def flush(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="What to forget; everything if unsaid.", show_default=False),
    ] = None,
    *,
    kind: Annotated[
        Literal["connection", "variable"] | None,
        typer.Option("--kind", metavar="KIND", help="connection or variable; both if unsaid."),
    ] = None,
) -> None:
    """
    Forget what is remembered of NAME.

    The next read asks for it. Names of a team are meant with --team; a global name is forgotten for all
    teams.

    Example:
      $ strongroom agent flush orders_db
      $ strongroom agent flush
    """
    session: Session = context.obj
    if name is None and kind is not None:
        raise InvalidInputError("--kind is of a name", hint="strongroom agent flush NAME --kind variable")
    orders: list[dict[str, object]] = [{"do": "flush"}]
    if name is not None:
        kinds = ("connection", "variable") if kind is None else (kind,)
        orders = [{"do": "flush", "kind": each, "name": name, "team": session.team} for each in kinds]
    count = sum(_ask(context, order)["flushed"] for order in orders)
    sentence(session, f"forgot {count} {'entry' if count == 1 else 'entries'}", {"flushed": count})


@command(app, "log-level")
def log_level(
    context: typer.Context,
    level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        typer.Argument(
            metavar="[LEVEL]", help="debug, info, warning or error; shows it if unsaid.", show_default=False
        ),
    ] = None,
) -> None:
    """
    Change how much the agent logs, while it runs.

    Example:
      $ strongroom agent log-level debug
    """
    found = _ask(context, {"do": "log_level", "level": level})["log_level"]
    sentence(context.obj, f"the agent logs {found}", {"log_level": found})


@command(app, "reload")
def reload(context: typer.Context) -> None:
    """
    Have the agent take its settings anew.

    It keeps what it remembers; SIGHUP does the same. Where they cannot be used, it says why and goes on
    with those it has.

    Example:
      $ strongroom agent reload
    """
    _ask(context, {"do": "reload"})
    sentence(context.obj, "the agent took its settings anew", {"reloaded": True})


enrol.attach(app)
