"""
What verifies runs of Airflow, by `[access.airflow]`: on a server for its agents, or in an agent without one.

Not for how it is done: `service/runs.py`, `service/verified.py`.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from datetime import timedelta
from typing import TYPE_CHECKING

from strongroom.service.receipt import Receipts
from strongroom.service.runs import Proven, Runs, Unproven
from strongroom.service.used import UsedTokens
from strongroom.service.verified import VerifiedRuns
from strongroom.settings.source import Fetcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from strongroom.barrier import Barrier
    from strongroom.policy import Actor, Run
    from strongroom.registry import Registry
    from strongroom.service.guard import Recorder
    from strongroom.service.runs import Once, Presented, Verified
    from strongroom.settings import Settings
    from strongroom.settings.runs import AirflowRunSettings
    from strongroom.settings.source import SecretSource
    from strongroom.vendors.airflow_runs import AirflowApi
    from strongroom.vendors.jwks import FileKeys, UrlKeys
    from strongroom.vendors.jwt import Verifier

_NAME = "airflow"
_ALGORITHMS = ("EdDSA", "RS256")  # what Airflow signs with: by the type of its private key
_ASYMMETRIC = (
    "set [api_auth] jwt_private_key_path of Airflow to an Ed25519 or RSA key, and [api_auth] trusted_jwks_url"
    " to its public half, which access.airflow.jwks names here; unset jwt_secret"
)
_TO_COMPARE = {
    "another issuer": "access.airflow.issuer must be [api_auth] jwt_issuer of that Airflow, to the letter",
    "another audience": "access.airflow.audience must be [execution_api] jwt_audience of that Airflow",
    "a key the issuer does not have": "access.airflow.jwks must name the keys of [api_auth] trusted_jwks_url",
}
_MAX_HEADER_CHARACTERS = 2048


def verified_runs(
    settings: Settings,
    barrier: Barrier,
    registry: Registry,
    recorder: Recorder,
    *,
    clock: Callable[[], datetime],
    environ: Mapping[str, str],
) -> VerifiedRuns:
    """
    Give what verifies runs for the agents of a server's deployment.

    Raises:
        BackendConfigError: the keys of Airflow cannot be read.
    """
    airflow = settings.access.airflow
    once = UsedTokens(registry, clock)
    runs = None if airflow is None else _runs(airflow, once, recorder, clock=clock, environ=environ)
    return VerifiedRuns(runs, Receipts(barrier, settings.deployment), recorder=recorder, clock=clock)


def own_runs(
    settings: Settings,
    once: Once,
    recorder: Recorder,
    *,
    clock: Callable[[], datetime],
    environ: Mapping[str, str],
) -> OwnRuns | None:
    """
    Give what an agent verifies runs with itself; None where its settings name no Airflow.

    Args:
        settings: of the agent.
        once: remembers used tokens for as long as the agent lives, whatever settings it takes.
        recorder: as of `Runs`; so are the others.
        clock: the wall clock, UTC.
        environ: where secrets of the settings may stand.

    Raises:
        BackendConfigError: the keys of Airflow cannot be read.
    """
    airflow = settings.access.airflow
    if airflow is None:
        return None
    return OwnRuns(_runs(airflow, once, recorder, clock=clock, environ=environ), clock)


class OwnRuns:
    """A `RunVerifier` of an agent without a server."""

    def __init__(self, runs: Runs, clock: Callable[[], datetime]) -> None:
        self.close = runs.close
        self._runs = runs
        self._clock = clock

    def verify(self, actor: Actor, presented: Presented) -> Proven:
        """As `RunVerifier.verify`."""
        return self._proven(self._runs.verify(actor, presented))

    def renew(self, actor: Actor, run: Run) -> Proven:
        """As `RunVerifier.renew`."""
        return self._proven(self._runs.renew(actor, run))

    def _proven(self, verified: Verified) -> Proven:
        return Proven(verified.run, max(timedelta(0), verified.ends - self._clock()))


def _runs(
    airflow: AirflowRunSettings,
    once: Once,
    recorder: Recorder,
    *,
    clock: Callable[[], datetime],
    environ: Mapping[str, str],
) -> Runs:
    keys, asking = _keys(airflow), _asking(airflow, environ)

    def close() -> None:
        asking.close()
        keys.close()

    return Runs(
        _checking(_verifier(airflow, keys, clock)),
        asking,
        once,
        recorder=recorder,
        clock=clock,
        states=airflow.states,
        lifetime=timedelta(seconds=airflow.receipt_seconds),
        close=close,
    )


def _verifier(
    airflow: AirflowRunSettings, keys: FileKeys | UrlKeys, clock: Callable[[], datetime]
) -> Verifier:
    from strongroom.vendors.jwt import Verifier  # noqa: PLC0415 -- only who verifies

    return Verifier(
        issuer=airflow.issuer,
        audience=airflow.audience,
        algorithms=_ALGORITHMS,
        keys=keys,
        clock=clock,
        longest=timedelta(seconds=airflow.max_token_seconds),
        types=("jwt",),
    )


def _asking(airflow: AirflowRunSettings, environ: Mapping[str, str]) -> AirflowApi:
    from strongroom.vendors.airflow_runs import AirflowApi, AirflowApiOptions  # noqa: PLC0415 -- as above

    def fetched(source: SecretSource | None) -> Fetcher | None:
        return None if source is None else Fetcher(source, environ)

    return AirflowApi(
        AirflowApiOptions(
            url=airflow.api,
            user=airflow.user,
            password=fetched(airflow.password),
            token=fetched(airflow.token),
            timeout=timedelta(seconds=airflow.timeout_seconds),
            ca=airflow.ca,
        )
    )


def _keys(airflow: AirflowRunSettings) -> FileKeys | UrlKeys:
    from strongroom.vendors.jwks import FileKeys, UrlKeys  # noqa: PLC0415 -- as above

    if airflow.jwks is not None:
        return FileKeys(_NAME, airflow.jwks)
    return UrlKeys(_NAME, url=airflow.jwks_url, issuer=airflow.issuer, ca=airflow.ca)


def _checking(verifier: Verifier) -> Callable[[str], Mapping[str, object]]:
    from strongroom.vendors.jwt import TokenError  # noqa: PLC0415 -- as above

    def check(token: str) -> Mapping[str, object]:
        try:
            return verifier.verify(token).all
        except TokenError as error:
            reason = error.reason
        if _is_of_shared_secret(token):
            raise Unproven("Airflow signs with a secret that it shares (HS512)", _ASYMMETRIC)
        raise Unproven(f"the token proves nothing: {reason}", _TO_COMPARE.get(reason))

    return check


def _is_of_shared_secret(token: str) -> bool:
    """Tell whether a token that proves nothing says it is signed as Airflow does unless told otherwise."""
    head = token.partition(".")[0][:_MAX_HEADER_CHARACTERS]
    try:
        said = json.loads(urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (Base64Error, ValueError, RecursionError):
        return False
    algorithm = said.get("alg") if isinstance(said, dict) else None
    return isinstance(algorithm, str) and algorithm.startswith("HS")
