"""Who asks over HTTP, and what a request goes out with; families say it, `web_transport.py` asks for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from strongroom.live.web import Way

__all__ = ["Login", "Session"]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Session:
    """
    What a request goes out with.

    Args:
        base: URL of the service, without user-info and without a slash at its end.
        headers: (name in lower case, value).
        way: how it is reached.
        evidence: what the login wants back when the service refuses this.
    """

    base: str
    headers: tuple[tuple[str, bytes], ...] = ()
    way: Way = field(default_factory=Way)
    evidence: Any = None

    @property
    def has_credentials(self) -> bool:
        """Whether there is anything in it that a service could refuse."""
        return bool(self.headers) or self.way.cert is not None


class Login(Protocol):
    """Who asks. Threads: safe."""

    @property
    def name(self) -> str:
        """The name of the connection."""
        ...

    def ready(self) -> Session | None:
        """Give what a request goes out with; None where somebody has to be asked first."""
        ...

    def session(self) -> Session:
        """
        Give what a request goes out with, after asking for it where that has to be.

        Raises:
            StrongroomError: there is nothing to go out with.
        """
        ...

    def renewed(self, refused: Session) -> Session | None:
        """
        Give newer credentials than those *refused*; None where there are none.

        Raises:
            StrongroomError: whoever gives them refuses to.
        """
        ...
