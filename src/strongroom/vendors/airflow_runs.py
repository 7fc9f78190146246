"""
What an Airflow says of one task instance, asked over its REST API (v2, Airflow 3).

Not for whether a token proves a run (`service/runs.py`), nor for Airflow's own configuration (`airflow.py`).

Rules of this file:

1. One question a call, but for the login, which is kept for as long as Airflow takes it.
2. Nothing of Airflow's answers but the members named here is looked at, and none of their texts is shown.
3. What is asked for stands in the path escaped, each name in a segment of its own.

Source: datamodels/task_instances.py and routes/login.py of airflow/api_fastapi, 3.3.2.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from strongroom.errors import BackendConfigError, BackendUnavailableError
from strongroom.model.secret import Secret
from strongroom.vendors.answer import json_in, wait_in
from strongroom.vendors.transport import Transport, TransportOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.vendors.transport import Reply

__all__ = ["AirflowApi", "AirflowApiOptions", "Instance"]

_PLACE = "airflow"
_OK, _CREATED, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND, _THROTTLED = 200, 201, 401, 403, 404, 429
_MAX_BODY_BYTES = 1_048_576  # 1 MiB: an instance with its rendered fields
_MAX_TOKEN_CHARACTERS = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class AirflowApiOptions:
    """
    Where an Airflow's REST API is, and whom it is asked as.

    Args:
        url: without `/api/v2`.
        user: logs in with what `password` gives.
        token: gives a token in place of both; fetched anew when Airflow refuses it.
        timeout: for each answer.
        ca: a PEM file in place of the system's authorities.
    """

    url: str = field(repr=False)
    user: str | None = None
    password: Callable[[], Secret[str]] | None = field(default=None, repr=False)
    token: Callable[[], Secret[str]] | None = field(default=None, repr=False)
    timeout: timedelta = timedelta(seconds=3)
    ca: Path | None = None


class Instance(NamedTuple):
    """
    One task instance as Airflow has it; None for what it does not say.

    Args:
        id: its UUID as Airflow spells it.
        hostname, pid: of the task's process, once it runs.
    """

    id: str | None
    dag_id: str | None
    task_id: str | None
    run_id: str | None
    map_index: int | None
    try_number: int | None
    state: str | None
    bundle: str | None
    bundle_version: str | None
    hostname: str | None
    pid: int | None


class AirflowApi:
    """
    Ask one Airflow. Threads: may be used from several at once, and after a fork.

    Args:
        options: where and as whom.
    """

    def __init__(self, options: AirflowApiOptions) -> None:
        self._options = options
        self._transport = Transport(
            TransportOptions(
                place=_PLACE,
                url=options.url,
                timeout=options.timeout,
                ca=options.ca,
                max_body_bytes=_MAX_BODY_BYTES,
            )
        )
        self._token: Secret[str] | None = None
        self._lock = Lock()

    def find(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Instance | None:
        """
        Give one task instance, None where Airflow has none.

        Raises:
            BackendUnavailableError: no answer, or one that is none.
            BackendConfigError: Airflow does not let us ask.
        """
        path = "/api/v2/dags/{}/dagRuns/{}/taskInstances/{}".format(*map(_segment, (dag_id, run_id, task_id)))
        if map_index >= 0:
            path += f"/{map_index}"
        reply = self._asked(path)
        if reply.status == _NOT_FOUND:
            return None
        if reply.status != _OK:
            raise _trouble(reply)
        said = json_in(reply.body)
        if not isinstance(said, dict):
            raise _no_answer()
        return _instance(said)

    def close(self) -> None:
        """Close what is at rest. Safe to call twice."""
        self._transport.close()

    def _asked(self, path: str) -> Reply:
        token = self._token or self._login(None)
        reply = self._get(path, token)
        if reply.status == _UNAUTHORIZED:  # it ended, or was replaced: once more with another
            reply = self._get(path, self._login(token))
        if reply.status in (_UNAUTHORIZED, _FORBIDDEN):
            raise BackendConfigError(
                "Airflow does not let us see task instances",
                hint="access.airflow.user needs a role that may read them, such as Viewer",
            )
        return reply

    def _get(self, path: str, token: Secret[str]) -> Reply:
        return self._transport.request("GET", path, headers={"authorization": _bearer(token)})

    def _login(self, refused: Secret[str] | None) -> Secret[str]:
        """Give a token that is not *refused*; of several threads one logs in."""
        with self._lock:
            if self._token is None or self._token is refused:
                self._token = self._fetched()
            return self._token

    def _fetched(self) -> Secret[str]:
        options = self._options
        if options.token is not None:
            return options.token()
        if options.user is None or options.password is None:
            raise BackendConfigError("nobody is named to ask Airflow as", hint="access.airflow.user")
        said = {"username": options.user, "password": options.password().reveal()}
        reply = self._transport.request(
            "POST",
            "/auth/token",
            headers={"content-type": "application/json"},
            body=Secret(json.dumps(said).encode()),
        )
        if reply.status in (_UNAUTHORIZED, _FORBIDDEN):
            raise BackendConfigError(
                "Airflow knows nobody by access.airflow.user and its password",
                hint="correct them, and try by logging in to Airflow as that user",
            )
        if reply.status not in (_OK, _CREATED):
            raise _trouble(reply)
        found = json_in(reply.body)
        token = found.get("access_token") if isinstance(found, dict) else None
        if not isinstance(token, str) or not _is_plain(token):
            raise _no_answer()
        return Secret(token)


def _segment(name: str) -> str:
    return quote(name, safe="")


def _bearer(token: Secret[str]) -> Secret[str]:
    return Secret(f"Bearer {token.reveal()}")


def _is_plain(token: str) -> bool:
    return 0 < len(token) <= _MAX_TOKEN_CHARACTERS and token.isascii() and token.isprintable()


def _trouble(reply: Reply) -> BackendUnavailableError:
    wait = wait_in(reply.headers) if reply.status in (_THROTTLED, 503) else None
    return BackendUnavailableError(
        f"Airflow's REST API answered with status {reply.status}", backend=_PLACE, retry_after=wait
    )


def _no_answer() -> BackendUnavailableError:
    return BackendUnavailableError(
        "what answers at access.airflow.api is not Airflow's REST API", backend=_PLACE
    )


def _instance(said: Mapping[str, object]) -> Instance:
    version = said.get("dag_version")
    bundle: Mapping[str, object] = version if isinstance(version, dict) else {}
    return Instance(
        id=_text(said, "id"),
        dag_id=_text(said, "dag_id"),
        task_id=_text(said, "task_id"),
        run_id=_text(said, "dag_run_id"),
        map_index=_number(said, "map_index"),
        try_number=_number(said, "try_number"),
        state=_text(said, "state"),
        bundle=_text(bundle, "bundle_name"),
        bundle_version=_text(bundle, "bundle_version"),
        hostname=_text(said, "hostname"),
        pid=_number(said, "pid"),
    )


def _text(said: Mapping[str, object], name: str) -> str | None:
    found = said.get(name)
    return found if isinstance(found, str) and found else None


def _number(said: Mapping[str, object], name: str) -> int | None:
    found = said.get(name)
    return found if type(found) is int else None
