"""
One connection to the agent of this machine: opened to nobody else, closed when it is let go of.

Not for what is asked on it (`agent.py`, `notices.py`). Imports next to nothing, as `agent.py`.
"""

from __future__ import annotations

import _socket
import sys
from time import monotonic

from strongroom.caller import frames
from strongroom.errors import AccessDeniedError, BackendUnavailableError
from strongroom.place import trusted_owners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.errors import StrongroomError

__all__ = [
    "ASKED",
    "CLAIM_ID",
    "HELLO_ID",
    "NAME",
    "NO_SIGNAL",
    "Broken",
    "Channel",
    "away",
    "check_hello",
    "connected",
    "late",
    "no_answer",
    "refused",
    "taken",
]

NAME = "agent"
"""What an outage names as the backend that gave no answer."""

# Ids of frames. A connection has one question under way, so its id is always the same.
HELLO_ID, CLAIM_ID, ASKED = 1, 2, 3

_RECEIVED = 16_384  # bytes; nearly every answer is one piece
_ID = ASKED.to_bytes(4, "big")
_PEER_BYTES = 12  # of struct ucred: pid, uid, gid
_LONG_BYTES = 8 if sys.maxsize > 2**32 else 4  # of a C long, in struct timeval
NO_SIGNAL: int = getattr(_socket, "MSG_NOSIGNAL", 0)
"""Flag of `send`: no SIGPIPE, in a program that lets it kill."""
# What ends a connection and is over soon: the agent stops, or has no room.
_PASSING = ("overloaded", "stopping", "timeout", "backend_unavailable", "rate_limited")


class Broken(Exception):  # noqa: N818 -- a jump to the next attempt, never seen outside this package
    """
    The connection ended or cannot be had. Not seen by callers.

    Attributes:
        refusal: what the agent said before it ended, or None.
        was_sent: the question was on its way.
    """

    def __init__(self, refusal: frames.Refusal | None = None, *, was_sent: bool = False) -> None:
        super().__init__()
        self.refusal = refusal
        self.was_sent = was_sent


