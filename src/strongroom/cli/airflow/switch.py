"""`strongroom airflow enable` and `disable`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from strongroom import __version__
from strongroom.cli import terminal
from strongroom.cli.airflow.root import Home, Socket, TokenFile, Url, app, config_of, our_kwargs
from strongroom.cli.app import command
from strongroom.cli.entry import Yes
from strongroom.cli.output import sentence, write
from strongroom.cli.session import Session
from strongroom.cli.terminal import clean, note
from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from strongroom.service.airflow.switch import Plan
    from strongroom.vendors.airflow import AirflowConfig

__all__ = ["disable", "enable"]


@command(app, "enable")
def enable(
    context: typer.Context,
    *,
    home: Home = None,
    target: Annotated[
        Literal["dockerfile", "requirements", "helm", "astro", "env"] | None,
        typer.Option(
            "--for",
            metavar="WHERE",
            help="Write nothing; print the lines for a dockerfile, requirements, helm, astro or env.",
        ),
    ] = None,
    is_shadow: Annotated[
        bool, typer.Option("--shadow", help="Let what is there go on answering, and compare ours with it.")
    ] = False,
    canary: Annotated[
        list[str] | None,
        typer.Option(
            "--canary", metavar="PATTERN", help="With --shadow: DAGs that ours answers; repeatable."
        ),
    ] = None,
    is_verified: Annotated[
        bool,
        typer.Option("--verified-runs", help="Set the coordinator too: announced runs, masked stdout (3.3)."),
    ] = False,
    queue: Annotated[
        list[str] | None,
        typer.Option("--queue", metavar="NAME", help="With --verified-runs: a queue it runs; repeatable."),
    ] = None,
    socket: Socket = None,
    url: Url = None,
    token_file: TokenFile = None,
    yes: Yes = False,
) -> None:
    """
    Switch an Airflow over to Strongroom.

    Shows the settings first, and writes them into airflow.cfg on a yes: nothing else of the file changes, and
    strongroom airflow disable puts back what stood there. Airflow asks where this command would ask, unless
    --socket or --url say otherwise. What cannot be undone is not begun: where the environment decides, or the
    file is mounted, --for prints the lines to put there.

    Example:
      $ strongroom airflow enable
      $ strongroom airflow enable --shadow --canary 'sales_*'
      $ strongroom airflow enable --socket /run/sr/agent.sock --verified-runs
      $ strongroom airflow enable --for helm
    """
    from strongroom.service.airflow import switch  # noqa: PLC0415 -- `--help` does without

    session: Session = context.obj
    _check(canary, queue, is_shadow=is_shadow, is_verified=is_verified)
    wanted = switch.Wanted(
        kwargs=our_kwargs(session, socket, url, token_file),
        is_shadow=is_shadow,
        canary=canary or (),
        is_verified=is_verified,
        queues=queue or ("default",),
    )
    if target is not None:
        _print(session, _known(session, home), wanted, target)
        return
    config = config_of(session, home)
    planned = switch.plan(config, wanted)
    if session.output == "table":
        _show(config, planned)
    if not wanted.kwargs:
        terminal.warn(
            "no place is named, so each Airflow process looks for settings as this command does",
            session,
            hint="name one: --config FILE, --socket PATH, or --url URL with --token-file",
        )
    if is_verified:
        note(
            "Airflow before 3.3 ignores [sdk] coordinators; strongroom airflow check says which it is",
            session,
        )
    terminal.confirm(f"write this to {config.file or 'airflow.cfg'}", is_agreed=yes)
    copy = switch.enable(config, planned)
    facts = {**_facts(planned), "file": str(config.file), "copy": str(copy)}
    sentence(session, f"written; a copy of what stood there is {copy}", facts)
    note("restart Airflow's processes; strongroom airflow check compares", session)


def _check(canary: list[str] | None, queue: list[str] | None, *, is_shadow: bool, is_verified: bool) -> None:
    if canary and not is_shadow:
        raise InvalidInputError("--canary belongs to --shadow")
    if queue and not is_verified:
        raise InvalidInputError("--queue belongs to --verified-runs")


def _known(session: Session, home: Path | None) -> AirflowConfig | None:
    """Give the configuration where there is one: lines for elsewhere need none."""
    try:
        return config_of(session, home)
    except InvalidInputError:
        return None


def _print(session: Session, config: AirflowConfig | None, wanted: object, target: str) -> None:
    from strongroom.service.airflow import lines, switch  # noqa: PLC0415 -- as `enable`

    planned = switch.plan(config, wanted)  # type: ignore[arg-type]  # `enable` made it
    found = lines.lines_for(target, planned.settings, version=__version__)  # type: ignore[arg-type]  # typer checked it
    if any(setting.shown != setting.value and "…" in setting.shown for setting in planned.settings):
        note("… stands for arguments that are there now: put them in", session)
    if session.output == "table":
        write("\n".join(map(clean, found)))
    else:
        sentence(session, "", {"for": target, "lines": found})


def _show(config: AirflowConfig, planned: Plan) -> None:
    write(clean(f"{config.file or config.home}"))
    if planned.was:
        write(clean(f"  now: {planned.was}"))
    section = ""
    for setting in planned.settings:
        if setting.section != section:
            section = setting.section
            write(f"  [{section}]")
        write(clean(f"  {setting.option} = {setting.shown}"))


def _facts(planned: Plan) -> dict[str, object]:
    settings = [
        {"section": setting.section, "option": setting.option, "value": setting.shown}
        for setting in planned.settings
    ]
    return {"settings": settings, "was": planned.was}


@command(app, "disable")
def disable(context: typer.Context, *, home: Home = None, yes: Yes = False) -> None:
    """
    Switch an Airflow back to what it asked before.

    Puts back what stood in airflow.cfg before strongroom airflow enable, the old secrets backend and its
    arguments too, to the byte; what has changed elsewhere in the file since stays. A setting of ours that was
    changed since is left alone, and then nothing is done.

    Example:
      $ strongroom airflow disable
      $ strongroom airflow disable --home /opt/airflow --yes
    """
    from strongroom.service.airflow import switch  # noqa: PLC0415 -- as `enable`

    session: Session = context.obj
    config = config_of(session, home)
    if switch.record_of(config) is not None:
        terminal.confirm(f"put back what stood in {config.file}", is_agreed=yes)
    back = switch.disable(config)
    facts = {"file": str(config.file), "settings": back}
    sentence(session, f"put back in {config.file}: {', '.join(back)}", facts)
    note("restart Airflow's processes", session)
