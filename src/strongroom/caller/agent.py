"""
Ask the agent of this machine, from any thread: the way of every task process.

Not for asyncio (`loop.py`), nor for being told of changes (`notices.py`), nor for rooms (`remote/host.py`).

Rules of this file:

1. It keeps no value: each read is a question, which the agent decides, records and may refuse.
2. Nothing is sent before the kernel has said whose process answers (`place.trusted_owners`).
3. A connection serves one thread at a time and is given back after a whole answer only. So an exception in
   the middle, of a signal or of a timeout, costs the connection and never an answer of somebody else.
4. A forked child begins anew: it closes its copies of the connections, and the parent's go on.
5. What broke off is asked again, because asking changes nothing: while the agent is away for `patience`
   seconds, and so often at most. What came too late is not.
6. For which run is asked may change from question to question: it is said ahead of a question, in the same
   piece, where it is another than was said last on that connection.
7. It imports `_socket`, and of ours `errors`, `place`, `channel` and `frames`; everything else
   when it is needed: a refusal, a connection.
"""

from __future__ import annotations

import os
from _weakref import ref as _weak
from time import monotonic, sleep

from strongroom.caller import frames
from strongroom.caller.channel import ASKED, CLAIM_ID, HELLO_ID, Broken, Channel, away, no_answer
from strongroom.errors import InvalidInputError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeVar

    from strongroom.caller.loop import LoopClient
    from strongroom.caller.notices import Notices
    from strongroom.errors import StrongroomError
    from strongroom.model.connection import Connection

    T = TypeVar("T")

__all__ = [
    "AgentClient",
    "answer_in",
    "answers_in",
    "claim_frame",
    "connection_in",
    "json_in",
    "outcome_error",
    "question",
    "run_in",
    "said",
    "text_in",
]

_TIMEOUT = 15.0  # seconds; above `deadline_seconds` (10), within which an agent answers a lookup
_PATIENCE = 2.0  # seconds for which an agent may be away
_MOST_BROKEN = 5  # times a question that was sent is sent again
_MOST_IDLE = 16  # connections kept, of as many threads
_NO_RUN = (None,) * 10


