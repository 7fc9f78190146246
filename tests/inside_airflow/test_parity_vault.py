"""The backend `vault` beside Airflow's VaultBackend: tests/parity's table in Airflow 2, and logins in 3."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace

import pytest

from inside_airflow.both import both, wrong
from parity import test_vault
from parity.compare import Case, conn, var
from parts.openbao import Dev, shared
from parts.workloads import Issuer, Reviewer

# Airflow 2 knows no teams, and no folder of theirs.
OF_2 = [
    replace(case, asks=asks)
    for case in test_vault.CASES
    if "team" not in case.said
    and case.said != test_vault.REFUSES_FOLDERS
    and (asks := [ask for ask in case.asks if ask[2] is None])
]


AUDIENCE = "https://vault.test"
ASKS = [conn("uri"), var("text"), var("nowhere")]
REFUSED = [conn("uri", "B1"), var("text", "B1")]
# Words of a case are those of `logins`.
LOGINS = [
    Case(
        said="userpass",
        kwargs={"auth_type": "userpass", "username": "ada", "password": "PASSWORD"},
        asks=ASKS,
    ),
    Case(
        said="a wrong password",
        kwargs={"auth_type": "userpass", "username": "ada", "password": "wrong"},
        asks=REFUSED,
    ),
    Case(said="jwt", kwargs={"auth_type": "jwt", "jwt_role": "etl", "jwt_token": "JWT"}, asks=ASKS),
    Case(
        said="jwt in a file",
        kwargs={"auth_type": "jwt", "jwt_role": "etl", "jwt_token_path": "JWT_FILE"},
        asks=ASKS,
    ),
    Case(
        said="a jwt of somebody else",
        kwargs={"auth_type": "jwt", "jwt_role": "etl", "jwt_token": "FORGED"},
        asks=REFUSED,
    ),
    Case(
        said="kubernetes",
        kwargs={"auth_type": "kubernetes", "kubernetes_role": "airflow", "kubernetes_jwt_path": "POD"},
        asks=ASKS,
    ),
    Case(
        said="a role that kubernetes does not give",
        kwargs={"auth_type": "kubernetes", "kubernetes_role": "other", "kubernetes_jwt_path": "POD"},
        asks=REFUSED,
    ),
]


@contextmanager
def stocked(folder):
    with shared(Dev) as server:
        made = test_vault.made_in(server, folder)
        # Of a URI's query Airflow 2 reads what tasks of Airflow 3 read.
        yield [replace(made.of(case), dialect="sdk") for case in OF_2]


@contextmanager
def logins(folder):
    issuer, other = Issuer(), Issuer()
    inner = {"namespace": "data", "serviceaccount": {"name": "etl", "uid": "0-1"}}
    pod = issuer.sign(
        sub="system:serviceaccount:data:etl",
        aud=[AUDIENCE],
        iss="kubernetes/serviceaccount",
        **{"kubernetes.io": inner},
    )
    told = {"sub": "worker", "aud": AUDIENCE}
    words = {"PASSWORD": "right-horse", "JWT": issuer.sign(**told), "FORGED": other.sign(**told)}
    for word, text in (("JWT_FILE", words["JWT"]), ("POD", pod)):
        file = folder / word
        file.write_text(text)
        file.chmod(0o600)
        words[word] = str(file)
    reviewer = Reviewer(folder, accept={pod: "data:etl"}, audience=AUDIENCE, secret="reviewer-jwt")
    with shared(Dev) as server, reviewer:
        mount = server.mount()
        server.put(mount, "connections/uri", test_vault.CONNECTIONS["uri"])
        server.put(mount, "variables/text", {"value": "eu"})
        policy = server.policy(f'path "{mount}/*" {{ capabilities = ["read"] }}')
        mounts = methods(server, policy, issuer, reviewer)
        yield [of(case, server, mount, mounts, words) for case in LOGINS]


def methods(server, policy, issuer, reviewer):
    """Mount the methods, and give where by what they are."""
    userpass = server.auth("userpass")
    server.api("POST", f"auth/{userpass}/users/ada", {"password": "right-horse", "token_policies": policy})
    jwt = server.auth("jwt", jwt_validation_pubkeys=[issuer.public])
    bound = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [AUDIENCE],
        "token_policies": [policy],
    }
    server.api("POST", f"auth/{jwt}/role/etl", bound)
    kubernetes = server.auth(
        "kubernetes",
        kubernetes_host=reviewer.url("https"),
        kubernetes_ca_cert=reviewer.ca,
        token_reviewer_jwt="reviewer-jwt",
        disable_local_ca_jwt=True,
    )
    bound = {"bound_service_account_names": ["etl"], "bound_service_account_namespaces": ["data"]}
    role = {**bound, "audience": AUDIENCE, "token_policies": [policy]}
    server.api("POST", f"auth/{kubernetes}/role/airflow", role)
    return {"userpass": userpass, "jwt": jwt, "kubernetes": kubernetes}


def of(case, server, mount, mounts, words):
    said = {key: words.get(value, value) for key, value in case.kwargs.items()}
    where = {"url": server.url, "mount_point": mount, "auth_mount_point": mounts[said["auth_type"]]}
    return replace(case, kwargs={**where, **said})


@pytest.fixture(scope="session")
def told2(airflow):
    return both(airflow(2), "vault", stocked)


@pytest.fixture(scope="session")
def told3(airflow):
    return both(airflow(3), "vault", logins)


@pytest.mark.parametrize("said", [case.said for case in OF_2])
def test_vault_reads_as_in_airflow_2_or_differs_by_number(told2, said):
    assert wrong(told2, said) == []


@pytest.mark.parametrize("said", [case.said for case in LOGINS])
def test_a_login_that_airflow_is_told_is_ours_too(told3, said):
    assert wrong(told3, said) == []
