"""
Google: credentials that follow a connection, and clients of Google's services with them.

    strongroom.client("google_cloud_default")                      # google.auth credentials
    strongroom.client("google_cloud_default", service="session")   # an AuthorizedSession of google.auth
    strongroom.client("google_cloud_default", service="bigquery")  # google.cloud.bigquery.Client
    strongroom.client("google_cloud_default", service="pubsub.PublisherClient")

Not for who the connection is (`google_identity.py`), nor for following (`google_credentials.py`).
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

from strongroom.live.families import loaded
from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from strongroom.live.around import Asked
    from strongroom.live.google_credentials import FollowedCredentials
    from strongroom.live.held import Held

__all__ = ["client", "credentials"]

_SESSION = "session"
_SERVICE = re.compile(r"([a-z][a-z0-9_]{0,60})(?:\.([A-Z][A-Za-z0-9]{0,80}))?", re.ASCII)
_OPTIONS = ("quota_project_id", "scopes")


def client(held: Held, asked: Asked) -> object:
    """
    Give credentials, or with `asked.service` what asks that service with them.

    `asked.options` are for the service's own constructor; without one for the credentials: `scopes`, a list,
    and `quota_project_id`.

    Raises:
        BackendConfigError: a library is missing, the service has no such client, or the connection
            contradicts itself.
    """
    if asked.service is None:
        return credentials(held, asked)
    if asked.service == _SESSION:
        return _session(held, asked)
    return _service(held, asked, asked.service)


def credentials(held: Held, asked: Asked) -> FollowedCredentials:
    """
    Give google-auth's credentials, that follow; nobody is asked before they are used.

    Raises:
        BackendConfigError: google-auth is missing, an option is none of its, or the connection contradicts
            itself.
    """
    return _credentials(held, asked, {} if asked.service else asked.options)


def _credentials(held: Held, asked: Asked, options: Mapping[str, object]) -> FollowedCredentials:
    loaded("google.auth", held, extra="gcp")
    from strongroom.live.google_credentials import FollowedCredentials  # noqa: PLC0415 -- loads google-auth
    from strongroom.live.google_identity import Identity  # noqa: PLC0415 -- for those who ask Google

    for option in options:
        if option not in _OPTIONS:
            hint = f"options of credentials are {' and '.join(_OPTIONS)}"
            raise trouble("options", "unknown", name=held.name, detail=option, hint=hint)
    scopes: Any = options.get("scopes") or ()
    identity = Identity(held, asked.around, (scopes,) if isinstance(scopes, str) else tuple(scopes))
    identity.check(held.known)
    payer = options.get("quota_project_id")
    return FollowedCredentials(identity, quota_project_id=None if payer is None else str(payer))


def _session(held: Held, asked: Asked) -> object:
    library = loaded("google.auth.transport.requests", held, extra="gcp")
    # One more try after a refusal and no second: by then the connection was read anew.
    options = {"max_refresh_attempts": 1, **asked.options}
    made = _credentials(held, asked, {})

    class FollowedSession(library.AuthorizedSession):  # type: ignore[name-defined, misc]  # of a library loaded late
        """The library's, which ends the following when it is closed."""

        def close(self) -> None:
            super().close()
            made.close()

    return _constructed(held, FollowedSession, made, **options)


def _service(held: Held, asked: Asked, service: str) -> object:
    found = _SERVICE.fullmatch(service)
    if found is None:
        hint = 'name one as google.cloud does, such as "bigquery" or "pubsub.PublisherClient", or "session"'
        raise trouble("options", "unknown", name=held.name, detail="service", hint=hint)
    module = _module(held, found[1])
    kind = _client_of(held, module, found[1], found[2])
    made = _credentials(held, asked, {})
    options: dict[str, Any] = {"credentials": made, **asked.options}
    if "project" in inspect.signature(kind).parameters and "project" not in options:
        options["project"] = made.project_id
    return _constructed(held, kind, **options)


def _module(held: Held, service: str) -> ModuleType:
    loaded("google.auth", held, extra="gcp")
    try:
        return import_module(f"google.cloud.{service}")
    except ImportError:
        package = f"google-cloud-{service.replace('_', '-')}"
        hint = f"pip install {package}"
        raise trouble("driver", "missing", name=held.name, detail=package, hint=hint) from None


def _client_of(held: Held, module: ModuleType, service: str, said: str | None) -> Any:  # noqa: ANN401 -- a class of a library
    every = [name for name in dir(module) if name.endswith("Client") and "Async" not in name]
    wanted = said or ("Client" if "Client" in every else every[0] if len(every) == 1 else None)
    if wanted is None or wanted not in every:
        hint = f"it has these clients: {', '.join(f'{service}.{name}' for name in every) or 'none'}"
        raise trouble("options", "unknown", name=held.name, detail="service", hint=hint)
    return getattr(module, wanted)


def _constructed(held: Held, kind: Any, *given: object, **options: object) -> object:  # noqa: ANN401 -- as above
    try:
        inspect.signature(kind).bind(*given, **options)
    except TypeError:
        hint = "one of them is none of the constructor's own"
        raise trouble("options", "unknown", name=held.name, detail="options", hint=hint) from None
    made: object = kind(*given, **options)
    return made
