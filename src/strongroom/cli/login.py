"""`strongroom login`: let the commands of this user ask a server."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom import remote
from strongroom.cli import browser, intake, terminal
from strongroom.cli.app import command, single
from strongroom.cli.entry import Ca, PlainHttp
from strongroom.cli.output import sentence
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError
from strongroom.model.secret import Secret

if TYPE_CHECKING:
    from strongroom.caller import ServerAddress
    from strongroom.remote import Profile
    from strongroom.remote.session import Begun

app = single()

_MAX_SECRET_BYTES = 8192


@command(app, "login")
def login(
    context: typer.Context,
    *,
    url: Annotated[
        str | None,
        typer.Argument(metavar="[URL]", help="The server; the profile's if unsaid.", show_default=False),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="WHO", help="Who logs in.")] = None,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read a token from stdin and keep that.")
    ] = False,
    code_stdin: Annotated[
        bool, typer.Option("--code-stdin", help="Read the code of a login link from stdin.")
    ] = False,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from stdin.")
    ] = False,
    oidc: Annotated[
        bool, typer.Option("--oidc", help="Log in with the server's identity provider, by a browser.")
    ] = False,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Open none here: print the address, ask for the code.")
    ] = False,
    ca: Ca = None,
    plain_http: PlainHttp = False,
    token: Annotated[str | None, typer.Option(hidden=True)] = None,
    password: Annotated[str | None, typer.Option(hidden=True)] = None,
    code: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    r"""
    Log in to a server, and keep it as a profile.

    Asks for name and password, logs in with the identity provider of the server by way of a browser, or takes
    a token or the code of a login link, never on the command line. What
    the server gives is kept in a file that only this user can read; a session ends by itself, a token when it
    says so. Commands ask the server with --profile or STRONGROOM_PROFILE; without either they go on using the
    settings of this machine. A certificate that cannot be checked is refused: --ca names its authority.

    Example:
      $ strongroom login https://strongroom.example.com --name anna
      $ strongroom login https://strongroom.example.com --oidc
      $ strongroom login https://strongroom.example.com --profile ci \
          --token-stdin < token.txt
      $ strongroom login --profile prod            # again, at the same server
      $ STRONGROOM_PROFILE=prod strongroom connections list
    """
    session: Session = context.obj
    _refuse_secrets(url, token=token, password=password, code=code)
    called = session.profile or session.environ.get("STRONGROOM_PROFILE") or remote.DEFAULT
    oidc = oidc or no_browser
    if sum((token_stdin, code_stdin, password_stdin, oidc)) > 1:
        raise InvalidInputError(
            "--token-stdin, --code-stdin, --password-stdin and --oidc exclude one another"
        )
    if name is not None and (token_stdin or code_stdin or oidc):
        who = "the identity provider" if oidc else "a token or a code"
        raise InvalidInputError(f"{who} says itself who logs in", hint="leave --name out")
    profiles = remote.Profiles(session.environ)
    wanted = _wanted(session, profiles.find(called), url, ca=ca, plain_http=plain_http)
    address = wanted.address(called)._replace(setting="the url")
    remote.check(address)  # before anything is asked
    if oidc:
        begun = browser.log_in(address, session, may_open=not no_browser)
    else:
        begun = _begun(address, name, token_stdin=token_stdin, code_stdin=code_stdin, is_piped=password_stdin)
    kept = replace(
        wanted,
        actor=begun.actor,
        expires_at=begun.expires_at,
        is_session=begun.is_session,
        by_browser=oidc,
    )
    profiles.keep(called, kept, begun.token)
    facts = {"profile": called, "actor": begun.actor, "expires_at": begun.expires_at}
    sentence(session, f"logged in as {begun.actor}{_until(begun.expires_at)}; the profile is {called}", facts)
    terminal.note(f"to ask this server: --profile {called}, or export STRONGROOM_PROFILE={called}", session)


def _refuse_secrets(url: str | None, **given: str | None) -> None:
    """Refuse what would stand in the history of a shell and the list of processes."""
    for what, secret in given.items():
        if secret is not None:
            raise intake.refuse_argument(f"a {what}", instead=f"say --{what}-stdin")
    if url is not None and (url.startswith("srm_") or "@" in url):
        raise intake.refuse_argument("a token or password", instead="say --token-stdin or --password-stdin")


def _until(end: datetime | None) -> str:
    return "" if end is None else f" until {end:%Y-%m-%d %H:%M}Z"


def _wanted(
    session: Session, before: Profile | None, url: str | None, *, ca: str | None, plain_http: bool
) -> Profile:
    """Give where to log in: what was said, else what the profile or the environment says."""
    same = before if before is not None and url in (None, before.url) else None
    where = url or (same.url if same else None) or session.environ.get("STRONGROOM_URL")
    if not where:
        raise InvalidInputError(
            "it is not said which server", hint="strongroom login https://strongroom.example.com"
        )
    authority = ca or session.environ.get("STRONGROOM_CA") or (same.ca if same else None)
    return remote.Profile(
        url=where,
        deployment=session.deployment or (same.deployment if same else None),
        ca=None if authority is None else str(Path(authority).absolute()),
        allows_plain_http=plain_http
        or (same is not None and same.allows_plain_http)
        or session.environ.get("STRONGROOM_ALLOW_PLAIN_HTTP") == "1",
    )


def _begun(
    address: ServerAddress, name: str | None, *, token_stdin: bool, code_stdin: bool, is_piped: bool
) -> Begun:
    if token_stdin:
        return remote.begin_with_token(address, _from_stdin("the token"))
    if code_stdin:
        return remote.begin_with_code(address, _from_stdin("the code"))
    if not terminal.can_ask() and (name is None or not is_piped):
        raise InvalidInputError(
            "there is no terminal to ask for name and password on",
            hint="say --name WHO --password-stdin, or --token-stdin",
        )
    if name is None:
        name = terminal.ask_text("name: ").strip()
    if is_piped:
        return remote.begin(address, name, _from_stdin("the password"))
    return remote.begin(address, name, Secret(terminal.ask_secret(f"password of {terminal.clean(name)}: ")))


def _from_stdin(what: str) -> Secret[str]:
    if sys.stdin.isatty():
        return Secret(terminal.ask_secret(f"{what}: "))
    return Secret(intake.read_secret(intake.STDIN, what=what, limit=_MAX_SECRET_BYTES))
