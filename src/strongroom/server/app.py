"""
The server as one ASGI application: the layers, the routes, and what they share.

The layers, from the outside in; this is the only place that orders them:

1. `hot.Hot`: `POST /v1/read` where all is plain and at hand, answered on the loop.
2. `guard.Guard`: the id of the request, where it came from, headers on every answer, the table of errors,
   the last resort, and the count and log line of every request that ended.
3. Starlette's router: which route.
4. `dispatch.Resource`: who asks, how much, the body, read-only mode, repeats, the handler on a thread.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from starlette.routing import Route, Router

from strongroom.errors import NotFoundError
from strongroom.server.dispatch import Desk, Resource
from strongroom.server.endpoint import Endpoint
from strongroom.server.gauges import measure
from strongroom.server.guard import STRICT_TRANSPORT, Guard
from strongroom.server.health import Health
from strongroom.server.hot import Hot, Reads
from strongroom.server.hot import endpoint as read_endpoint
from strongroom.server.idempotency import Repeats
from strongroom.server.limits import Buckets, Rate
from strongroom.server.metrics import Metrics
from strongroom.server.threads import Threads
from strongroom.wire.head import HEADERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from strongroom.server.dispatch import ErrorShape, PageShape
    from strongroom.server.endpoint import Call
    from strongroom.server.logs import Journal
    from strongroom.server.request import App, Receive, Request, Scope, Send
    from strongroom.service.house import Deployment, House
    from strongroom.settings import LimitSettings, ServerSettings

__all__ = ["Api", "Application", "apis", "make_app"]

DEPLOYMENT = "/d/{deployment}"
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
_WAITING_FOR_ONE_THREAD = 16
_READ = "/v1/read"


class Api(NamedTuple):
    """
    A table of endpoints and where it stands.

    Args:
        prefix: "" or `/v1`.
        endpoints: of it.
        errors: gives an error in its own shape; ours if None.
        allows_basic: whether it takes HTTP Basic.
        pages: gives an error as a page, for what a browser shows.
    """

    prefix: str
    endpoints: Sequence[Endpoint]
    errors: ErrorShape | None = None
    allows_basic: bool = False
    pages: PageShape | None = None


def apis() -> tuple[Api, ...]:
    """Give every API that is served for each deployment."""
    from strongroom.server import airflow_api, api, ui  # noqa: PLC0415 -- they are built upon this package

    return (
        Api("/v1", api.ENDPOINTS),
        Api("/api/v2", airflow_api.V2, airflow_api.errors_v2),
        Api("/api/v1", airflow_api.V1, airflow_api.errors_v1, allows_basic=True),
        Api("", airflow_api.ROOT, airflow_api.errors_root),
        Api("", ui.ENDPOINTS, pages=ui.errors),
    )


class Application:
    """
    The server, to be called by an ASGI engine.

    Args:
        house: the deployments; its owner closes it.
        settings: of the server.
        journal: the log.
        served: the APIs; all of them if unsaid.

    Attributes:
        metrics: the figures.
        closing: set when the server drains.
    """

    def __init__(
        self,
        house: House,
        settings: ServerSettings,
        *,
        journal: Journal,
        served: Iterable[Api] | None = None,
    ) -> None:
        self.house = house
        self.metrics = Metrics(with_names=settings.metrics_names)
        self.closing = asyncio.Event()
        self._journal = journal
        threads = settings.threads
        self.threads = Threads("the server", threads=threads, waiting=threads * _WAITING_FOR_ONE_THREAD)
        rate = Rate(settings.limits.read_per_second, settings.limits.read_burst)
        bucket = Buckets(rate, "names read by one identity")
        self._reads: dict[str, Reads] = {}
        each = (Api("/v1", (read_endpoint(self._reads_of),)), *(apis() if served is None else served))
        desk = self._desk(settings.limits)
        self.routes = tuple(_routes(desk, self._health(settings), each))
        router = Router(
            routes=[route for _, route in self.routes], redirect_slashes=False, default=_nowhere(desk, each)
        )
        guard = Guard(
            router,
            hosts=_hosts(settings),
            proxies=settings.trusted_proxies,
            on_end=self._ended,
            on_trouble=journal.unexpected,
        )
        self.hot = self._hot(guard, settings)
        # What a proxy passes on is looked at the ordinary way: who is behind it stands in its headers.
        is_plain = not settings.trusted_proxies
        house.watch(partial(self._follow, bucket, is_plain))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.hot(scope, receive, send)

    def _desk(self, limits: LimitSettings) -> Desk:
        return Desk(
            house=self.house,
            threads=self.threads,
            identities=Buckets(Rate(limits.identity_per_second, limits.identity_burst), "of one identity"),
            strangers=Buckets(Rate(limits.stranger_per_second, limits.stranger_burst), "without an identity"),
            paths={
                path: Buckets(Rate(rate, max(1.0, rate)), "of one identity here")
                for path, rate in limits.paths.items()
            },
            repeats=Repeats(),
            closing=self.closing,
        )

    def _follow(self, bucket: Buckets, is_plain: bool, name: str, deployment: Deployment | None) -> None:  # noqa: FBT001 -- bound
        """Read from a deployment that was opened, and no more from one that was sealed."""
        reads = None if deployment is None else Reads(deployment, self.metrics, bucket)
        if deployment is not None:
            deployment.ring.count_refusals(lambda: self.metrics.reads[name, "denied", ""])
        if reads is None:
            self._reads.pop(name, None)
        else:
            self._reads[name] = reads
        if is_plain:
            self.hot.serve(_places(name, self.house.first), reads)

    def _reads_of(self, name: str) -> Reads:
        found = self._reads.get(name)
        if found is None:
            self.house.deployment(name)  # it is sealed, or nowhere
            raise NotFoundError("there is no such deployment here")
        return found

    def _hot(self, guard: Guard, settings: ServerSettings) -> Hot:
        return Hot(
            guard,
            {},
            is_ours=guard.is_ours,
            headers=(*HEADERS, STRICT_TRANSPORT) if settings.has_tls else HEADERS,
            on_end=partial(self.metrics.timed, _READ, "POST"),
            on_trouble=partial(self._journal.unexpected, None),
        )

    def _health(self, settings: ServerSettings) -> Api:
        health = Health(
            self.metrics,
            is_draining=self.closing.is_set,
            trust_loopback=settings.is_loopback and not settings.trusted_proxies,
            on_trouble=lambda why: self._journal.say("not ready", level="warning", why=why),
        )
        measure(self.metrics, self.house, lambda: health.trouble(self.house) is None)
        return Api("", health.endpoints())

    def _ended(self, request: Request, scope: Scope) -> None:
        seconds = time.monotonic() - request.started
        self.metrics.ended(request, scope["method"], seconds)
        self._journal.ended(request, scope["method"], seconds)

    def close(self) -> None:
        """Take no more work."""
        self.threads.close()


def make_app(
    house: House, settings: ServerSettings, *, journal: Journal, served: Iterable[Api] | None = None
) -> Application:
    """Give the server of *house*; the arguments are those of `Application`."""
    return Application(house, settings, journal=journal, served=served)


def _hosts(settings: ServerSettings) -> tuple[str, ...]:
    """Give the names to answer for; a page of somebody else's must not reach us by a name of its own."""
    if settings.allowed_hosts:
        return tuple(host.lower() for host in settings.allowed_hosts)
    if settings.is_loopback:
        return (*_LOOPBACK_NAMES, settings.host.lower())
    return ()


