"""
How a command starts and ends: which parser reads it, which error becomes which exit code.

Rules of this file:

1. One table from error to exit code; no command chooses a code for an error of ours.
2. An error is told in one line, `strongroom: message`, and one `hint:` line below it, both in lower
   case; with `--output json` as one JSON object. Both go to stderr.
3. Ctrl-C ends quietly with 130, a closed pipe quietly with 141, as a shell reports those signals.
4. What nobody expected is told by its class and place alone: its text may quote a secret.
5. SIGTERM and SIGHUP end as Ctrl-C does: what holds a secret is removed on the way out.
6. Nothing heavy is imported before it is known to be needed: programs call `strongroom read` often, and an
   agent keeps what it has imported for as long as its machine runs.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from strongroom import errors
from strongroom.cli import terminal
from strongroom.cli.session import Session
from strongroom.errors import StrongroomError

__all__ = ["EXIT_CODES", "UNEXPECTED", "exit_code", "main", "run"]

UNEXPECTED = 1
"""Exit code of a failure that is a mistake of ours, and of a question answered with no."""

INTERRUPTED = 130  # 128 + SIGINT
CLOSED_PIPE = 141  # 128 + SIGPIPE
_SIGNALLED = 128
_ENDING = (signal.SIGTERM, signal.SIGHUP)

EXIT_CODES: Mapping[type[StrongroomError], int] = {
    errors.InvalidInputError: 2,
    errors.NotFoundError: 3,
    errors.AccessDeniedError: 4,
    errors.NotAuthenticatedError: 4,
    errors.ConflictError: 5,
    errors.ReadOnlyError: 5,
    errors.BackendUnavailableError: 6,
    errors.RateLimitedError: 6,
    errors.BackendConfigError: 7,
    errors.SettingsError: 7,
    errors.NotRecordedError: 7,
    errors.SealedError: 8,
    errors.MalformedEntryError: 9,
    errors.TamperedError: 9,
}


def run() -> NoReturn:
    """Run what the command line says and leave the process."""
    for number in _ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup's answer stays
            signal.signal(number, _end)
    sys.exit(main(sys.argv[1:], os.environ))


def _end(number: int, _frame: object) -> NoReturn:
    """Unwind, once; the code is the one a shell reports for the signal."""
    for other in _ENDING:
        signal.signal(other, signal.SIG_IGN)
    raise SystemExit(_SIGNALLED + number)


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """
    Run the command *arguments* and give its exit code.

    Args:
        arguments: without the name of the program.
        environ: the only environment a command sees.
    """
    session = Session(environ=environ)
    terminal.prepare()
    try:
        code = _dispatch(list(arguments), session)
        sys.stdout.flush()
    except StrongroomError as error:
        terminal.tell_error(error, session)
        return exit_code(error)
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else UNEXPECTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        terminal.silence()
        return CLOSED_PIPE
    except Exception as error:  # noqa: BLE001 -- the process edge: a traceback would print values
        return _failed(error, session)
    return code


def _failed(error: Exception, session: Session) -> int:
    """Tell an answer that cannot be written apart from a failure nobody expected."""
    try:
        trouble = terminal.output_trouble() if isinstance(error, OSError) else None
    except BrokenPipeError:
        terminal.silence()
        return CLOSED_PIPE
    if trouble is None:
        terminal.tell_unexpected(error, session)
        return UNEXPECTED
    terminal.tell_error(trouble, session)
    return exit_code(trouble)


def exit_code(error: StrongroomError) -> int:
    """Give the exit code of *error*."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), UNEXPECTED)


def _dispatch(arguments: list[str], session: Session) -> int:
    if arguments[:1] == ["read"]:
        from strongroom.cli import value  # noqa: PLC0415 -- rule 6

        request = value.parse(arguments[1:], session)
        if request is not None:
            value.answer(request, session)
            return 0
    if arguments[:1] == ["agent"]:
        from strongroom.cli import answering  # noqa: PLC0415 -- rule 6

        where = answering.parse(arguments[1:], session)
        if where is not None:
            answering.serve(where, session)
            return 0
    from strongroom.cli import app  # noqa: PLC0415 -- rule 6

    return app.invoke(arguments, session)
