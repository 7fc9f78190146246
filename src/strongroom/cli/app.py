"""
How commands are declared, found, helped and refused.

Rules of this file:

1. A noun is imported when it is called for: the table `COMMANDS` is all that is known before.
2. Every command takes the same options of the session, wherever on the line they stand.
3. Every command's docstring ends in `Example:`; help shows it above the options.
4. What a user mistyped is told without repeating it: it may be a secret in the wrong place.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from strongroom.cli.session import Output, Session
from strongroom.errors import InvalidInputError
from strongroom.model.ref import check_team

if TYPE_CHECKING:
    from typer._click.core import Command as AnyCommand
    from typer._click.core import Context, Parameter
    from typer._click.formatting import HelpFormatter

__all__ = ["COMMANDS", "Command", "Group", "command", "invoke", "noun", "tree"]

CommandT = TypeVar("CommandT", bound=Callable[..., object])

COMMANDS: dict[str, tuple[str, ...]] = {
    "Start": ("up", "init", "dev", "serve", "doctor"),
    "Keep": ("connections", "variables", "inventory", "find", "diff"),
    "Use": ("read", "run", "explain"),
    "Serve a machine": ("agent",),
    "Ask a server": ("login", "logout", "whoami"),
    "Care": (
        "backends",
        "series",
        "store",
        "keys",
        "seal",
        "unseal",
        "backup",
        "restore",
        "access",
        "audit",
        "airflow",
    ),
}
"""Every command of the first level, under its heading; each stands in `cli/<command>.py`."""

_EXAMPLE = re.compile(r"^Examples?:\n", re.MULTILINE)
_EVERYWHERE = "Everywhere"
_FEW = 2  # commands of a noun that are named at once


# --- what every command has ----------------------------------------------------------------------


def _declared(
    output: Annotated[
        Output,
        typer.Option(
            "--output", "-o", metavar="FORMAT", help="table, json (errors too) or yaml.", show_default=False
        ),
    ] = "table",
    team: Annotated[
        str | None, typer.Option(metavar="TEAM", help="Whose names are meant; the global ones if unsaid.")
    ] = None,
    deployment: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which deployment of the settings, or of the server.")
    ] = None,
    config: Annotated[str | None, typer.Option(metavar="FILE", help="The settings file to read.")] = None,
    profile: Annotated[
        str | None, typer.Option(metavar="NAME", help="Ask the server that `strongroom login` called so.")
    ] = None,
    is_debug: Annotated[
        bool, typer.Option("--debug", help="Show where an unexpected failure came from.")
    ] = False,
) -> None:
    """Declare the options of the session; `_session_options` takes them from here."""


@cache
def _session_options() -> tuple[Parameter, ...]:
    app = single()
    app.command()(_declared)
    parameters = typer.main.get_command(app).params
    for parameter in parameters:
        parameter.expose_value = False
        parameter.callback = _keep
        parameter.rich_help_panel = _EVERYWHERE  # type: ignore[attr-defined]  # they are options
    return tuple(parameters)


def _keep(context: Context, parameter: Parameter, value: object) -> None:
    """Put *value* into the session if it was given, so that the one nearest the end of the line counts."""
    source = context.get_parameter_source(str(parameter.name))
    if source is not None and source.name == "COMMANDLINE":
        if parameter.name == "team":
            check_team(str(value))
        if parameter.name == "profile":
            context.find_root().obj.use(str(value))
            return
        setattr(context.find_root().obj, str(parameter.name), value)


class _Help:
    """Help in plain text: a sentence, the usage, an example, then arguments and options."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:  # noqa: ANN401 -- typer's own
        super().__init__(*arguments, **settings)
        self.params: list[Parameter] = [*self.params, *_session_options()]

    def format_help(self, ctx: Context, formatter: HelpFormatter) -> None:
        text, example = _parts(self.help)  # type: ignore[attr-defined]  # both classes below have it
        first, _, rest = text.partition("\n\n")
        formatter.write_text(first)
        formatter.write_paragraph()
        self.format_usage(ctx, formatter)  # type: ignore[attr-defined]
        if rest:
            formatter.write_paragraph()
            formatter.write_text(rest)
        if example:
            _write_heading(formatter, "Example")
            for line in example.split("\n"):
                formatter.write(f"  {line}\n" if line else "\n")
        self.format_commands(ctx, formatter)
        self._format_parameters(ctx, formatter)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """Write what stands below this command: nothing."""

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        # Typer's own pieces are built of all arguments; hidden ones catch what must be refused.
        shown = [parameter for parameter in self.get_params(ctx) if not getattr(parameter, "hidden", False)]  # type: ignore[attr-defined]
        pieces = [piece for parameter in shown for piece in parameter.get_usage_pieces(ctx)]
        return ["[OPTIONS]", *(piece.replace("{", "").replace("}", "") for piece in pieces)]

    def _format_parameters(self, ctx: Context, formatter: HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": [], _EVERYWHERE: []}
        for parameter in self.get_params(ctx):  # type: ignore[attr-defined]
            record = parameter.get_help_record(ctx)
            if record is not None:
                sections[_section(parameter)].append(
                    (record[0], record[1].removesuffix("[required]").rstrip())
                )
        for heading, records in sections.items():
            if records:
                _write_heading(formatter, heading)
                formatter.indent()
                formatter.write_dl(records, col_max=28)
                formatter.dedent()


def _section(parameter: Parameter) -> str:
    if isinstance(parameter, TyperArgument):
        return "Arguments"
    is_shared = getattr(parameter, "rich_help_panel", None) == _EVERYWHERE or "--help" in parameter.opts
    return _EVERYWHERE if is_shared else "Options"


class Command(_Help, TyperCommand):
    """One command."""


class Group(_Help, TyperGroup):
    """A noun with commands below it."""

    def collect_usage_pieces(self, ctx: Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "COMMAND", "…"]

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        _write_heading(formatter, "Commands")
        _write_commands(self, ctx, formatter, self.list_commands(ctx))

    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, AnyCommand | None, list[str]]:
        found = self.get_command(ctx, args[0])
        if found is None and not ctx.resilient_parsing and not args[0].startswith("-"):
            path, names = ctx.command_path, self.list_commands(ctx)
            near = get_close_matches(args[0], names, 1)
            known = f"it has {' and '.join(names)}" if len(names) <= _FEW else f"{path} --help lists them"
            raise InvalidInputError(
                f"{path} has no such command", hint=f"did you mean {path} {near[0]}?" if near else known
            )
        return super().resolve_command(ctx, args)


