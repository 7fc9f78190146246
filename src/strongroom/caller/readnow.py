"""
`strongroom-read`: what `strongroom read` prints, from the agent of this machine, at a fraction of the start.

    strongroom-read NAME [--field FIELD] [--variable | --connection] [--team TEAM] [--bypass-cache]

Where no agent is asked, and for every other option, it becomes `strongroom read` with the same arguments.
Exit codes, messages and what is printed are those of `strongroom read`, which tests hold it to.
"""

from __future__ import annotations

import os
import sys

from strongroom import place
from strongroom.caller import frames
from strongroom.caller.agent import AgentClient, connection_in, outcome_error, text_in
from strongroom.errors import InvalidInputError, NotFoundError, StrongroomError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

__all__ = ["EXIT_CODES", "Question", "main", "parse", "run"]

EXIT_CODES = {
    "invalid_input": 2,
    "not_found": 3,
    "access_denied": 4,
    "not_authenticated": 4,
    "conflict": 5,
    "read_only": 5,
    "backend_unavailable": 6,
    "rate_limited": 6,
    "backend_config": 7,
    "settings": 7,
    "not_recorded": 7,
    "sealed": 8,
    "malformed_entry": 9,
    "tampered": 9,
}
"""Exit code of each error by its code, as in `cli/main.py`, which no task process should load."""

_UNEXPECTED = 1
_INTERRUPTED = 130  # 128 + SIGINT
_CLOSED_PIPE = 141  # 128 + SIGPIPE
_FIELDS = ("conn_type", "host", "login", "password", "schema", "port", "description")
_SAY_KIND = "say --variable or --connection to ask for one kind only"
_FOR_BOTH = ("access_denied", "invalid_input", "not_authenticated")  # the other kind is no way out


class Question:
    """
    What to read.

    Attributes:
        name, team: of the entry.
        kind: connection or variable; None for whichever there is.
        field: of a connection, or None for the whole value.
        flags: of the frame.
    """

    __slots__ = ("field", "flags", "kind", "name", "team")

    def __init__(self) -> None:
        self.name = ""
        self.team: str | None = None
        self.kind: str | None = None
        self.field: str | None = None
        self.flags = 0


def run() -> NoReturn:
    """Run what the command line says and leave the process."""
    sys.exit(main(sys.argv[1:], os.environ))


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """
    Print what *arguments* ask for and give the exit code; or become `strongroom read`.

    Args:
        arguments: without the name of the program.
        environ: the only environment that is looked at.
    """
    try:
        question = parse(arguments)
        where = place.find(environ) if question is not None else None
        if question is None or where is None or where.kind != place.AGENT:
            _become(arguments, environ)
        _write(_answer(question, AgentClient(where.path or "", environ=environ)))
    except StrongroomError as error:
        _tell(error)
        return EXIT_CODES.get(error.code, _UNEXPECTED)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        return _CLOSED_PIPE
    except Exception as error:  # noqa: BLE001 -- the process edge: a traceback would print values
        sys.stderr.write(f"strongroom: unexpected {type(error).__name__}\n")
        return _UNEXPECTED
    return 0


def parse(arguments: Sequence[str]) -> Question | None:
    """Read the usual command lines; None for all others."""
    question = Question()
    names: list[str] = []
    left = iter(arguments)
    for argument in left:
        option, separator, value = argument.partition("=")
        if option in ("--field", "--team"):
            value = value if separator else next(left, "")
            if not value:
                return None
            setattr(question, option[2:], value)
        elif argument in ("--connection", "--variable") and question.kind is None:
            question.kind = argument[2:]
        elif argument == "--bypass-cache":
            question.flags = frames.BYPASS_CACHE
        elif argument.startswith("-"):
            return None
        else:
            names.append(argument)
    if len(names) != 1:
        return None
    question.name = names[0]
    return question


