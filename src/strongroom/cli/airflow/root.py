"""The noun that the commands below it are declared on, and what several of them are told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strongroom import place
from strongroom.cli.app import noun
from strongroom.cli.session import Session
from strongroom.errors import InvalidInputError

if TYPE_CHECKING:
    from strongroom.vendors.airflow import AirflowConfig

__all__ = ["Home", "Socket", "TokenFile", "Url", "app", "config_of", "our_kwargs"]

app = noun(
    "airflow",
    """
    Work with an installed Airflow.

    Example:
      $ strongroom airflow check
      $ strongroom airflow enable --shadow
      $ strongroom airflow import --dry-run
    """,
)

Home = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="Airflow's home; AIRFLOW_HOME or ~/airflow if unsaid."),
]
Socket = Annotated[
    str | None,
    typer.Option("--socket", metavar="PATH", help="The socket of the agent that Airflow is to ask."),
]
Url = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="The server that Airflow is to ask, with --token-file."),
]
TokenFile = Annotated[
    str | None,
    typer.Option("--token-file", metavar="FILE", help="Where Airflow finds its token for the server."),
]


def config_of(session: Session, home: Path | None) -> AirflowConfig:
    """
    Give the configuration of the Airflow that is meant.

    Raises:
        InvalidInputError: there is none.
        BackendConfigError: it cannot be read.
    """
    from strongroom.service.airflow.switch import find_config  # noqa: PLC0415 -- `--help` does without

    return find_config(session.environ, None if home is None else home.expanduser().absolute())


def our_kwargs(
    session: Session, socket: str | None, url: str | None, token_file: str | None
) -> dict[str, object]:
    """
    Give the arguments that our backend is to have in Airflow: what is said, else where this command asks.

    Raises:
        InvalidInputError: they name two places, or a place that Airflow could not reach so.
        SettingsError: as `Session.settings`.
    """
    said = {"socket": socket, "url": url, "token_file": token_file}
    kwargs: dict[str, object] = {key: text for key, text in said.items() if text is not None}
    if (socket and (url or token_file)) or (token_file and not url):
        raise InvalidInputError("an agent is --socket; a server is --url with --token-file")
    if not kwargs:
        kwargs = _found(session)
    if session.deployment is not None and "socket" not in kwargs:
        kwargs["deployment"] = session.deployment
    return kwargs


def _found(session: Session) -> dict[str, object]:
    where = place.Place(place.LIBRARY) if session.config is not None else place.find(session.environ)
    if where.kind == place.AGENT:
        return {"socket": where.path}
    if where.kind == place.SERVER:
        raise InvalidInputError(
            "a server is asked here, with an identity that is not Airflow's",
            hint="say --url and --token-file, with a token of Airflow's own (strongroom access tokens)",
        )
    source = session.settings().source
    return {} if source is None else {"settings": str(source.absolute())}
