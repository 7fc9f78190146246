"""
One session a vendor and way in: backends with the same access share its login, connections and circuit.

Not for what a session is or does: it only has a `close`.
"""

from __future__ import annotations

import threading
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Session", "Sessions", "access_of"]


class Session(Protocol):
    """What can be shared."""

    def close(self) -> None:
        """Let go of what it holds. Called once, when nobody uses it any more."""


SessionT = TypeVar("SessionT", bound=Session)
AccessT = TypeVar("AccessT")


def access_of(options: AccessT, shape: type[AccessT]) -> AccessT:
    """
    Give what *options* say of the way in alone, so that backends which differ in other things share it.

    Args:
        options: of a dataclass that extends *shape*.
        shape: the frozen dataclass of the way in.
    """
    return shape(**{one.name: getattr(options, one.name) for one in fields(cast("Any", shape)) if one.init})


class Sessions:
    """
    Sessions by the access they were made for, each closed with the last of its users.

    ```python
    self._session = sessions.get(access_of(options, AwsAccess), lambda: AwsSession(…), user=self)
    …
    sessions.release(self)      # in close(), as often as that is called
    ```

    Threads: may be used from several threads at once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # A list: an access may hold what has no hash (tables, secrets), and there are few.
        self._shared: list[tuple[object, Any, list[object]]] = []

    def get(self, access: object, make: Callable[[], SessionT], *, user: object) -> SessionT:
        """
        Give the session for *access*, made now if nobody has one.

        Args:
            access: compared for equality; a frozen dataclass of the vendor's.
            make: makes one; it must not use these sessions.
            user: who will `release` it; compared by identity.
        """
        with self._lock:
            for other, session, users in self._shared:
                if type(other) is type(access) and other == access:
                    users.append(user)
                    return cast("SessionT", session)
            made = make()
            self._shared.append((access, made, [user]))
            return made

    def release(self, user: object) -> None:
        """Let go of every session of *user*, and close those that nobody else has. Safe to call twice."""
        unused = []
        with self._lock:
            for shared in list(self._shared):
                _, session, users = shared
                users[:] = [one for one in users if one is not user]
                if not users:
                    self._shared.remove(shared)
                    unused.append(session)
        for session in unused:
            session.close()
