"""`strongroom agent enrol`: make this host an agent of a server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom.cli import intake, terminal
from strongroom.cli.app import command
from strongroom.cli.entry import Ca, PlainHttp
from strongroom.cli.output import sentence
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError
from strongroom.model.secret import Secret
from strongroom.settings import load

if TYPE_CHECKING:
    from strongroom.caller import ServerAddress

__all__ = ["attach"]

_MAX_CODE_BYTES = 8192


def attach(parent: typer.Typer) -> None:
    """Declare this command on *parent*, which is `strongroom agent`."""
    command(parent, "enrol")(enrol)


def enrol(
    context: typer.Context,
    *,
    url: Annotated[
        str, typer.Option("--url", metavar="URL", help="The server, as https://host.", show_default=False)
    ],
    code: Annotated[
        str | None,
        typer.Option("--code", metavar="-", help="- reads the code from stdin; unsaid, it is asked for."),
    ] = None,
    server_deployment: Annotated[
        str | None,
        typer.Option(
            "--server-deployment", metavar="NAME", help="Which of the server's; its first if unsaid."
        ),
    ] = None,
    ca: Ca = None,
    plain_http: PlainHttp = False,
    client_cert: Annotated[
        Path | None,
        typer.Option(
            "--client-cert", metavar="FILE", help="A TLS client certificate (PEM) in place of a code."
        ),
    ] = None,
    client_key: Annotated[
        Path | None, typer.Option("--client-key", metavar="FILE", help="The key of --client-cert (PEM).")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Instead of what is enrolled here.")] = False,
) -> None:
    r"""
    Make this host an agent of a server.

    Takes the code that `strongroom access agents invite` gives, which is good once and for ten minutes; it
    never stands on the command line. A key is made here and does not leave: it stands in the agent's state
    folder beside where the server is, both for the agent's user alone. Run it as that user, or as root.

    Where the server knows the host by a TLS client certificate, that takes the place of code and key.

    Example:
      $ strongroom agent enrol --url https://strongroom.example.com
      $ strongroom agent enrol --url https://strongroom.example.com \
          --client-cert /etc/ssl/host-1.crt --client-key /etc/ssl/host-1.key
      $ strongroom agent enrol --url https://strongroom.example.com \
          --code - < code.txt
    """
    session: Session = context.obj
    if code not in (None, intake.STDIN):
        raise intake.refuse_argument("an enrolment code", instead="say --code - and give it on stdin")
    from strongroom.agent.enrol import enrol as enrol_host  # noqa: PLC0415 -- it loads cryptography
    from strongroom.agent.enrol import enrol_with_certificate  # noqa: PLC0415 -- as above
    from strongroom.caller.address import checked  # noqa: PLC0415 -- as above

    settings = load(session.config, environ=session.environ, deployment=session.deployment)
    address = _address(url, server_deployment, ca, plain_http=plain_http)
    checked(address)  # before anything is asked
    if client_cert is None and client_key is None:
        found = enrol_host(settings.agent.state, address, _code(is_stdin=code is not None), is_again=again)
    else:
        shown = _shown(address, code, client_cert, client_key)
        found = enrol_with_certificate(settings.agent.state, shown, is_again=again)
    facts = {
        "name": found.name,
        "actor": f"agent:{found.name}",
        "url": found.url,
        "deployment": found.deployment,
        "state": str(settings.agent.state),
    }
    sentence(session, f"enrolled as agent {found.name} of {found.deployment} at {found.url}", facts)
    if settings.chain and "remote" not in {one.kind for one in settings.backend.values()}:
        terminal.note('the chain of its settings does not name the server yet: chain = ["remote"]', session)


def _address(url: str, deployment: str | None, ca: str | None, *, plain_http: bool) -> ServerAddress:
    from strongroom.caller.address import ServerAddress  # noqa: PLC0415 -- as above

    if url.startswith("srm_") or "@" in url:
        raise intake.refuse_argument("an enrolment code", instead="say --code - and give it on stdin")
    return ServerAddress(
        url,
        deployment,
        None if ca is None else Path(ca).absolute(),
        allows_plain_http=plain_http,
        setting="--url",
    )


def _shown(
    address: ServerAddress, code: str | None, certificate: Path | None, key: Path | None
) -> ServerAddress:
    if code is not None:
        raise InvalidInputError("a code and a certificate exclude one another", hint="leave --code out")
    if certificate is None or key is None:
        missing = "--client-cert" if certificate is None else "--client-key"
        raise InvalidInputError("a certificate and its key belong together", hint=f"say {missing} too")
    for file in (certificate, key):
        if not file.is_file():
            raise InvalidInputError("the certificate or its key is not there", hint="name two PEM files")
    return address._replace(client_cert=certificate.absolute(), client_key=key.absolute())


def _code(*, is_stdin: bool) -> Secret[str]:
    if is_stdin and not sys.stdin.isatty():
        return Secret(intake.read_secret(intake.STDIN, what="the code", limit=_MAX_CODE_BYTES))
    if not terminal.can_ask():
        raise InvalidInputError("there is no terminal to ask for the code on", hint="say --code -")
    return Secret(terminal.ask_secret("enrolment code: "))