class _Root(Group):
    """The program itself."""

    def list_commands(self, ctx: Context) -> list[str]:  # noqa: ARG002 -- typer's signature
        return [name for names in COMMANDS.values() for name in names]

    def get_command(self, ctx: Context, cmd_name: str) -> AnyCommand | None:
        if cmd_name not in self.commands and cmd_name in self.list_commands(ctx):
            found = typer.main.get_command(import_module(f"strongroom.cli.{cmd_name}").app)
            found.name = cmd_name
            self.commands[cmd_name] = found
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        for heading, names in COMMANDS.items():
            _write_heading(formatter, heading)
            _write_commands(self, ctx, formatter, names)


def _write_commands(group: Group, ctx: Context, formatter: HelpFormatter, names: Sequence[str]) -> None:
    width = max(len(name) for name in group.list_commands(ctx))
    for name in names:
        found = group.get_command(ctx, name)
        if found is not None and not found.hidden:
            formatter.write(f"  {name:<{width}}  {_summary(found.help)}\n")


def _write_heading(formatter: HelpFormatter, heading: str) -> None:
    formatter.write_paragraph()
    formatter.write_heading(heading)


def _summary(text: str | None) -> str:
    first = _parts(text)[0].partition("\n\n")[0].replace("\n", " ")
    return first.partition(". ")[0].removesuffix(".")


def _parts(text: str | None) -> tuple[str, str]:
    """Give a help text without its example, and the example."""
    head, *example = _EXAMPLE.split(inspect.cleandoc(text or ""), 1)
    return head.strip(), inspect.cleandoc(example[0]) if example else ""


# --- declaring -----------------------------------------------------------------------------------


def noun(name: str, text: str) -> typer.Typer:
    """Give an app for `cli/<name>.py` that commands are declared on; *text* is its help."""
    app = typer.Typer(name=name, cls=Group, help=text, add_completion=False, rich_markup_mode=None)

    @app.callback(invoke_without_command=True)
    def _callback(context: typer.Context) -> None:
        _help_if_alone(context)

    return app


def command(
    app: typer.Typer,
    name: str,
    *,
    text: str | None = None,
    context_settings: dict[str, object] | None = None,
    kind: type[Command] = Command,
) -> Callable[[CommandT], CommandT]:
    """
    Declare the decorated function as a command.

    Args:
        app: of its noun.
        name: as it is typed.
        text: its help, where the docstring does not say it; it ends in `Example:`.
        context_settings: how typer is to parse it, where that is unusual.
        kind: the same, where that takes code.
    """
    return app.command(name, cls=kind, help=text, context_settings=context_settings)


