"""
Who a connection makes us at AWS, now: its key, what the machine has, and the roles taken on from there.

Imports AWS's SDK; loaded by whoever made sure that it is installed. What is asked of AWS for it stands in
`aws_roles.py`; not for clients (`aws.py`).

Rules of this file:

1. One login serves all clients of one connection and one run in a process, however many threads want it; a
   forked child logs in for itself, under its own name.
2. What is signed is signed with what the connection says at that moment: another content means another login.
3. Keys and tokens of sessions live in memory alone, and in no frame that an error keeps: what the SDK raises
   is left behind.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from botocore import exceptions as sdk
from botocore.credentials import Credentials
from botocore.parsers import ResponseParserError

from strongroom.errors import AccessDeniedError, StrongroomError
from strongroom.live import aws_fields
from strongroom.live.aws_naming import session_name
from strongroom.live.aws_refusal import way_trouble
from strongroom.live.aws_roles import login_trouble, signer
from strongroom.live.trouble import trouble
from strongroom.live.unframed import unframed
from strongroom.vendors.aws_sdk import hush_loggers, quiet

if TYPE_CHECKING:
    from strongroom.live.around import Around
    from strongroom.live.held import Held, Known

__all__ = ["Identity", "Login", "Mark", "identity_of"]

_RENEW_SECONDS = 5.0  # at least, from one login after a refusal to the next
_MAX_RUNS = 16  # whose logins are kept of one connection


class Mark(NamedTuple):
    """As whom something was signed: what the connection said, and which login that was."""

    known: Known
    login: int


class _Now(NamedTuple):
    """What signs now. Read without a lock, so it is replaced as a whole."""

    number: int  # of what the connection says
    login: int  # counts logins
    credentials: Any


class _Side:
    """What one process has for itself."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.now: _Now | None = None
        self.renewed_at: float | None = None


class Login:
    """
    Log in as a connection says, for one run.

    Args:
        around: what is around.
        session: how a role's session is called.

    Threads: safe. After a fork the child logs in for itself.
    """

    def __init__(self, around: Around, session: str) -> None:
        self.session = session
        self._around = around
        # By process id: `setdefault` is atomic, so a child needs no lock that a thread of the parent held.
        self._sides: dict[int, _Side] = {}

    def __repr__(self) -> str:
        return f"Login({self.session!r})"

    def now(self, held: Held) -> _Now:
        """Give what signs for *held* now; asks AWS only where it is another than before."""
        known, side = held.known, self._side()
        now = side.now
        return now if now is not None and now.number == known.number else self._begin(held, known, side)

    def renewed(self, held: Held, login: int) -> bool:
        """Log in anew where *login* is the last one and another may be somebody else; not again and again."""
        side = self._side()
        with side.lock:
            now = side.now
            if now is None or now.login != max(login, 1):  # another thread did since; 0: it was the first
                return True
            if type(now.credentials) is Credentials:  # a key is what it is
                return False
            seconds = self._seconds()
            if side.renewed_at is not None and seconds - side.renewed_at < _RENEW_SECONDS:
                return False
            side.renewed_at = seconds
            self._log_in(held, held.known, side)
            return True

    def is_at_hand(self, held: Held) -> bool:
        """Tell whether what signs is there, and lasts a while."""
        now = self._side().now
        if now is None or now.number != held.known.number:
            return False
        needed = getattr(now.credentials, "refresh_needed", None)
        return needed is None or not needed()

    def count(self) -> int:
        """Tell which login is the last one, counted from 1; 0 for none."""
        now = self._side().now
        return 0 if now is None else now.login

    def _begin(self, held: Held, known: Known, side: _Side) -> _Now:
        with side.lock:
            now = side.now
            if now is not None and now.number >= known.number:
                return now
            return self._log_in(held, known, side)

    def _log_in(self, held: Held, known: Known, side: _Side) -> _Now:
        count = 1 if side.now is None else side.now.login + 1
        fields = aws_fields.read(held.name, known.connection)
        hush_loggers()
        with quiet():
            try:
                found = signer(held.name, fields, self._around, self.session, self._seconds)
            except (sdk.BotoCoreError, OSError) as caught:
                error = way_trouble(caught, held.name) or trouble("token", "missing", name=held.name)
            else:
                side.now = _Now(known.number, count, found)
                return side.now
        raise error

    def _seconds(self) -> float:
        return self._around.now().timestamp()

    def _side(self) -> _Side:
        process = os.getpid()
        found = self._sides.get(process)
        return self._sides.setdefault(process, _Side()) if found is None else found


class Identity:
    """
    Whom the clients of one connection and one run sign as.

    Threads: safe. After a fork the child logs in for itself.
    """

    def __init__(self, held: Held, login: Login) -> None:
        self.held = held
        self._login = login

    def __repr__(self) -> str:
        return f"Identity({self.held.name!r})"

    @property
    def session(self) -> str:
        """How the sessions of its roles are called."""
        return self._login.session

    @unframed
    def frozen(self) -> Any:  # noqa: ANN401 -- botocore's ReadOnlyCredentials
        """
        Give what signs the next request: key, secret and token of one moment.

        Raises:
            AccessDeniedError: a role, or the key it is taken on with, is refused.
            BackendConfigError: there is no identity here, or the connection cannot be read.
            BackendUnavailableError: who gives roles does not answer.
        """
        known = self.held.known
        try:
            return self._frozen()
        except AccessDeniedError:
            # The key that a role is taken on with may have been rotated a moment ago.
            if self.held.refreshed(known) is None:
                raise
        return self._frozen()

    def _frozen(self) -> Any:  # noqa: ANN401 -- as `frozen`
        now = self._login.now(self.held)
        if self._login.is_at_hand(self.held):
            return now.credentials.get_frozen_credentials()
        hush_loggers()  # what the SDK asks for a session it writes into its log, answers included
        with quiet():
            try:
                return now.credentials.get_frozen_credentials()
            except (sdk.BotoCoreError, sdk.ClientError, ResponseParserError, OSError, RuntimeError) as caught:
                error = login_trouble(caught, self.held.name)
        raise error

    def is_at_hand(self) -> bool:
        """Tell whether `frozen` answers at once, so that an event loop may ask it."""
        return self._login.is_at_hand(self.held)

    def mark(self) -> Mark:
        """Take note of as whom the next request is signed, for `renewed`."""
        return Mark(self.held.known, self._login.count())

    def renewed(self, mark: Mark) -> bool:
        """
        Tell whether there is another identity than *mark*, whose request AWS has refused.

        Asks the store once, and where it knows nothing newer looks up anew what the machine and the roles
        give. Troubles on that way are no answer to who asks: they come up when it is signed again.
        """
        try:
            return self.held.refreshed(mark.known) is not None or self._login.renewed(self.held, mark.login)
        except StrongroomError:
            return False


def identity_of(held: Held, around: Around) -> Identity:
    """Give whom clients of *held* sign as in the run that asks: the same for all of them (rule 1)."""
    name = session_name(around.run, held.name)
    with _keeping:
        kept = cast("OrderedDict[str, Login]", held.kept.setdefault(_KEPT, OrderedDict()))
        login = kept.pop(name, None) or Login(around, name)
        kept[name] = login
        while len(kept) > _MAX_RUNS:
            kept.popitem(last=False)
    return Identity(held, login)


_KEPT = "aws logins"
_keeping = threading.Lock()


def _after_fork() -> None:
    global _keeping  # noqa: PLW0603 -- a thread of the parent may have held it
    _keeping = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
