"""
A server as a backend: the end of the chain of an agent, or of a library that has a token.

| asked | is |
|---|---|
| `read` | one `POST /v1/read` |
| `read_many` | one for up to 1,000 names |
| `list` | pages of `GET /v1/entries` |
| `write` | as an agent `POST /v1/agents/write`, for who writes; with a token one `POST /v1/entries` |
| `delete` | with a token `DELETE /v1/entries/…`; an agent deletes nothing |
| `watch` | `GET /v1/changes`, for as long as somebody listens |

Rules of this file:

1. Absent is what the server says of that very name. Whatever is not an answer of a server's is
   *unavailable*; who is not let in is *denied*, so that nothing old is served to him either.
2. An agent is given what is stored, and resolves references for each of its readers itself. With a token
   the server resolves them, as whoever the token is of.
3. A write is handed on as it was asked for: the server decides about it, lays it over what stands and
   compares versions. As an agent it says for which user of its host and for which run; both are recorded.
4. What a team's name is answered with may stand under the global one, as the chain of the server has it.

Every option: docs/backends/remote.md.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.backend import Backend, Health, Watched, check_size
from strongroom.caller import (
    Client,
    Credential,
    ServerAddress,
    broken,
    error_of,
    path_of,
    ref_in,
    spelled,
)
from strongroom.caller.enrolled import credential_of
from strongroom.caller.enrolled import find as find_enrolled
from strongroom.caller.stream import Hearing
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    InvalidInputError,
    MalformedEntryError,
    NotAuthenticatedError,
    NotFoundError,
    RateLimitedError,
    ReadOnlyError,
    SealedError,
    SettingsError,
    StrongroomError,
)
from strongroom.model.entry import STRICT, Entry, EntryState, Metadata, Summary, check_value
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.wire.access import WhoAmI
from strongroom.wire.agents import AgentRun, WriteAsAgent
from strongroom.wire.entry import (
    BatchWritten,
    EntryFacts,
    EntryPage,
    EntryWritten,
    FactsOver,
    HeldFacts,
    Name,
    NewValue,
    ReadAnswer,
    ReadRequest,
    WriteBatch,
)
from strongroom.wire.shape import MAX_BATCH, MAX_PAGE, UNSET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.model.entry import Draft
    from strongroom.model.ref import Kind
    from strongroom.wire.entry import EntryRow, ReadResult

__all__ = ["BACKEND", "Remote", "RemoteOptions"]

_MAX_SECONDS = 1e9  # of an age or a lifetime; more is no answer of a server's
_MAX_PLACES = 64  # ends of pages that are remembered
_MAX_EMPTY = 10_000  # pages in a row without a name: each looks at hundreds
_STATES = {state.value: state for state in EntryState}
_NOTHING_KNOWN = HeldFacts()

Read = Entry | StrongroomError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOptions:
    """
    Where the server is, and who asks. Unsaid, both are as this agent was enrolled.

    Args:
        url: `https://host[:port]`.
        deployment: which of its deployments; the first if unsaid.
        token: of a service; unsaid, the key of this agent.
        state: the folder in which the agent is enrolled.
        ca: a PEM file, or a folder of them, in place of the system's.
        allow_plain_http: http to another machine, where something else keeps the way safe.
        timeout: for connecting and for each wait of an answer.
    """

    url: str | None = None
    deployment: str | None = None
    token: Callable[[], Secret[str]] | Secret[str] | None = None
    state: Path | None = None
    ca: Path | None = None
    allow_plain_http: bool = False
    timeout: timedelta = timedelta(seconds=3)


class Remote(Backend):
    """
    Entries of a server, as whoever asks may read them.

    Trust: its answers are data from outside, bounded and checked for shape.
    Threads: may be used from several at once, and after a fork; who watched watches again then.
    Consistency: a read that starts after a write at the server returned sees that write.

    Args:
        state: the folder of this machine's agent, unless the options name one.

    Attributes:
        client: asks the server, for whoever has more to ask of it.

    Raises:
        BackendConfigError: it says neither where nor who, or nothing is enrolled.
    """

    options_type = RemoteOptions
    needs_state = True
    is_batched = True
    hands_on = True

    def __init__(
        self,
        name: str,
        options: RemoteOptions,
        clock: Callable[[], datetime],
        *,
        state: Path | None = None,
    ) -> None:
        self.name = name
        self._clock = clock
        self._as_stored = options.token is None
        try:
            address, credential = _who(name, options, options.state or state)
            self.client = Client(address, credential, timeout=options.timeout)
        except SettingsError as error:
            raise BackendConfigError(str(error), hint=error.hint) from None
        # Where a page ended: the server gives a cursor, and callers go on from a name.
        self._places: OrderedDict[tuple[object, ...], str] = OrderedDict()
        self._lock = threading.Lock()
        self._hearings: list[Hearing] = []

    def close(self) -> None:
        with self._lock:
            hearings, self._hearings = self._hearings, []
        for hearing in hearings:
            hearing.close()
        self.client.close()

    @property
    def is_circuit_open(self) -> bool:
        """Whether the server is not asked for a while, because it failed."""
        return self.client.is_circuit_open

    # --- reading -----------------------------------------------------------------------------------

    def read(self, ref: Ref) -> Entry | None:
        (found,) = self.read_many([ref])
        if isinstance(found, StrongroomError):
            raise found
        return found

    def read_many(self, refs: Sequence[Ref]) -> list[Read]:
        """
        Read up to 1,000 in one request; each is an entry, None where it is nowhere, or why not. No name is no
        request.

        Raises:
            AccessDeniedError: the server lets nobody in with this token or key.
            BackendUnavailableError, BackendConfigError: there is no answer about any of them.
        """
        if len(refs) > MAX_BATCH:
            raise InvalidInputError(f"a batch has at most {MAX_BATCH} names", limit=MAX_BATCH)
        if not refs:
            return []
        question = ReadRequest(
            refs=[Name(kind=ref.kind, name=ref.name, team=ref.team) for ref in refs],
            as_stored=self._as_stored,
        )
        results = self._asked(
            lambda: self.client.post(
                "/read", ReadAnswer, spelled(question), is_repeatable=True, may_be_absent=False
            )
        ).results
        if [(one.kind, one.name, one.team) for one in results] != list(refs):
            raise self._broken("other names than were asked for")
        return [self._read(ref, result) for ref, result in zip(refs, results, strict=True)]

    def _read(self, ref: Ref, result: ReadResult) -> Read:
        if result.outcome == "absent":
            return None
        try:
            if result.outcome == "found" and result.value is not None:
                return self._entry(ref, result, result.value)
            if result.error is None:
                return self._unexplained(ref, result.outcome)
            return self._own(error_of(result.error, ref=ref), result.outcome)
        except StrongroomError as error:
            return error

    def _entry(self, ref: Ref, result: ReadResult, value: str) -> Entry:
        check_size(value, backend=self.name, ref=ref)
        told = result.facts or _NOTHING_KNOWN
        return Entry(
            ref=Ref(ref.kind, ref.name) if told.is_global and ref.team is not None else ref,
            secret=Secret(value),
            backend=self.name,
            version=result.version,
            read_at=self._clock() - (_span(result.age) or timedelta()),
            lifetime=_span(told.lifetime),
            fresh_for=_span(result.ttl),
            metadata=_metadata(result, told),
            is_stale=result.is_stale,
        )

    def _own(self, error: StrongroomError, outcome: str) -> StrongroomError:
        """Give *error* as of this backend. What has another outcome than the server says has that one."""
        if outcome == "denied" and not isinstance(error, AccessDeniedError):
            return AccessDeniedError(str(error), reason=error.code, hint=error.hint)
        if isinstance(error, BackendUnavailableError):
            return BackendUnavailableError(
                str(error), backend=self.name, retry_after=error.retry_after, hint=error.hint
            )
        # A server that says that something is nowhere says so as its outcome, and never as an error.
        is_other = isinstance(error, (RateLimitedError, NotFoundError, NotAuthenticatedError))
        if outcome == "unavailable" or is_other:
            return BackendUnavailableError(str(error), backend=self.name, hint=error.hint)
        if isinstance(error, MalformedEntryError):
            return MalformedEntryError(str(error), backend=self.name, ref=error.ref, hint=error.hint)
        return error

    def _unexplained(self, ref: Ref, outcome: str) -> StrongroomError:
        if outcome == "denied":
            return AccessDeniedError(f"the server denies {ref}", reason="the server gives none")
        if outcome == "invalid":
            return MalformedEntryError(
                f"the server cannot use what is stored for {ref}", backend=self.name, ref=str(ref)
            )
        return self._broken(f"none about {ref}")

    def _asked(self, ask: Callable[[], Any], *, is_write: bool = False) -> Any:  # noqa: ANN401 -- whatever is asked for
        """Ask, and tell trouble as of this backend; what a write got wrong is its writer's."""
        trouble: StrongroomError
        try:
            return ask()
        except NotAuthenticatedError as error:
            # Not an outage: an agent that was revoked is denied, and served nothing old.
            trouble = AccessDeniedError(str(error), reason=error.code, hint=error.hint)
        except (BackendUnavailableError, RateLimitedError, SealedError) as error:
            # A server that is sealed answers nobody: what is held serves as in any outage.
            trouble = BackendUnavailableError(
                str(error), backend=self.name, retry_after=error.retry_after, hint=error.hint
            )
        except (SettingsError, InvalidInputError, NotFoundError) as error:
            if is_write and not isinstance(error, SettingsError):
                raise
            trouble = BackendConfigError(str(error), hint=error.hint)
        raise trouble

    def _broken(self, what: str) -> BackendUnavailableError:
        error = broken(what)
        return BackendUnavailableError(str(error), backend=self.name, hint=error.hint)

    # --- writing -----------------------------------------------------------------------------------

    def write(self, draft: Draft) -> str | None:
        """Hand one write on; as `Writable.write`. Raises AccessDeniedError: the server does not allow it."""
        (version,) = self.write_many([draft])
        return version

    def write_many(self, drafts: Sequence[Draft]) -> list[str | None]:
        """Hand writes on, all of them or none. As an agent all are of one author."""
        for draft in drafts:
            check_value(draft.secret.reveal(), f"the value for {draft.ref}")
        if not drafts:
            return []
        path, body = self._write(drafts)
        told: BatchWritten = self._asked(
            lambda: self.client.post(path, BatchWritten, spelled(body), is_change=True), is_write=True
        )
        if len(told.written) != len(drafts):
            raise self._broken("other entries than were written")
        return [one.version for one in told.written]

    def _write(self, drafts: Sequence[Draft]) -> tuple[str, WriteBatch | WriteAsAgent]:
        changes, first = [_new_value(draft) for draft in drafts], drafts[0]
        if not self._as_stored:
            return "/entries", WriteBatch(changes=changes, comment=first.comment)
        run = None if first.run is None else _run(first.run)
        return "/agents/write", WriteAsAgent(
            user=first.author, run=run, changes=changes, comment=first.comment
        )

    def delete(self, ref: Ref, *, expected_version: str | None = None, author: str) -> bool:  # noqa: ARG002 -- the server knows who
        if self._as_stored:
            raise ReadOnlyError(
                f"an agent deletes nothing at its server: {ref} stays", hint="delete it at the server"
            )
        try:
            self._asked(
                lambda: self.client.change(
                    "DELETE",
                    path_of("/entries", ref),
                    EntryWritten,
                    query={"team": ref.team},
                    expected_version=expected_version,
                ),
                is_write=True,
            )
        except NotFoundError:
            return False
        return True

    # --- listing -----------------------------------------------------------------------------------

    def check(self) -> Health:
        """Tell whether the server answers, and knows who asks."""
        try:
            seen: WhoAmI = self._asked(lambda: self.client.get("/whoami", WhoAmI))
        except StrongroomError as error:
            return Health.failed(error)
        ends, certificate = {}, self.client.certificate_ends
        if seen.expires_at is not None:
            ends["token"] = seen.expires_at
        if certificate is not None:
            ends["server certificate"] = certificate
        return Health(
            status="ready", ends=ends, renewed=frozenset({"token"} if self._as_stored else frozenset())
        )

    # --- watching ----------------------------------------------------------------------------------

    def watch(self, on_notice: Callable[[Watched], None]) -> Callable[[], None]:
        """Listen to the server's changes; as `Watchable.watch`."""
        hearing = Hearing(self.client, on_notice)
        with self._lock:
            self._hearings = [*self._hearings, hearing]

        def end() -> None:
            hearing.end()
            with self._lock:
                self._hearings = [one for one in self._hearings if one is not hearing]

        return end

    # Last, because from here on `list` is not the builtin.
    def list(
        self,
        kind: Kind,
        *,
        team: str | None = None,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
    ) -> list[Summary]:
        question = (kind, team, prefix)
        query: dict[str, object] = {
            "kind": kind,
            "team": team,
            "prefix": prefix,
            "limit": min(limit, MAX_PAGE),
        }
        cursor = self._places.get((*question, after))
        found: dict[str, Summary] = {}
        for _ in range(_MAX_EMPTY):
            page = self._page(query | {"cursor": cursor})
            for row in page.entries:
                if row.name > after and len(found) < limit:
                    found.setdefault(row.name, self._summary(row))
            cursor = page.cursor
            if cursor is None:
                break
            if page.entries and page.entries[-1].name in found:
                self._remember((*question, page.entries[-1].name), cursor)
            if len(found) >= limit:
                break
        return [*found.values()]

    def _page(self, query: dict[str, object]) -> EntryPage:
        page: EntryPage = self._asked(lambda: self.client.get("/entries", EntryPage, query))
        for trouble in page.troubles:
            # A list that lacks what one of its backends holds says that the rest is nowhere.
            raise self._own(error_of(trouble.error), "unavailable")
        return page

    def _remember(self, place: tuple[object, ...], cursor: str) -> None:
        with self._lock:
            self._places[place] = cursor
            while len(self._places) > _MAX_PLACES:
                self._places.popitem(last=False)

    def _summary(self, row: EntryRow) -> Summary:
        return Summary(
            ref=ref_in(row),
            backend=self.name,
            version=row.version,
            changed_at=row.changed_at,
            metadata=Metadata(
                description=row.description,
                tags=tuple(row.tags),
                owner=row.owner,
                conn_type=row.conn_type,
                remind_at=row.remind_at,
                not_after=row.not_after,
                expires_at=row.expires_at,
                references=row.references,
            ),
            state=_STATES.get(row.state, EntryState.UNKNOWN),
            problem=row.problem,
        )


