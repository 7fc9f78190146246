"""
Live clients of Kubernetes: lightkube's own, over the transport that says who asks.

Rules of this file:

1. Fields mean what Airflow's KubernetesHook makes of them, but that nothing is guessed: without any it is the
   cluster this process runs in, never a kubeconfig of the home folder.
2. A kubeconfig that stands in the connection names no file and no program: whoever may write a connection
   must not thereby run programs in tasks, or have their files sent to a server of his.
3. Kubernetes' own ways to change a token (a file that the kubelet replaces, a program) go before the
   connection's.
"""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.errors import BackendConfigError, NotAuthenticatedError
from strongroom.live.families import loaded
from strongroom.live.fields import Options
from strongroom.live.trouble import trouble
from strongroom.live.unframed import unframed
from strongroom.live.web import Way
from strongroom.live.web_login import Session
from strongroom.vendors.kubernetes_config import ClusterPlace, KubernetesAccess, place_of
from strongroom.vendors.kubernetes_login import MemoryFiles, ProgramToken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.errors import StrongroomError
    from strongroom.live.around import Around, Asked
    from strongroom.live.held import Held, Known
    from strongroom.model.connection import Connection
    from strongroom.model.secret import Secret

__all__ = ["ClusterLogin", "aclient", "client"]

_EXTRA = "lightkube"
_OURS = ("config", "proxy", "transport", "trust_env")
_TRANSPORT = ("http2",)
_WAYS = ("in_cluster", "kube_config_path", "kube_config")
# What of a kubeconfig leads out of it.
_OUTSIDE = ("auth-provider", "certificate-authority", "client-certificate", "client-key", "exec", "tokenFile")
_FLAT = "kubectl config view --raw --flatten --minify gives one that names no files; or set kube_config_path"
_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SENDABLE = re.compile(r"[!-~]+")
_MOST_PLACES = 4  # that are kept for requests under way
# As Airflow's hook sets them, so that a connection that was cut in silence is noticed.
_ALIVE = (("TCP_KEEPIDLE", 120), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 6))


def client(held: Held, asked: Asked) -> object:
    """Give a `lightkube.Client` of the connection."""
    lightkube = loaded("lightkube", held, extra=_EXTRA)
    from strongroom.live.web_transport import Transport  # noqa: PLC0415 -- loads the library

    login, own, inner = _parts(held, asked)
    transport = Transport(login, inner)
    made = _made(lightkube.Client, login, transport, own)
    ended = held.lasts(made, transport.close)
    transport.release = _both(login.close, ended)
    return made


async def aclient(held: Held, asked: Asked) -> object:
    """Give a `lightkube.AsyncClient` of the connection."""
    lightkube = loaded("lightkube", held, extra=_EXTRA)
    from strongroom.live.web_transport import AsyncTransport  # noqa: PLC0415 -- loads the library

    login, own, inner = _parts(held, asked)
    transport = AsyncTransport(login, inner)
    made = _made(lightkube.AsyncClient, login, transport, own)
    transport.release = held.lasts(made, login.close)
    return made


def _both(first: Callable[[], None], second: Callable[[], None]) -> Callable[[], None]:
    def close() -> None:
        first()
        second()

    return close


def _parts(held: Held, asked: Asked) -> tuple[ClusterLogin, dict[str, object], dict[str, object]]:
    """Give who asks, the options of the client and those of its transport."""
    for key in asked.options:
        if key in _OURS:
            raise trouble("options", "unknown", name=held.name, detail=key, hint="the connection says it")
    login = ClusterLogin(held, asked.around)
    inner: dict[str, object] = {key: asked.options[key] for key in _TRANSPORT if key in asked.options}
    if not Options(held.name, held.known.connection).flag("disable_tcp_keepalive", default=False):
        inner["socket_options"] = list(_kept_alive())
    return login, {key: value for key, value in asked.options.items() if key not in inner}, inner


def _kept_alive() -> Any:  # noqa: ANN401 -- rows for setsockopt
    yield socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1
    for name, value in _ALIVE:
        if hasattr(socket, name):
            yield socket.IPPROTO_TCP, getattr(socket, name), value


def _made(make: Any, login: ClusterLogin, transport: object, own: Mapping[str, object]) -> object:  # noqa: ANN401 -- one of the library's two classes
    from lightkube.config.kubeconfig import SingleConfig  # noqa: PLC0415 -- as the library
    from lightkube.config.models import Cluster, Context, User  # noqa: PLC0415 -- as above

    place = login.place
    config = SingleConfig(
        context_name=login.name,
        context=Context(cluster=login.name, namespace=place.namespace),
        cluster=Cluster(server=place.url),
        user=User(),  # whoever asks is put on by the transport
    )
    try:
        return make(config=config, transport=transport, trust_env=False, **own)
    except TypeError:
        raise trouble("options", "unknown", name=login.name) from None


class _Read(NamedTuple):
    """What one content of the connection says."""

    known: Known
    place: ClusterPlace
    way: Way


