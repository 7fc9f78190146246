"""What `up` does about the server: start it behind where none runs, and make a link that signs in."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from strongroom.cli.output import write
from strongroom.cli.terminal import clean, warn
from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from strongroom.cli.session import Session
    from strongroom.server.background import Running
    from strongroom.service.room import Room
    from strongroom.settings import Settings

__all__ = ["Served", "reachable", "serve_behind"]

_EVERY = ("0.0.0.0", "::")  # noqa: S104 -- compared with, not listened on


class Served(NamedTuple):
    """
    The server that runs over a store.

    Args:
        address: as in `http://127.0.0.1:8250`.
        was_running: it ran before.
        link: signs in once, within ten minutes; "" for programs.
        log: the file it logs to, or None.
    """

    address: str
    was_running: bool
    link: str
    log: str | None

    def facts(self) -> dict[str, object]:
        """Give it for programs."""
        return {"address": self.address, "was_running": self.was_running, "log": self.log}

    def show(self) -> None:
        """Write it for people."""
        since = "already " if self.was_running else ""
        write(clean(f"the server {since}runs at {self.address}; strongroom serve --stop ends it"))
        write(clean(f"sign in once, within 10 minutes: {self.link}"))
        write("")


def serve_behind(session: Session, settings: Settings, room: Room) -> Served | None:
    """
    Start the server of *settings* behind, unless it runs; give it with a link that signs in. What keeps it
    from running is warned of: all else works without it.
    """
    if find_spec("uvicorn") is None:
        return None
    try:
        return _serve(session, settings, room)
    except StrongroomError as error:
        warn(f"no server: {error}", session, hint=error.hint or "strongroom serve shows more")
    return None


def _serve(session: Session, settings: Settings, room: Room) -> Served:
    from strongroom.server import background  # noqa: PLC0415 -- most commands start nothing

    if session.deployment is not None:  # one process serves all, beside the store of the first
        settings = replace(session, deployment=None).settings()
    running: Running | None = background.awaited(settings)
    was_running = running is not None
    if running is None:
        arguments = ["--config", session.config] if session.config else []
        running = background.start(settings, ["serve", "--any-port", *arguments], environ=session.environ)
    link = ""
    if session.output == "table":  # what programs are given ends up in logs
        base = reachable(running.address, settings)
        base += "" if room.deployment == settings.deployment else f"/d/{room.deployment}"
        link = f"{base}/login#code={room.access.login_link().reveal()}"
    return Served(running.address, was_running, link, running.log)


def reachable(address: str, settings: Settings) -> str:
    """Give *address* by a name that the server answers for, which its certificate may hold."""
    parts = urlsplit(address)
    named = next((host for host in settings.server.allowed_hosts if not host.startswith("*.")), None)
    if named is None:
        named = "localhost" if parts.hostname in _EVERY else None
    return address if named is None else f"{parts.scheme}://{named}:{parts.port}"