def _who(name: str, options: RemoteOptions, state: Path | None) -> tuple[ServerAddress, Credential]:
    """Give where the server is and who asks, as the options or the enrolment say."""
    if options.token is None:
        return _enrolled(name, options, state)
    setting = f"backend.{name}.url"
    if options.url is None:
        raise BackendConfigError(f"{setting} is missing", hint='url = "https://host"')
    address = ServerAddress(
        options.url,
        options.deployment,
        options.ca,
        allows_plain_http=options.allow_plain_http,
        setting=setting,
    )
    token = options.token
    if callable(token):
        return address, _Fetched(token)
    return address, Credential(token, setting=f"backend.{name}.token")


def _enrolled(name: str, options: RemoteOptions, state: Path | None) -> tuple[ServerAddress, Credential]:
    known = None if state is None else find_enrolled(state)
    if known is None or state is None:
        raise BackendConfigError(
            f"the backend {name} has no token, and no agent is enrolled here",
            hint="set token; or enrol this machine: strongroom agent enrol --url https://…",
        )
    where = known.address
    if options.url is None and options.deployment is None and options.ca is None:
        return where, credential_of(state)
    said = ServerAddress(
        options.url or where.url,
        options.deployment or where.deployment,
        options.ca or where.ca,
        allows_plain_http=options.allow_plain_http or where.allows_plain_http,
        setting=f"backend.{name}.url",
    )
    return said, credential_of(state, said)