def _become(arguments: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    # Another program, not an import: this file is below the command line.
    command = [sys.executable, "-m", "strongroom", "read", *arguments]
    os.execve(sys.executable, command, dict(environ))  # noqa: S606 -- our own interpreter, no shell


def _answer(question: Question, agent: AgentClient) -> str:
    name, team, kind, field = question.name, question.team, question.kind, question.field
    if field is not None and kind == "variable":
        raise InvalidInputError("a variable has no fields", hint="say --connection, or leave out --field")
    kind = "connection" if field is not None else kind
    if kind is None:
        kind, answer = _either(question, agent)
    else:
        answer = agent.read(kind, name, team, flags=question.flags)
    if answer.outcome == frames.ABSENT:
        raise outcome_error(answer, kind, name, team)
    if kind == "variable":
        return text_in(answer, name, team) or ""
    return _whole(answer, name, team) if field is None else _field(answer, question, field)


def _either(question: Question, agent: AgentClient) -> tuple[str, frames.Answer]:
    """Ask for both kinds and give the one there is."""
    name, team = question.name, question.team
    kinds = ("variable", "connection")
    answers = agent.read_many([(kind, name, team) for kind in kinds], flags=question.flags)
    found = [pair for pair in zip(kinds, answers) if pair[1].outcome == frames.FOUND]  # noqa: B905 -- as many
    # A connection that cannot be parsed is there all the same.
    if len(found) > 1 or (found and answers[1].outcome == frames.INVALID):
        raise InvalidInputError(
            f"there are a variable and a connection named {name}", hint="say --variable or --connection"
        )
    for kind, answer in zip(kinds, answers):  # noqa: B905 -- as above
        if answer.outcome not in (frames.FOUND, frames.ABSENT):
            error = outcome_error(answer, kind, name, team)
            # Where the other kind is to be had, to ask for that one alone is what helps.
            if found or not (error.hint or error.code in _FOR_BOTH):
                error.hint = _SAY_KIND
            raise error
    if found:
        return found[0]
    hint = outcome_error(answers[0], "variable", name, team).hint
    raise NotFoundError(f'there is no variable or connection "{name}"', hint=hint)


# --- a connection, without the parsers of its text forms --------------------------------------------------


def _whole(answer: frames.Answer, name: str, team: str | None) -> str:
    """Give Airflow's JSON, as `Connection.format` does."""
    import json  # noqa: PLC0415 -- most reads are of a variable or a field

    if answer.fields is None:
        raise outcome_error(answer, "connection", name, team)
    fields = dict(zip(frames.FIELD_NAMES, answer.fields))  # noqa: B905 -- as many
    shown: dict[str, object] = {key: value for key, value in fields.items() if value is not None}
    if answer.fields[6] == 0:
        shown["port"] = "0"  # as connection_form.py: Airflow takes a false value for no port
    if answer.fields[7] is not None:
        shown["extra"] = json.loads(answer.fields[7]) or "{}"  # likewise
    return json.dumps(shown, allow_nan=False)


def _field(answer: frames.Answer, question: Question, field: str) -> str:
    """Give one field as text; what is no text, as JSON."""
    connection = connection_in(answer, question.name, question.team)
    if field == "uri":
        return connection.format("uri").reveal()
    head, _, path = field.partition(".")
    if field not in _FIELDS and head != "extra":
        raise InvalidInputError(
            "a connection has no such field", hint=f"fields: {', '.join(_FIELDS)}, extra, extra.KEY, uri"
        )
    found: object
    if head == "extra":
        extra = None if connection.extra is None else connection.extra.reveal()
        found = _within(extra, path) if path else extra
    elif head == "password":
        found = None if connection.password is None else connection.password.reveal()
    else:
        found = getattr(connection, head)
    if found is None:
        shown = f'connection "{question.name}"' + (f" (team {question.team})" if question.team else "")
        raise NotFoundError(f"{shown} has no {head if path else field}{' of that name' if path else ''}")
    if isinstance(found, str):
        return found
    import json  # noqa: PLC0415 -- as above

    return json.dumps(found)


def _within(extra: object, path: str) -> object:
    """Give what stands in *extra* under *path*: a key, or keys joined by dots."""
    if not isinstance(extra, dict):
        return None
    if path in extra:
        return extra[path]
    head, _, rest = path.partition(".")
    return _within(extra.get(head), rest) if rest else None


# --- what is written -------------------------------------------------------------------------------------


def _write(text: str) -> None:
    out = sys.stdout
    out.buffer.write(text.encode())
    if out.isatty():
        out.buffer.write(b"\n")
    try:
        out.buffer.flush()
    except BrokenPipeError:
        # Python would try again at the end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
        raise


def _tell(error: StrongroomError) -> None:
    offset = getattr(error, "offset", None)
    place_in_it = "" if offset is None else f" (at offset {offset})"
    hint = f"hint: {error.hint}\n" if error.hint else ""
    sys.stderr.write(f"strongroom: {error}{place_in_it}\n{hint}")