class Channel:
    """
    One connection, for one thread at a time. Closed when it is let go of.

    Args:
        path: of the socket.
        greeting: frames that go ahead of the first question; their answers are not waited for.
        timeout: seconds that an answer may take.

    Attributes:
        claimed: the run that was last said on it; kept by who asks.

    Raises:
        Broken: nobody listens there.
        AccessDeniedError, SettingsError: as `AgentClient.read`.
    """

    __slots__ = ("_greeting", "_held", "_path", "_socket", "claimed", "timeout")

    def __init__(self, path: str, greeting: bytes, timeout: float) -> None:
        self._socket: _socket.socket | None = None
        self._socket = connected(path, timeout)
        self._path = path
        self._greeting = greeting
        self._held = bytearray()
        self.claimed: frames.Run | None = None
        self.timeout = timeout

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """End it; in a forked child this leaves the parent's alone."""
        if self._socket is not None:
            self._socket.close()

    def ask(self, question: bytes, wants: int) -> bytes:
        """
        Give the payload that answers *question*.

        Args:
            question: a frame with the id `ASKED`.
            wants: the type of the answer.

        Raises:
            Broken: it ended on the way. Any error of ours: what the agent says.
        """
        self.send(question)
        data = self.receive()
        if not self._held and len(data) >= frames.HEAD_BYTES:
            # The whole answer in one piece: nearly always.
            is_whole = int.from_bytes(data[:4], "big") + 4 == len(data)
            if is_whole and data[4] == wants and data[5 : frames.HEAD_BYTES] == _ID:
                return data[frames.HEAD_BYTES :]
        self._held += data
        return self._answer(wants, monotonic() + self.timeout)

    def ask_once(self, question: bytes, wants: int) -> bytes:
        """
        Do what `ask` does, of what must not be asked twice.

        Raises:
            BackendUnavailableError: it was sent, and no answer came.
            As `ask`.
        """
        try:
            return self.ask(question, wants)
        except Broken as broken:
            if not broken.was_sent:
                raise
        raise BackendUnavailableError(
            f"the agent at {self._path} ended before it said what became of it",
            backend=NAME,
            hint="it may have been done: look before doing it again",
        )

    def ask_parts(self, question: bytes, most: int) -> list[bytes]:
        """Give the payloads that answer a READ_MANY for *most* names, at most one each. Raises as `ask`."""
        self.send(question)
        parts: list[bytes] = []
        while len(parts) < most:
            part = self._answer(frames.READ_MANY | frames.ANSWER, monotonic() + self.timeout)
            parts.append(part)
            if not part[:1] or not part[0] & 1:
                return parts
        raise no_answer(self._path)

    def send(self, data: bytes) -> None:
        """Send *data*, the greeting ahead of the first. Raises as `ask`."""
        assert self._socket is not None  # noqa: S101 -- opened by the constructor
        if self._greeting:
            data, self._greeting = self._greeting + data, b""
        try:
            self._socket.sendall(data, NO_SIGNAL)
        except (BlockingIOError, TimeoutError):
            raise late(self._path) from None
        except OSError:
            # Whoever is turned away is told why before the connection ends, and may not have read it yet.
            raise self._last_words() from None

    def receive(self) -> bytes:
        """Give what has come, waiting for it. Raises as `ask`."""
        assert self._socket is not None  # noqa: S101 -- as above
        try:
            data = self._socket.recv(_RECEIVED)
        except (BlockingIOError, TimeoutError):
            raise late(self._path) from None
        except OSError:
            data = b""
        if data:
            return data
        raise Broken(was_sent=True)

    def next_frame(self, until: float | None = None) -> tuple[int, int, bytes]:
        """
        Give type, id and payload of the next frame, waiting for it.

        Args:
            until: when that is too late, in seconds of the monotonic clock; None only counts from piece to
                piece.

        Raises:
            As `ask`.
        """
        while True:
            found = taken(self._held, self._path)
            if found is not None:
                return found
            if until is not None and monotonic() > until:
                raise late(self._path)
            self._held += self.receive()

    def wait_frame(self) -> tuple[int, int, bytes] | None:
        """Give the next frame, or None where nothing has come for as long as `timeout`. Raises as `ask`."""
        assert self._socket is not None  # noqa: S101 -- as above
        while (found := taken(self._held, self._path)) is None:
            try:
                data = self._socket.recv(_RECEIVED)
            except (BlockingIOError, TimeoutError):
                return None
            except OSError:
                data = b""
            if not data:
                raise Broken(was_sent=True)
            self._held += data
        return found

    def shut(self) -> None:
        """End it from another thread than the one that waits on it; of no use after a fork."""
        assert self._socket is not None  # noqa: S101 -- as above
        try:  # noqa: SIM105 -- contextlib is too dear for a task process
            self._socket.shutdown(_socket.SHUT_RDWR)
        except OSError:
            pass  # it had ended already

    def _answer(self, wants: int, until: float) -> bytes:
        while True:
            type_, number, payload = self.next_frame(until)
            if type_ == frames.ERROR and number <= ASKED:
                raise refused(payload, self._path, ends_connection=number != ASKED)
            if number == ASKED and type_ == wants:
                return payload
            if type_ == frames.HELLO | frames.ANSWER:
                check_hello(payload, self._path)

    def _last_words(self) -> Exception:
        try:
            while True:
                type_, number, payload = self.next_frame()
                if type_ == frames.ERROR:
                    return refused(payload, self._path, ends_connection=number != ASKED)
        except Broken:
            return Broken()
        except BackendUnavailableError as error:
            return error


# --- what comes --------------------------------------------------------------------------------------


def taken(held: bytearray, path: str) -> tuple[int, int, bytes] | None:
    """
    Take type, id and payload of the first frame out of *held*; None while it is not all there.

    Raises:
        BackendUnavailableError: what has come is no frame.
    """
    try:
        found = frames.take(held, 0, frames.MAX_ANSWER_BYTES)
    except frames.BrokenFrameError:
        pass
    else:
        if found is None:
            return None
        type_, number, payload, end = found
        del held[:end]
        return type_, number, payload
    raise no_answer(path)