class _Fetched(Credential):
    """A token that is fetched again where the server takes it no more."""

    def __init__(self, fetch: Callable[[], Secret[str]]) -> None:
        super().__init__(setting="this backend", remedy="issue another: strongroom access tokens issue")
        self._fetch = fetch
        self._held: Secret[str] | None = None

    def token(self) -> Secret[str]:
        if self._held is None:
            self._held = self._fetch()
        return self._held

    def renewed(self, refused: Secret[str]) -> Secret[str] | None:
        self._held = self._fetch()
        return None if self._held == refused else self._held


def _metadata(result: ReadResult, told: HeldFacts) -> Metadata:
    tags = {*told.tags, STRICT} if result.is_strict else told.tags
    return Metadata(
        tags=tuple(sorted(tags)),
        owner=told.owner,
        conn_type=told.conn_type,
        not_after=told.not_after,
        expires_at=told.expires_at,
        references=told.references,
    )


def _new_value(draft: Draft) -> NewValue:
    beside = draft.metadata
    whole = EntryFacts(
        description=beside.description,
        tags=list(beside.tags),
        owner=beside.owner,
        remind_at=beside.remind_at,
        not_after=beside.not_after,
        expires_at=beside.expires_at,
        references=beside.references,
    )
    return NewValue(
        kind=draft.ref.kind,
        name=draft.ref.name,
        team=draft.ref.team,
        value=draft.secret.reveal(),
        is_literal=True,
        facts=whole if draft.over is None else None,
        over=FactsOver(**draft.over) if draft.over else UNSET,  # type: ignore[arg-type]  # by their names
        expected_version=draft.expected_version,
    )


def _run(run: Mapping[str, object]) -> AgentRun:
    # The server takes it for a claim, whatever we say of how it was proven, but for a receipt of its own.
    return AgentRun(**{name: value for name, value in run.items() if name in AgentRun.__struct_fields__})  # type: ignore[arg-type]  # by their names


def _span(seconds: float | None) -> timedelta | None:
    return timedelta(seconds=seconds) if seconds is not None and 0 <= seconds <= _MAX_SECONDS else None


BACKEND = Remote
