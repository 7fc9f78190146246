"""What the backend `vault` writes, read by Airflow's VaultBackend from one real OpenBao."""

from datetime import datetime, timezone

import pytest

from parity.compare import Case, check, conn, var
from parts.openbao import bao  # noqa: F401 -- a fixture
from strongroom.backends.vault import Vault, VaultOptions
from strongroom.model.entry import Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret

CONNECTIONS = {
    "uri": "postgres://us%40er:p%2Fss@db.example:5432/sales?sslmode=require",
    "json": '{"conn_type": "http", "password": "p/\\u00e9", "port": 80, "extra": {"a": [1, true, null]}}',
}
VARIABLES = {"text": " eu\n", "json": '{"a": 1.50}', "a#b?c=d%": "x", "empty": "", "\u00e9/\u00fc": "\u00e9"}


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("shape", ["given", "uri", "json", "fields"])
def test_airflow_reads_what_is_written(airflow, bao, tmp_path, version, shape):  # noqa: F811
    mount = bao.mount(version)
    table = {"url": bao.url, "mount_point": mount, "kv_engine_version": version}
    options = VaultOptions(**table, token=Secret(bao.root), connection_shape=shape)
    backend = Vault("vault", options, lambda: datetime.now(timezone.utc))
    held = {Ref("connection", name): text for name, text in CONNECTIONS.items()}
    held |= {Ref("variable", name): text for name, text in VARIABLES.items()}
    kept = [ref for ref in held if not (shape == "uri" and ref == ("connection", "json", None))]
    backend.write_many([Draft(ref=ref, secret=Secret(held[ref]), author="ada") for ref in kept])
    for ref in kept:
        assert backend.read(ref) is not None
    backend.close()
    case = Case(
        said="written",
        kwargs={**table, "token": bao.root},
        ours={"token": {"env": "BAO_TOKEN"}},
        environ={"BAO_TOKEN": bao.root},
        asks=[conn(ref.name) if ref.kind == "connection" else var(ref.name) for ref in kept],
    )
    check(airflow, "vault", case, tmp_path)
