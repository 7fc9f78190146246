"""
A thousand entries out of each foreign store, one at a time and together, over a slow wire.

The stores are OpenBao, moto, and the tests' fakes of Google, Azure and Kubernetes, each in a process of its
own, behind a wire that counts requests (`bench/latency.py`, which repeats what was once answered to a GET)
and answers late: 5 ms for what stands in one's own network, 20 ms for the clouds. Rounds of both ways are
interleaved.

Cold: what it costs a process to find a kind, beside loading the vendor's SDK, which the first read pays.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import median
from typing import Any

from bench.latency import slow
from bench.stores import store
from strongroom.backend import PathBackend, kinds, load
from strongroom.model.entry import Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret

TITLE = "A thousand entries of a foreign store: together beside one at a time"
ROUNDS = 2
COLD_ROUNDS = 7
ENTRIES = 1000
ASKED = "≥ 8 times faster"
REFS = [Ref("variable", f"v{number:04}") for number in range(ENTRIES)]
NEAR, FAR = 0.005, 0.020  # seconds: in one's own network, in a cloud
TIMEOUT = timedelta(seconds=30)

Made = Callable[[dict[str, Any], str], PathBackend[Any]]


def _clock() -> datetime:
    return datetime.now(timezone.utc)


def _make(kind: str, **said: object) -> PathBackend[Any]:
    made: Any = load(kind)
    needs = {"environ": {}} if getattr(made, "needs_environ", False) else {}
    return made("bench", made.options_type(**said), clock=_clock, **needs)  # type: ignore[no-any-return]


def vault(told: dict[str, Any], url: str) -> PathBackend[Any]:
    return _make("vault", url=url, token=Secret(told["token"]), timeout=TIMEOUT)


def secrets_manager(_told: dict[str, Any], url: str) -> PathBackend[Any]:
    return _make("aws_secrets_manager", **_aws(url))


def parameter_store(_told: dict[str, Any], url: str) -> PathBackend[Any]:
    return _make("aws_parameter_store", **_aws(url))


def _aws(url: str) -> dict[str, Any]:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from parts.aws import access  # noqa: PLC0415 -- as the tests spell it

    return {**access(url), "timeout": TIMEOUT}


def google_rest(told: dict[str, Any], url: str) -> PathBackend[Any]:
    return _google(told, url, "rest")


def google_grpc(told: dict[str, Any], url: str) -> PathBackend[Any]:
    return _google(told, url, "grpc")


def _google(told: dict[str, Any], url: str, transport: str) -> PathBackend[Any]:
    return _make(
        "gcp_secret_manager",
        project_id=told["project"],
        gcp_keyfile_dict=Secret(told["key"]),
        endpoint=url,
        transport=transport,
        timeout=TIMEOUT,
    )


def azure(told: dict[str, Any], url: str) -> PathBackend[Any]:
    return _make(
        "azure_key_vault",
        vault_url=url,
        authority=url,
        tenant_id=told["tenant"],
        client_id=told["client"],
        client_secret=Secret(told["secret"]),
        ca=Path(told["ca"]),
        timeout=TIMEOUT,
    )


def kubernetes(told: dict[str, Any], url: str) -> PathBackend[Any]:
    return _make("kubernetes", url=url, token=Secret(told["token"]), namespace="airflow", timeout=TIMEOUT)


def kubernetes_by_name(told: dict[str, Any], url: str) -> PathBackend[Any]:
    return _make(
        "kubernetes",
        url=url,
        token=Secret(told["token"]),
        namespace="airflow",
        timeout=TIMEOUT,
        find="name",
    )


WAYS: tuple[tuple[str, str, Made, str, float], ...] = (
    ("OpenBao, KV 2", "vault", vault, "port", NEAR),
    ("AWS Secrets Manager (moto)", "aws", secrets_manager, "port", FAR),
    ("AWS Parameter Store (moto)", "aws", parameter_store, "port", FAR),
    ("Google Secret Manager, REST (fake)", "google", google_rest, "port", FAR),
    ("Google Secret Manager, gRPC (fake)", "google", google_grpc, "grpc", FAR),
    ("Azure Key Vault (fake)", "azure", azure, "port", FAR),
    ("Kubernetes, by label (fake)", "kubernetes", kubernetes, "port", NEAR),
    ("Kubernetes, by name (fake)", "kubernetes", kubernetes_by_name, "port", NEAR),
)


def measure() -> list[dict[str, object]]:
    return [*(_row(*way) for way in WAYS), *_cold_rows()]


def _row(label: str, kind: str, make: Made, port: str, away: float) -> dict[str, object]:
    with _opened(kind, make, port, away) as (backend, count):
        alone, together, asked = [], [], (0, 0)
        for _ in range(ROUNDS):
            begun, before = time.perf_counter(), count()
            for ref in REFS:
                assert backend.read(ref) is not None
            alone.append(time.perf_counter() - begun)
            begun, middle = time.perf_counter(), count()
            found = backend.read_many(REFS)
            together.append(time.perf_counter() - begun)
            assert [one and one.secret.reveal() for one in found] == [ref.name for ref in REFS]
            asked = (middle - before, count() - middle)
        ours, peer = median(together), median(alone)
        return {
            "path": f"{label}, {away * 1000:.0f} ms away",
            "ours": ours,
            "peer": peer,
            "unit": "s",
            "ratio": ours / peer,
            "target": f"{ASKED}: {peer / ours:.1f}",
            "note": f"{label}: {asked[0]} requests one at a time, {asked[1]} together"
            if port == "port"
            else f"{label}: HTTP/2 is not counted",
        }


@contextmanager
def _opened(
    kind: str, make: Made, port: str, away: float
) -> Iterator[tuple[PathBackend[Any], Callable[[], int]]]:
    """Fill a store with the entries, and give a backend behind the wire that has read once."""
    with ExitStack() as stack:
        told = stack.enter_context(store(kind))
        pair = tuple(map(Path, told["certificate"])) if "certificate" in told else None
        wire = stack.enter_context(slow(told[port], away, pair))  # type: ignore[arg-type]  # two of them
        scheme = "https" if pair else "http"
        # Filled past the wire where it has no TLS of its own.
        near = make(told, f"{scheme}://127.0.0.1:{wire.port if pair else told[port]}")
        stack.callback(near.close)
        _fill(near)
        backend = make(told, f"{scheme}://127.0.0.1:{wire.port}")
        stack.callback(backend.close)
        assert backend.read(REFS[0]) is not None
        yield backend, lambda: wire.requests


def _fill(backend: Any) -> None:
    for ref in REFS:
        backend.write(Draft(ref=ref, secret=Secret(ref.name), author="bench"))


# --- cold ----------------------------------------------------------------------------------------------

SDKS = {
    "aws_secrets_manager": "import boto3; boto3.session.Session().client('secretsmanager', 'eu-west-1')",
    "aws_parameter_store": "import boto3; boto3.session.Session().client('ssm', 'eu-west-1')",
    "gcp_secret_manager": "import google.cloud.secretmanager_v1",
    "azure_key_vault": "import azure.identity, azure.keyvault.secrets",
    "kubernetes": "import lightkube",
}


def _cold_rows() -> list[dict[str, object]]:
    scripts = {"import": "import strongroom"}
    for kind in sorted(kinds() - {"remote"}):
        scripts[kind] = f"from strongroom.backend import load; load({kind!r})"
    scripts |= {f"sdk {kind}": code for kind, code in SDKS.items()}
    times: dict[str, list[float]] = {name: [] for name in scripts}
    for _ in range(COLD_ROUNDS):
        for name, code in scripts.items():
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times[name].append((time.perf_counter() - begun) * 1000)
    return [
        {
            "path": f"a process that finds the kind {kind}",
            "ours": median(times[kind]),
            "peer": median(times[f"sdk {kind}"]) if kind in SDKS else median(times["import"]),
            "unit": "ms",
            "ratio": median(times[kind]) / median(times[f"sdk {kind}" if kind in SDKS else "import"]),
            "target": "no SDK is loaded",
            "note": "cold: the peer loads the vendor's SDK; where there is none, it is `import strongroom`",
        }
        for kind in scripts
        if kind != "import" and not kind.startswith("sdk ")
    ]