def _routes(desk: Desk, health: Api, served: Iterable[Api]) -> Iterator[tuple[Resource, Route]]:
    """Give a resource and a route for every path: for the first deployment, and for each by its name."""
    yield from _routes_of(desk, health, "")
    each = tuple(served)
    for prefix in ("", DEPLOYMENT):
        for api in each:
            yield from _routes_of(desk, api, prefix)


def _routes_of(desk: Desk, api: Api, before: str) -> Iterator[tuple[Resource, Route]]:
    by_path: dict[str, list[Endpoint]] = {}
    for endpoint in api.endpoints:
        by_path.setdefault(endpoint.path, []).append(endpoint)
    for path, endpoints in by_path.items():
        template = f"{before}{api.prefix}{path}"
        resource = Resource(
            desk,
            endpoints,
            template=template,
            errors=api.errors,
            allows_basic=api.allows_basic,
            pages=api.pages,
        )
        yield resource, Route(template, resource, methods=None)


def _places(deployment: str, first: str) -> tuple[str, ...]:
    """Give where reads of *deployment* are asked for."""
    place = f"/d/{deployment}{_READ}"
    return (_READ, place) if deployment == first else (place,)


def _nowhere(desk: Desk, served: Iterable[Api]) -> App:
    """Give what answers at every other address: a page to a browser, where pages are served."""
    pages = next((api.pages for api in served if api.pages is not None), None)
    resource = Resource(desk, (Endpoint("GET", "", _nothing, "", ""),), template="", pages=pages)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        accepts = next((value for name, value in scope["headers"] if name == b"accept"), b"")
        if pages is not None and scope["method"] in ("GET", "HEAD") and b"text/html" in accepts:
            await resource(scope, receive, send)
        else:
            raise NotFoundError("there is nothing at this address", hint="see /v1/openapi.json")

    return answer


def _nothing(_call: Call) -> NoReturn:
    raise NotFoundError("there is nothing at this address")