def check_hello(payload: bytes, path: str) -> None:
    """
    Refuse an agent of another major version.

    Raises:
        BackendUnavailableError: it is one, or none at all.
    """
    magic = frames.MAGIC
    if payload[: len(magic)] != magic or payload[len(magic) : len(magic) + 1] != bytes((frames.MAJOR,)):
        raise no_answer(path)


def refused(payload: bytes, path: str, *, ends_connection: bool) -> Exception:
    """
    Give the error that an ERROR tells of; `Broken` where that is over soon, as when the agent stops.

    Args:
        payload: of the ERROR.
        path: of the socket.
        ends_connection: it is about the connection, and not about a question.
    """
    try:
        refusal = frames.read_refusal(payload)
    except frames.BrokenFrameError:
        return no_answer(path)
    if ends_connection and refusal.code in _PASSING:
        return Broken(refusal)
    from strongroom.caller.refusal import agent_error  # noqa: PLC0415 -- refusals are seldom

    return agent_error(refusal)


def away(path: str, broken: Broken) -> StrongroomError:
    """Give the error of an agent that was away for too long, as *broken* last said."""
    if broken.refusal is not None:
        from strongroom.caller.refusal import agent_error  # noqa: PLC0415 -- refusals are seldom

        return agent_error(broken.refusal)
    return BackendUnavailableError(
        f"no agent answers at {path}",
        backend=NAME,
        hint=f"see whether it runs: strongroom agent --socket {path} status",
    )


# --- opening -----------------------------------------------------------------------------------------


def connected(path: str, timeout: float | None) -> _socket.socket:
    """
    Give a connection to whoever listens at *path*, once it is known to be who may.

    Args:
        path: of the socket.
        timeout: seconds that one piece may take to be sent or to come; None for a socket that never waits.

    Raises:
        As `Channel`.
    """
    opened: _socket.socket | None = None
    try:
        owners = trusted_owners(path)
        opened = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        _set_timeout(opened, timeout)
        opened.connect(path)
        check_peer(opened, path, owners)
    except PermissionError:
        is_refused = True
    except OSError:
        is_refused = False
    except BaseException:
        if opened is not None:
            opened.close()
        raise
    else:
        return opened
    if opened is not None:
        opened.close()
    if is_refused:
        raise AccessDeniedError(
            f"this user may not open the agent's socket at {path}",
            reason="the socket or its folder does not let this user in",
            hint="an administrator adds the user or its group to [agent] users or groups",
        )
    raise Broken


def _set_timeout(opened: _socket.socket, timeout: float | None) -> None:
    if timeout is None:
        opened.settimeout(0)
        return
    opened.settimeout(None)  # whatever this process has made the default
    # The kernel keeps the time: a timeout of Python's would cost a system call more each way.
    seconds, rest = int(timeout), int(timeout % 1 * 1_000_000)
    wait = seconds.to_bytes(_LONG_BYTES, sys.byteorder) + rest.to_bytes(_LONG_BYTES, sys.byteorder)
    opened.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, wait)
    opened.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, wait)


def check_peer(opened: _socket.socket, path: str, owners: Sequence[int]) -> None:
    """
    Refuse a process on the other end that is none of *owners*'.

    Raises:
        AccessDeniedError: it is another user's.
    """
    if not hasattr(_socket, "SO_PEERCRED"):
        return  # another kernel than Linux: the folder has been looked at
    peer = opened.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _PEER_BYTES)
    uid = int.from_bytes(peer[4:8], sys.byteorder)
    if uid not in owners:
        raise AccessDeniedError(
            f"the process that listens at {path} is of the user {uid}, who is no one to trust with it",
            reason="it belongs to neither root, nor me, nor the owner of its folder",
            hint="see who has put a socket there",
        )


def late(path: str) -> BackendUnavailableError:
    """Give the error of an answer that did not come in time."""
    return BackendUnavailableError(
        f"the agent at {path} has not answered in time",
        backend=NAME,
        hint="see what it is waiting for: strongroom agent status",
    )


def no_answer(path: str) -> BackendUnavailableError:
    """Give the error of what is no answer of an agent's."""
    return BackendUnavailableError(
        f"what answers at {path} does not speak as an agent does",
        backend=NAME,
        hint="check that it is a strongroom agent, and no older than this",
    )
