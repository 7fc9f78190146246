"""
A room of a server: the same nouns, the same dataclasses and errors, asked over HTTP.

Not for where the server is (`place.py`, `profile.py`) and not for how it is spoken to (`caller/`).

Rules of this package:

1. Each noun is a subclass of the local one, so that types hold the two to the same promises. What a server
   does not do raises one error that says where it is done (`place.elsewhere`); nothing falls back to the
   stores of this machine.
2. No value is kept here, so that the server decides and records every read, and may take a right away.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from strongroom.caller import Client, Credential, ServerAddress
from strongroom.errors import SettingsError
from strongroom.remote.profile import DEFAULT, Profile, Profiles, whereabouts
from strongroom.remote.session import (
    Begun,
    Ended,
    begin,
    begin_with_code,
    begin_with_token,
    browser_address,
    end,
    ways,
)
from strongroom.wire.access import WhoAmI

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.model.connection import Dialect
    from strongroom.model.secret import Secret
    from strongroom.remote.room import RemoteRoom
    from strongroom.service.doctor import Doctor

__all__ = [
    "DEFAULT",
    "Begun",
    "Ended",
    "Profile",
    "Profiles",
    "begin",
    "begin_with_code",
    "begin_with_token",
    "browser_address",
    "check",
    "leave",
    "open_doctor",
    "open_room",
    "ways",
    "whoami",
]


def open_room(
    *,
    environ: Mapping[str, str] = os.environ,
    deployment: str | None = None,
    dialect: Dialect = "core",
    prove: Callable[[], Secret[str] | None] | None = None,
) -> RemoteRoom:
    """
    Open a room of the server that *environ* names. Asks nothing yet: an outage shows with the first question.

    Args:
        environ: `STRONGROOM_URL` or `STRONGROOM_PROFILE`, and what goes with them (docs/remote.md).
        deployment: which of the server's deployments; its first, or the profile's, if unsaid.
        dialect: which of Airflow's two readings connections follow.
        prove: as of `client.Credential`.

    Raises:
        SettingsError: the url, the profile or the authorities are wrong.
    """
    from strongroom.remote.room import RemoteRoom  # noqa: PLC0415 -- `login` needs no nouns

    address, credential = whereabouts(environ, deployment=deployment)
    credential.prove = prove
    return RemoteRoom(Client(address, credential), dialect=dialect)


def open_doctor(*, environ: Mapping[str, str] = os.environ, deployment: str | None = None) -> Doctor:
    """Open what can be looked at from here: the server, and what it tells of its room. Close it."""
    from strongroom.remote.examined import examiner  # noqa: PLC0415 -- only doctors look around

    return examiner(environ, deployment)


def check(address: ServerAddress) -> None:
    """
    Refuse a server that could not be spoken to, before anybody types a password for it.

    Raises:
        SettingsError: its url is none, or would show all on the way.
    """
    Client(address).close()


def whoami(*, environ: Mapping[str, str] = os.environ, deployment: str | None = None) -> tuple[WhoAmI, str]:
    """
    Tell who the server that *environ* names takes us for, and its url.

    Raises:
        As `open_room`, and as the server answers.
    """
    address, credential = whereabouts(environ, deployment=deployment)
    client = Client(address, credential)
    try:
        return client.get("/whoami", WhoAmI), address.url
    finally:
        client.close()


def leave(profiles: Profiles, name: str) -> Ended:
    """
    Forget a profile; a session ends at the server too, as far as that can be.

    Raises:
        NotFoundError: there is no such profile.
    """
    ended = Ended()
    try:
        profile = profiles.find(name)
        if profile is not None and profile.is_session:
            ended = end(profile.address(name), Credential(file=profiles.token_file(name), setting=name))
    except SettingsError as error:
        ended = Ended(error)  # it cannot be read, and is taken away all the same
    profiles.forget(name)
    return ended