def single() -> typer.Typer:
    """Give an app for a file that is one command."""
    return typer.Typer(add_completion=False, rich_markup_mode=None)


def _help_if_alone(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


# --- running -------------------------------------------------------------------------------------


def tree() -> typer.core.TyperGroup:
    """Give the program with all its commands, found when they are asked for."""
    app = typer.Typer(name="strongroom", cls=_Root, rich_markup_mode=None)

    @app.callback(invoke_without_command=True)
    def _strongroom(
        context: typer.Context,
        *,
        version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    ) -> None:
        """
        Secrets and connections for workflows.

        Ends with 0 when all is done, 2 for wrong input, 3 where nothing is found, 4 where it is denied, 5
        for conflicts and what cannot be written, 6 where something is unavailable, 7 for wrong settings, 8
        where no key opens the store, 9 where something stored is damaged, expired or tampered with.

        Example:
          $ strongroom up
          $ strongroom connections import connections.json
          $ strongroom run --connection orders_db -- python job.py
        """
        if version:
            _print_version()
        else:
            _help_if_alone(context)

    found = typer.main.get_command(app)
    assert isinstance(found, TyperGroup)  # noqa: S101 -- a callback makes it one
    return found


@cache
def _program() -> TyperGroup:
    # It keeps nothing of a line, so all lines of a process share one: reading the signatures of a noun takes
    # longer than most of its commands.
    return tree()


def _print_version() -> None:
    from strongroom import __version__  # noqa: PLC0415 -- asked for rarely

    typer.echo(f"strongroom {__version__}")


def invoke(arguments: list[str], session: Session) -> int:
    """
    Parse *arguments*, run the command and give its exit code.

    Raises:
        InvalidInputError: they do not parse.
        Whatever the command raises.
    """
    if _asks_for_json(arguments):
        session.output = "json"  # for mistakes that end the parsing before it is reached
    program = _program()
    if "_STRONGROOM_COMPLETE" in session.environ:
        program.main(arguments, prog_name="strongroom", standalone_mode=False, obj=session)
        return 0
    try:
        with program.make_context("strongroom", arguments, obj=session) as context:
            program.invoke(context)
    except typer.Exit as ending:
        return ending.exit_code
    except typer.TyperException as error:
        refusal = _refusal(error)
    else:
        return 0
    # Outside `except`: typer's error quotes the command line, and would stay as this one's context.
    raise refusal


def _asks_for_json(arguments: Sequence[str]) -> bool:
    ours = list(takewhile(lambda argument: argument != "--", arguments))
    pairs = pairwise(ours)
    return any(one in ("--output", "-o") and other == "json" for one, other in pairs) or any(
        one in ("--output=json", "-ojson") for one in ours
    )


# --- refusing ------------------------------------------------------------------------------------


def _refusal(error: typer.TyperException) -> InvalidInputError:
    """Say what typer found wrong, in our words and without what was typed."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "strongroom"
    kind = type(error).__name__
    parameter: Parameter | None = getattr(error, "param", None)
    if kind == "NoSuchOption":
        near = getattr(error, "possibilities", None) or ()
        hint = f"did you mean {min(near)}?" if near else f"{path} --help lists them"
        return InvalidInputError(f"{path} has no such option", hint=hint)
    if kind == "MissingParameter" and parameter is not None:
        return InvalidInputError(f"{_called(parameter)} is missing", hint=_usage(context))
    if kind == "BadOptionUsage":
        return InvalidInputError(
            f"{getattr(error, 'option_name', 'an option')} needs a value", hint=_usage(context)
        )
    if parameter is not None:
        return InvalidInputError(f"{_called(parameter)} must be {_expected(parameter)}", hint=_usage(context))
    return InvalidInputError("there are more arguments than this command takes", hint=_usage(context))


def _called(parameter: Parameter) -> str:
    if isinstance(parameter, TyperOption):
        return next((name for name in parameter.opts if name.startswith("--")), parameter.opts[0])
    return str(parameter.metavar or parameter.name)


def _expected(parameter: Parameter) -> str:
    kind = parameter.type
    choices = getattr(kind, "choices", None)
    if choices:
        return f"one of {', '.join(map(str, choices))}"
    least, most = getattr(kind, "min", None), getattr(kind, "max", None)
    bounds = f"{'' if least is None else f' from {least}'}{'' if most is None else f' to {most}'}"
    return f"a whole number{bounds}"


def _usage(context: Any) -> str:  # noqa: ANN401 -- a context of typer's, or None
    if context is None:
        return "strongroom --help"
    return re.sub(r"\s+", " ", context.get_usage().strip()).replace("Usage:", "usage:")