class AgentClient:
    """
    Ask the agent on one socket.

    Trust: the agent's process is root's, mine, or of whoever alone could have put the socket there.
    Threads: may be used from several at once, and after a fork.

    Args:
        path: of the socket.
        version: of strongroom, which the agent is told.
        environ: what an orchestrator says there of the run is passed on as a claim.
        claims: gives for which run the code that asks is running, or None; called for each question, on
            the thread or in the coroutine that asks. It goes before *environ*.
        patience: seconds for which the agent may be away.
        timeout: seconds that an answer may take.

    Attributes:
        claims: as given, or what stands for it.
    """

    def __init__(
        self,
        path: str,
        *,
        version: str = "",
        environ: Mapping[str, str] | None = None,
        claims: Callable[[], frames.Run | None] | None = None,
        patience: float = _PATIENCE,
        timeout: float = _TIMEOUT,
    ) -> None:
        self.path = path
        self.claims = claims
        self._version = version
        self._environ = environ
        self._patience = patience
        self.timeout = timeout
        self._claim: frames.Run | None = None
        self._idle: list[Channel] = []
        self._away_since: float | None = None
        self._native: LoopClient | None = None
        self._notices: Notices | None = None
        _known[:] = [known for known in _known if known() is not None]
        _known.append(_weak(self))

    def __repr__(self) -> str:
        return f"AgentClient({self.path!r})"

    # --- reading -----------------------------------------------------------------------------------

    def variable(self, name: str, team: str | None = None) -> str | None:
        """
        Give the text of a variable, None where it is nowhere.

        Raises:
            InvalidInputError: the name is none.
            AccessDeniedError, BackendUnavailableError, MalformedEntryError, …: as the agent says.
        """
        payload = self._asked(question(ASKED, "variable", name, team, 0), frames.READ | frames.ANSWER)
        text = frames.read_text(payload)
        if text is not None:
            return text
        return text_in(answer_in(payload, self.path), name, team)

    def variable_json(self, name: str, team: str | None = None) -> tuple[object] | None:
        """
        Give what a variable says as JSON, in a tuple of one; None where it is nowhere.

        Raises:
            MalformedEntryError: it is no JSON.
            As `variable`.
        """
        answer = self.read("variable", name, team)
        return None if answer.outcome == frames.ABSENT else (json_in(answer, name, team),)

    def connection(
        self, name: str, team: str | None = None, *, dialect: str | None = None, flags: int = 0
    ) -> Connection | None:
        """
        Give a connection, None where it is nowhere.

        Args:
            name: which one.
            team: whose it is.
            dialect: which of Airflow's two readings it follows; the agent's, where unsaid.
            flags: of the question.

        Raises:
            As `variable`.
        """
        answer = self.read("connection", name, team, flags=flags | (frames.SDK if dialect == "sdk" else 0))
        return None if answer.outcome == frames.ABSENT else connection_in(answer, name, team)

    def read(self, kind: str, name: str, team: str | None = None, *, flags: int = 0) -> frames.Answer:
        """
        Give the whole answer about one entry; what is refused is told in it, not raised.

        Args:
            kind: `connection`, `variable` or `config`.
            name: as it is; the agent checks it.
            team: whose; None for the global one.
            flags: `frames.BYPASS_CACHE`, `RAW`, `SDK`, `PARSE`, `FOLLOWED`.

        Raises:
            InvalidInputError: name or team cannot be said.
            AccessDeniedError: this user may not speak to the agent.
            BackendUnavailableError: no answer of an agent's.
        """
        asking = question(ASKED, kind, name, team, flags)
        return answer_in(self._asked(asking, frames.READ | frames.ANSWER), self.path)

    def read_many(self, refs: Sequence[frames.Key], *, flags: int = 0) -> list[frames.Answer]:
        """
        Give the answers about many, in their order.

        Args:
            refs: (kind, name, team) of each, as many as there are.
            flags: as `read`, for all of them.

        Raises:
            As `read`.
        """
        answers: list[frames.Answer] = []
        for first in range(0, len(refs), frames.MAX_BATCH):
            answers += self._batch(refs[first : first + frames.MAX_BATCH], flags)
        return answers

    def _batch(self, refs: Sequence[frames.Key], flags: int) -> list[frames.Answer]:
        asking = frames.frame(frames.READ_MANY, ASKED, said(lambda: frames.pack_read_many(refs, flags)))
        parts = self._retried(lambda channel: channel.ask_parts(asking, len(refs)))
        return answers_in(parts, len(refs), self.path)

    def absent(self, kind: str, name: str, team: str | None = None) -> StrongroomError:
        """Give the error of an entry that is nowhere, and what to type next."""
        return outcome_error(frames.Answer(frames.ABSENT), kind, name, team)

    # --- everything else -----------------------------------------------------------------------------

    def native(self) -> LoopClient:
        """Give what asks the same agent on a loop of asyncio."""
        if self._native is None:
            from strongroom.caller.loop import LoopClient  # noqa: PLC0415 -- asyncio, which its caller has

            self._native = LoopClient(self, patience=self._patience, timeout=self.timeout)
        return self._native

    def claim(self, run: frames.Run | None) -> None:
        """Say for which run is asked from now on, whoever asks; None: what is known of each question."""
        self._claim = run
        self._idle = []  # those had another said on them
        self._native = None

    def announce(self, run: frames.Run | None, token: str | None = None) -> tuple[int, str | None]:
        """
        Say that this process and all below it ask for *run* from now on, whatever they claim; None ends that.

        Args:
            run: which run it is.
            token: of Airflow for that run; with it the agent has the run verified, and keeps it nowhere. An
                agent of minor version 1 does without.

        Returns:
            how the run is proven (0 claimed, 2 verified), and why no better where a token was given.

        Raises:
            AccessDeniedError: this process is below one that was announced itself.
            BackendConfigError: the agent is of minor version 0, and knows no such thing.
            As `read`.
        """
        payload = frames.pack_announce(run or _NO_RUN, token if run is not None else None)
        asking = frames.frame(frames.ANNOUNCE, ASKED, payload)
        return frames.read_announced(self._asked(asking, frames.ANNOUNCE | frames.ANSWER))

    def explain(self, kind: str, name: str, team: str | None = None) -> str:
        """Give as JSON text who answers and why; never the value. Raises as `read`."""
        return self._json(frames.EXPLAIN, said(lambda: frames.pack_ref(kind, name, team)))

    def inventory(self, question: str) -> str:
        """
        Ask what there is, without values; question and answer are JSON text (docs/protocol.md).

        Raises:
            InvalidInputError: it is no such question.
            As `read`.
        """
        return self._json(frames.INVENTORY, frames.pack_json(question))

    def admin(self, order: Mapping[str, object]) -> dict[str, object]:
        """
        Give an order, and what it led to; for root and the agent's own user.

        Raises:
            AccessDeniedError: another user asks.
            As `read`.
        """
        import json  # noqa: PLC0415 -- only administrators give orders

        found = json.loads(self._json(frames.ADMIN, frames.pack_json(json.dumps(order))))
        if not isinstance(found, dict):
            raise no_answer(self.path)
        return found

    def ping(self) -> None:
        """Ask whether it is there. Raises as `read`."""
        self._asked(frames.frame(frames.PING, ASKED), frames.PING | frames.ANSWER)

    def listen(self, key: frames.Key, wake: Callable[[], None]) -> Callable[[], None]:
        """
        Call *wake*, from another thread, whenever the entry of *key* may have changed; give what ends that.

        Args:
            key: kind, name, team.
            wake: must not wait.
        """
        if self._notices is None:
            from strongroom.caller.notices import Notices  # noqa: PLC0415 -- threads; most follow nothing

            self._notices = Notices(
                lambda seconds: Channel(self.path, self.greeting(None), seconds),
                lambda: self.run,
                claim_frame,
            )
        return self._notices.listen(key, wake)

    @property
    def run(self) -> frames.Run | None:
        """For which run the calling code asks."""
        if self._claim is not None:
            return self._claim
        return run_in(self._environ) if self.claims is None else self.claims()

    def greeting(self, run: frames.Run | None) -> bytes:
        """Give the frames that begin a connection: who speaks, and for which *run*."""
        hello = frames.frame(frames.HELLO, HELLO_ID, frames.pack_hello(self._version))
        return hello if run is None else hello + claim_frame(run)

    def close(self) -> None:
        """Close what is idle; it may be used again."""
        self._idle = []

    # --- one question --------------------------------------------------------------------------------

    def asked_once(self, asking: bytes, wants: int) -> bytes:
        """
        Give the payload that answers what changes something: asked again only where it cannot have arrived.

        Args:
            asking: a frame with the id `ASKED`.
            wants: the type of the answer.

        Raises:
            BackendUnavailableError: no answer; it may have been done all the same.
            As the agent says.
        """
        # On a connection of its own: one that was idle may have ended without our knowing.
        return self._retried(lambda channel: channel.ask_once(asking, wants))

    def _json(self, type_: int, payload: bytes) -> str:
        answer = self._asked(frames.frame(type_, ASKED, payload), type_ | frames.ANSWER)
        try:
            return frames.read_json(answer)
        except frames.BrokenFrameError:
            pass
        raise no_answer(self.path)

    def _asked(self, asking: bytes, wants: int) -> bytes:
        idle = self._idle
        try:
            channel = idle.pop()
        except IndexError:
            return self._retried(lambda channel: channel.ask(asking, wants))
        try:
            claim = b"" if self.claims is None else self._claim_on(channel)
            payload = channel.ask(claim + asking, wants)
        except Broken:
            del idle[:]  # the others broke off with it
        else:
            self._give_back(channel, idle)
            return payload
        return self._retried(lambda channel: channel.ask(asking, wants))

    def _claim_on(self, channel: Channel) -> bytes:
        """Give what says for which run is asked, where *channel* was told of another."""
        run = self.run
        if run == channel.claimed:
            return b""
        channel.claimed = run
        return claim_frame(run)

    def _retried(self, ask: Callable[[Channel], T]) -> T:
        """Ask on a new connection, again and again while the agent is away and patience lasts."""
        pause, times = 0.005, 0
        while True:
            idle = self._idle
            run = self.run
            try:
                channel = Channel(self.path, self.greeting(run), self.timeout)
                channel.claimed = run
                answer = ask(channel)
            except Broken as broken:
                now = monotonic()
                since = self._away_since
                if since is None:
                    self._away_since = since = now
                times += broken.was_sent
                if now - since > self._patience or times > _MOST_BROKEN:
                    raise away(self.path, broken) from None
            else:
                self._away_since = None
                self._give_back(channel, idle)
                return answer
            sleep(pause)
            pause = min(pause * 2, 0.1)

    def _give_back(self, channel: Channel, idle: list[Channel]) -> None:
        # Of another list is what began before a fork, or before something else was claimed.
        if idle is self._idle and len(idle) < _MOST_IDLE:
            idle.append(channel)

    def _forked(self) -> None:
        self._idle = []
        self._native = None
        if self._notices is not None:
            self._notices.forked()
        self._notices = None


