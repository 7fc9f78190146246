"""
What `strongroom agent` does when it serves.

It runs for as long as the machine does, so `parse` reads the usual command lines here, without typer, which
would stay in its memory; help, the other commands and mistakes go to the command as `agent.py` declares it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.cli.output import sentence
from strongroom.cli.session import Session, ask_passphrase
from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from strongroom.settings import Settings

__all__ = ["Request", "parse", "path_of", "serve", "settings_of"]

_WITH_VALUE = {f"--{name}": name for name in ("socket", "config", "deployment")}


@dataclass(frozen=True, slots=True)
class Request:
    """
    Where to answer.

    Args:
        socket: path of it; None for the one of the settings.
    """

    socket: str | None = None


def parse(arguments: Sequence[str], session: Session) -> Request | None:
    """Read the usual command lines into *session* and a request; None for all others."""
    said: dict[str, str] = {}
    left = iter(arguments)
    for argument in left:
        option, separator, value = argument.partition("=")
        if option not in _WITH_VALUE:
            return None
        value = value if separator else next(left, "")
        if not value or value.startswith("-"):
            return None
        said[_WITH_VALUE[option]] = value
    request = Request(said.pop("socket", None))
    for name, value in said.items():
        setattr(session, name, value)
    return request


def settings_of(session: Session, socket: str | None) -> Settings:
    """
    Give the settings of the agent of this machine.

    Args:
        session: what was told.
        socket: where it answers; None for what the settings say.

    Raises:
        SettingsError: they cannot be used. InvalidInputError: *socket* is no path.
    """
    from strongroom.settings import load  # noqa: PLC0415 -- `--help` does without

    # What says where others ask says nothing to the one that is asked.
    found = load(session.config, environ=session.environ, deployment=session.deployment)
    if socket is None:
        return found
    return replace(found, agent=replace(found.agent, socket=path_of(socket)))


def path_of(text: str) -> Path:
    """
    Give the path of a socket.

    Raises:
        InvalidInputError: it is none.
    """
    if not text or "\0" in text:
        raise InvalidInputError("--socket is no path")
    return Path(os.path.abspath(text))  # noqa: PTH100 -- a link at the end is not followed here


def serve(request: Request, session: Session) -> None:
    """
    Answer the processes of this machine, until it is told to end.

    Raises:
        StrongroomError: it cannot begin; `strongroom.agent.serve` tells why.
    """
    if session.profile is not None:
        raise InvalidInputError(
            "an agent has its server from its settings", hint="strongroom agent enrol; leave --profile out"
        )
    from strongroom.agent import serve as agent  # noqa: PLC0415 -- `--help` does without

    def on_ready(one: agent.Agent) -> None:
        facts = {"socket": one.doors.main.name, "pid": os.getpid(), "deployment": one.host.deployment}
        sentence(session, f"answering at {one.doors.main.name}; Ctrl-C ends it", facts)
        sys.stdout.flush()  # whoever started us through a pipe waits for it

    agent.serve(
        settings_of(session, request.socket),
        environ=session.environ,
        reload=lambda: settings_of(session, request.socket),
        passphrase=ask_passphrase,
        on_ready=on_ready,
    )