class ClusterLogin:
    """
    Who asks an API server: a token, or a certificate.

    Args:
        held: the connection.
        around: what is around.
        service_account: the folder in which a pod finds its own.

    Raises:
        BackendConfigError: the connection says too little or too much, or names a file that is none.

    Threads: safe; at worst two read the connection at once.
    """

    @unframed
    def __init__(self, held: Held, around: Around, service_account: Path = _SERVICE_ACCOUNT) -> None:
        self._held = held
        self._around = around
        self._service_account = service_account
        self._places: list[ClusterPlace] = []
        self._read = self._anew(held.known)
        self._last: Session | None = None

    @property
    def name(self) -> str:
        return self._held.name

    @property
    def place(self) -> ClusterPlace:
        """Where the API server is now."""
        return self._read.place

    def close(self) -> None:
        """Let go of the files that stand for what the connection holds. Safe to call twice."""
        places, self._places = self._places, []
        for place in places:
            place.files.close()

    @unframed
    def ready(self) -> Session | None:
        # A program may have to run for its token, and that takes its time.
        return None if isinstance(self._read.place.bearer, ProgramToken) else self.session()

    @unframed
    def session(self) -> Session:
        read = self._now()
        bearer = read.place.bearer
        try:
            return self._with(read, None if bearer is None else bearer.token())
        except NotAuthenticatedError as error:
            hint = error.hint
        raise trouble("token", "missing", name=self.name, hint=hint)

    @unframed
    def renewed(self, refused: Session) -> Session | None:
        known, bearer, token = refused.evidence
        bearer_now = self._read.place.bearer
        if bearer_now is not None and bearer is bearer_now:
            try:
                newer = bearer_now.renewed(token)
            except NotAuthenticatedError:
                newer = None
            if newer is not None:
                return self._with(self._read, newer)
        return None if self._held.refreshed(known) is None else self.session()

    def _with(self, read: _Read, token: Secret[str] | None) -> Session:
        last = self._last
        if (
            last is None
            or last.evidence[0] is not read.known
            or last.evidence[2] != token
            or last.way != read.way
        ):
            headers: tuple[tuple[str, bytes], ...] = ()
            if token is not None:
                if _SENDABLE.fullmatch(token.reveal()) is None:
                    raise _unfit(self.name, "token", "it is one word of ASCII")
                headers = (("authorization", b"Bearer " + token.reveal().encode()),)
            last = self._last = Session(
                base=read.place.url.rstrip("/"),
                headers=headers,
                way=read.way,
                evidence=(read.known, read.place.bearer, token),
            )
        return last

    def _now(self) -> _Read:
        known = self._held.known
        read = self._read
        if read.known.number != known.number:
            read = self._read = self._anew(known)
        elif not self._is_current(read.way):
            read = self._read = read._replace(way=self._way(read.place))
        return read

    def _is_current(self, way: Way) -> bool:
        try:
            return way.is_current()
        except OSError:  # gone for the moment in which another takes its place
            return True

    def _anew(self, known: Known) -> _Read:
        place = _place(known.connection, self.name, self._around, self._service_account)
        self._places.append(place)
        while len(self._places) > _MOST_PLACES:
            self._places.pop(0).files.close()
        return _Read(known, place, self._way(place))

    def _way(self, place: ClusterPlace) -> Way:
        files = {"ca": place.ca, "cert": place.client_cert, "key": place.client_key}
        try:
            return Way.of(
                verify=place.verify,
                **{key: None if path is None else str(path) for key, path in files.items()},
            )
        except OSError:
            raise trouble("tls", "malformed", name=self.name) from None


def _place(connection: Connection, name: str, around: Around, account: Path) -> ClusterPlace:
    options = Options(name, connection)
    chosen = [key for key in _WAYS if options.has(key)]
    if "in_cluster" in chosen and not options.flag("in_cluster", default=False):
        chosen.remove("in_cluster")
    if len(chosen) > 1:
        raise _unfit(name, f"extra.{chosen[1]}", f"keep one of {', '.join(_WAYS)}")
    if not chosen and not around.environ.get("KUBERNETES_SERVICE_HOST"):
        raise trouble("options", "missing", name=name, detail=", ".join(_WAYS))
    files = MemoryFiles()
    access = KubernetesAccess(
        namespace=options.text("namespace"),
        kubeconfig=_kubeconfig(chosen, connection, name, files),
        context=options.text("cluster_context") if chosen and chosen != ["in_cluster"] else None,
        service_account=account,
        verify=not options.flag("disable_verify_ssl", default=False),
    )
    field = f"extra.{chosen[0]}" if chosen else "in_cluster"
    try:
        found = place_of(name, access, environ=around.environ, clock=around.now)
    except BackendConfigError as error:
        hint = error.hint
    else:
        if chosen == ["kube_config"]:
            _check_inside(_text(connection), name)
        return found
    finally:
        files.close()
    if chosen in ([], ["in_cluster"]):
        hint = "it runs in no pod with a service account: set kube_config_path or kube_config"
    raise _unfit(name, field, hint)


def _kubeconfig(chosen: list[str], connection: Connection, name: str, files: MemoryFiles) -> Path | None:
    options = Options(name, connection)
    if chosen == ["kube_config_path"]:
        return Path(options.text("kube_config_path") or "").expanduser()
    if chosen != ["kube_config"]:
        return None
    return files.keep(_text(connection).encode())


def _text(connection: Connection) -> str:
    said = connection.extra["kube_config"].reveal() if connection.extra else {}
    return said if isinstance(said, str) else json.dumps(said)


def _check_inside(text: str, name: str) -> None:
    """Refuse a kubeconfig that leads out of itself; it has been read before."""
    from strongroom.model.yaml11 import parse_yaml  # noqa: PLC0415 -- few connections hold one

    said = parse_yaml(text)
    for part, key in (("clusters", "cluster"), ("users", "user")):
        rows = said.get(part) if isinstance(said, dict) else None
        for row in rows if isinstance(rows, list) else ():
            inner = row.get(key) if isinstance(row, dict) else None
            for outside in _OUTSIDE:
                if isinstance(inner, dict) and inner.get(outside):
                    raise trouble(
                        "options", "forbidden", name=name, detail=f"kube_config's {outside}", hint=_FLAT
                    )


def _unfit(name: str, field: str, hint: str | None) -> StrongroomError:
    return trouble("options", "malformed", name=name, detail=field, hint=hint)
