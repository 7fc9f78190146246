"""`strongroom serve`: the HTTP API of every deployment, until told to stop."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import Annotated

import typer

from strongroom.cli.app import command, single
from strongroom.cli.output import sentence
from strongroom.cli.session import Session, ask_passphrase
from strongroom.errors import InvalidInputError, StrongroomError
from strongroom.settings import Settings

app = single()

_STOP_SECONDS = 40.0  # a drain takes up to 30


@command(app, "serve")
def serve(
    context: typer.Context,
    *,
    host: Annotated[
        str | None, typer.Option("--host", metavar="ADDRESS", help="Where to listen; server.host if unsaid.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port", metavar="PORT", help="0 takes a free one; server.port if unsaid.", min=0, max=65_535
        ),
    ] = None,
    is_stop: Annotated[
        bool, typer.Option("--stop", help="End the server that runs over this store.")
    ] = False,
    ready: Annotated[int | None, typer.Option("--ready-fd", hidden=True)] = None,
    is_flexible: Annotated[bool, typer.Option("--any-port", hidden=True)] = False,
) -> None:
    """
    Serve every deployment of the settings over HTTP.

    The API /v1, Airflow's own API, /metrics and /health, on this machine alone unless --host says otherwise;
    other machines need TLS (server.tls_cert, server.tls_key). Runs until Ctrl-C or SIGTERM, then answers what
    is under way. A deployment whose key is not to be had is sealed until it is: strongroom unseal.
    docs/server.md tells the rest.

    Example:
      $ strongroom serve
      $ strongroom serve --host 0.0.0.0 --port 8443
      $ strongroom serve --stop
    """
    session: Session = context.obj
    if session.deployment is not None:
        raise InvalidInputError("a server serves every deployment", hint="leave --deployment out")
    session.require_here("a server is started and stopped")
    settings = session.settings()
    if is_stop:
        _stop(session, settings)
        return
    server = replace(
        settings.server,
        host=settings.server.host if host is None else host,
        port=settings.server.port if port is None else port,
    )
    try:
        _serve(session, replace(settings, server=server), ready=ready, is_flexible=is_flexible)
    except StrongroomError as error:
        if ready is not None:
            from strongroom.server.background import tell_trouble  # noqa: PLC0415 -- `--help` does without

            tell_trouble(ready, error)
        raise


def _serve(session: Session, settings: Settings, *, ready: int | None, is_flexible: bool) -> None:
    from strongroom.server import background  # noqa: PLC0415 -- `--help` does without

    engine = background.engine()
    with background.held(settings) as tell:

        def on_ready(address: str) -> None:
            tell(address)
            if ready is not None:
                background.tell_ready(ready, address)
                return
            facts = {"address": address, "pid": os.getpid()}
            sentence(session, f"serving at {address}; Ctrl-C ends it", facts)
            sys.stdout.flush()  # whoever started us through a pipe waits for the address

        engine.serve(
            settings,
            environ=session.environ,
            passphrase=None if ready is not None else ask_passphrase,
            on_ready=on_ready,
            is_flexible=is_flexible,
            may_wait=ready is None,  # whoever started it behind is told at once what is wrong
        )


def _stop(session: Session, settings: Settings) -> None:
    from strongroom.server import background  # noqa: PLC0415 -- `--help` does without

    found = background.stop(settings, _STOP_SECONDS)
    text = "no server runs over this store" if found is None else f"ended the server at {found.address}"
    sentence(session, text, {"stopped": found is not None, "pid": None if found is None else found.pid})
