"""The backends of a deployment from its settings, and how long they are waited for and kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from strongroom.assembly.store import open_barrier
from strongroom.backend import load as load_backend
from strongroom.cache import Lifetimes
from strongroom.chain import Chain, Link
from strongroom.errors import BackendConfigError, StrongroomError
from strongroom.model.ref import KINDS, Ref
from strongroom.settings import BackendSettings, SecretSource, options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from strongroom.assembly.ways import Ways
    from strongroom.backend import Backend
    from strongroom.model.secret import Secret
    from strongroom.settings import Settings
    from strongroom.vendors.airflow import AirflowConfig

_NATIVE = "native"
_ENV = "env"


def chain_of(links: Sequence[Link], settings: Settings, clock: Callable[[], datetime]) -> Chain:
    """Give the chain over *links*."""
    deadline = timedelta(seconds=settings.lookup.deadline_seconds)
    return Chain(links, clock=clock, deadline=deadline, write_to=settings.write_to)


def patience_of(settings: Settings) -> timedelta:
    """Give how long one waits for another's read of the same entry: longer than any read may take."""
    return timedelta(seconds=settings.lookup.deadline_seconds * 1.5)


def lifetimes_of(settings: Settings) -> Lifetimes:
    """Give how long the cache keeps what it was given."""
    cache = settings.cache
    return Lifetimes(
        ttl=timedelta(seconds=cache.ttl),
        stale_if_error=timedelta(seconds=cache.stale_if_error),
        absent_ttl=timedelta(seconds=cache.absent_ttl),
        max_entries=cache.max_entries,
        max_absences=cache.max_entries,
    )


def _chain(settings: Settings) -> list[BackendSettings]:
    """Give the backends in the order asked; unsaid, the environment and then the store there is."""
    names = settings.chain
    if not names:
        names = (_ENV, _NATIVE) if settings.store.may_exist else (_ENV,)
    return [settings.backend.get(name) or BackendSettings(name=name, kind=name) for name in names]


def native_of(settings: Settings) -> str:
    """Give what the store of the deployment is called in its chain."""
    return next((one.name for one in _chain(settings) if one.kind == _NATIVE), _NATIVE)


def links_of(
    settings: Settings,
    ways: Ways,
    made: list[Backend],
    on_trouble: Callable[[str, StrongroomError], None] | None,
) -> list[Link]:
    """
    Make the backends of the chain. *made* takes each as it is made, so that they can be closed where a
    later one fails; *on_trouble* is that of `open_room`.
    """
    links = []
    for backend in _chain(settings):
        try:
            links.append(_link(backend, settings, ways, made))
        except StrongroomError as error:
            if on_trouble is None:
                raise
            on_trouble(backend.name, error)
    return links


def _link(backend: BackendSettings, settings: Settings, ways: Ways, made: list[Backend]) -> Link:
    found = backend_of(backend, settings, ways)
    made.append(found)
    seconds = backend.timeout_seconds or settings.lookup.timeout_seconds
    return Link(
        backend=found,
        match=backend.match,
        kinds=backend.kinds or KINDS,
        on_unavailable=backend.on_unavailable,
        team_fallback=backend.team_fallback,
        timeout=timedelta(seconds=seconds),
        references=backend.references,
        read_only=backend.read_only,
    )


def backend_of(backend: BackendSettings, settings: Settings, ways: Ways) -> Backend:
    """Make one backend, with what of the outside its kind asks for."""
    kind: Any = load_backend(backend.kind)
    if backend.kind == _NATIVE:
        options(backend, _NoOptions, environ=ways.environ)
        return kind(open_barrier(backend.name, settings, ways))  # type: ignore[no-any-return]
    made = options(backend, getattr(kind, "options_type", _NoOptions), environ=ways.environ)
    needs: dict[str, object] = {}
    if getattr(kind, "needs_environ", False):
        needs["environ"] = ways.environ
    if getattr(kind, "needs_state", False):
        needs["state"] = settings.agent.state
    if getattr(kind, "needs_sessions", False):
        needs["sessions"] = ways.sessions
    if getattr(kind, "needs_secret", False):
        needs["secret"] = partial(_airflow_secret, settings=settings, ways=ways)
    return kind(backend.name, made, clock=ways.clock, **needs)  # type: ignore[no-any-return]


def _airflow_secret(
    config: AirflowConfig, name: str, *, settings: Settings, ways: Ways
) -> Secret[str] | None:
    """Look a `…_secret` of Airflow's configuration up where Airflow does: in its own secrets backend."""
    found = config.secrets_backend()
    if found is None:
        return None
    if found.class_path.rpartition(".")[2] != "VaultBackend":
        raise BackendConfigError(
            "Airflow's configuration names a secret of a secrets backend that cannot be asked from here",
            hint="give the value itself: sql_alchemy_conn and fernet_key of the backend",
        )
    table = {key: _vault_option(key, value) for key, value in found.kwargs.items() if value is not None}
    vault = backend_of(BackendSettings(name="airflow_secrets", kind="vault", options=table), settings, ways)
    try:
        entry = vault.read(Ref("config", name))
    finally:
        vault.close()
    return None if entry is None else entry.secret


def _vault_option(key: str, value: object) -> object:
    # What Airflow's settings say is not written into ours: it is taken as it stands there.
    if isinstance(value, str) and key in _OF_LOGIN:
        return SecretSource(kind="text", argument=(value,), key=key)
    return value


_OF_LOGIN = frozenset(("token", "secret_id", "password", "jwt_token", "gcp_keyfile_dict", "radius_secret"))


@dataclass(frozen=True)
class _NoOptions:
    """Options of a backend that has none."""