def run_in(environ: Mapping[str, str] | None) -> frames.Run | None:
    """Give the run that *environ* tells of, as Airflow does in tasks; None where it tells of none."""
    if environ is None or not environ.get("AIRFLOW_CTX_DAG_ID"):
        return None
    dag_id, task_id, run_id = (
        environ.get(f"AIRFLOW_CTX_{name}") or None for name in ("DAG_ID", "TASK_ID", "DAG_RUN_ID")
    )
    tried = environ.get("AIRFLOW_CTX_TRY_NUMBER", "")
    number = int(tried) if tried.isascii() and tried.isdigit() and len(tried) < 9 else None  # noqa: PLR2004
    team = environ.get("AIRFLOW_CTX_TEAM_NAME") or None
    return dag_id, task_id, run_id, None, number, None, None, None, team, "task"


def claim_frame(run: frames.Run | None) -> bytes:
    """Give the frame that says: the next questions are for *run*, or for none. What cannot be said is not."""
    try:
        payload = frames.pack_claim(run or _NO_RUN)
    except (frames.BrokenFrameError, AttributeError, OverflowError, TypeError, ValueError):
        payload = frames.pack_claim(_NO_RUN)
    return frames.frame(frames.CLAIM, CLAIM_ID, payload)


# --- what an answer says -----------------------------------------------------------------------------


def question(number: int, kind: str, name: str, team: str | None, flags: int) -> bytes:
    """
    Give the frame that asks for one entry.

    Raises:
        InvalidInputError: name or team cannot be said.
    """
    try:
        return frames.pack_read(number, kind, name, team, flags)
    except (frames.BrokenFrameError, AttributeError, KeyError):
        pass
    from strongroom.caller.refusal import unsayable  # noqa: PLC0415 -- see rule 7

    raise unsayable(kind, name, team)


def answer_in(payload: bytes, path: str) -> frames.Answer:
    """
    Give the answer in a *payload*.

    Raises:
        BackendUnavailableError: it is none.
    """
    try:
        return frames.read_answer(payload)
    except frames.BrokenFrameError:
        pass
    raise no_answer(path)


def answers_in(parts: Sequence[bytes], count: int, path: str) -> list[frames.Answer]:
    """
    Give the *count* answers in the payloads that answer a READ_MANY.

    Raises:
        BackendUnavailableError: they are none, or others.
    """
    answers: list[frames.Answer] = []
    is_whole = True
    try:
        for part in parts:
            first, found, _ = frames.read_results(part)
            is_whole = is_whole and first == len(answers)
            answers += found
    except frames.BrokenFrameError:
        is_whole = False
    if not is_whole or len(answers) != count:
        raise no_answer(path)
    return answers


def text_in(answer: frames.Answer, name: str, team: str | None) -> str | None:
    """
    Give the text of a variable in an *answer*, None where it is nowhere.

    Raises:
        As the agent says.
    """
    if answer.text is None and answer.outcome != frames.ABSENT:
        raise outcome_error(answer, "variable", name, team)
    return answer.text


def connection_in(answer: frames.Answer, name: str, team: str | None) -> Connection:
    """
    Give the connection in an *answer*.

    Raises:
        As the agent says.
    """
    if answer.fields is None:
        raise outcome_error(answer, "connection", name, team)
    from strongroom.model.connection import Connection  # noqa: PLC0415 -- see rule 7

    return Connection.received(answer.fields)


def json_in(answer: frames.Answer, name: str, team: str | None) -> object:
    """
    Give what the text in an *answer* says as JSON.

    Raises:
        MalformedEntryError: it is no JSON.
        As the agent says.
    """
    if answer.text is None:
        raise outcome_error(answer, "variable", name, team)
    from strongroom.caller.refusal import not_json  # noqa: PLC0415 -- see rule 7
    from strongroom.model.jsontext import decode  # noqa: PLC0415 -- see rule 7

    try:
        return decode(answer.text, what="the variable's value")
    except InvalidInputError as error:
        raise not_json(error, answer, name, team) from None


def outcome_error(answer: frames.Answer, kind: str, name: str, team: str | None) -> StrongroomError:
    """Give the error of an *answer* that holds no value."""
    from strongroom.caller.refusal import outcome_error as made  # noqa: PLC0415 -- see rule 7

    return made(answer, kind, name, team)


def said(pack: Callable[[], bytes]) -> bytes:
    """
    Give what *pack* makes of names.

    Raises:
        InvalidInputError: one cannot be said.
    """
    try:
        return pack()
    except (frames.BrokenFrameError, AttributeError, KeyError):
        pass
    raise InvalidInputError("a name or team is none, or is too long to be said")


# --- forks -------------------------------------------------------------------------------------------

_known: list[_weak[AgentClient]] = []


def _forget_after_fork() -> None:
    for known in _known:
        client = known()
        if client is not None:
            client._forked()  # noqa: SLF001 -- the one caller


os.register_at_fork(after_in_child=_forget_after_fork)
