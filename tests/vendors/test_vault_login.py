"""Every way to log in to Vault that a real OpenBao has, and what its audit log says of it."""

import json
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from parts.certificates import Authority
from parts.openbao import until
from parts.proxy import Proxy, Scripted, reply
from parts.workloads import Issuer, Reviewer
from strongroom.backends.vault import Vault, VaultOptions
from strongroom.errors import BackendConfigError, NotAuthenticatedError, StrongroomError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.vendors.vault import VaultSession
from strongroom.vendors.vault_login_jwt import SERVICE_ACCOUNT_TOKEN
from strongroom.vendors.vault_options import VaultAccess, VaultAuth, login_of

AUDIENCE = "https://vault.test"


@pytest.fixture(scope="module")
def issuer():
    return Issuer()


@pytest.fixture
def proxy(bao):
    with Proxy("127.0.0.1", bao.port) as proxy:
        yield proxy


@pytest.fixture
def kv(bao):
    """A policy that may read one entry, and where that is."""
    mount = bao.mount()
    bao.put(mount, "variables/region", {"value": "eu"})
    policy = bao.policy(f'path "{mount}/data/variables/*" {{ capabilities = ["read"] }}')
    return policy, f"/v1/{mount}/data/variables/region"


@pytest.fixture
def opened():
    """Make sessions as settings would and close them at the end."""
    made = []

    def make(url, **words):
        session = VaultSession.of("vault", VaultAccess(url=url, **words))
        made.append(session)
        return session

    yield make
    for session in made:
        session.close()
        session.close()


def shown(error):
    return "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))


def refused(session, where="/v1/x"):
    """Give the refusal of a login, with its frames and what their names stand for."""
    with pytest.raises(StrongroomError) as caught:
        session.request("GET", where)
    error = caught.value.with_traceback(caught.value.__traceback__.tb_next)
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    return caught.value, shown(caught.value) + "".join(told.format())


def written(path, text, mode=0o600):
    path.write_text(text)
    path.chmod(mode)
    return path


# --- a password --------------------------------------------------------------------------------------


@pytest.fixture
def ada(bao, kv):
    """Ada, who logs in by userpass: the mount."""
    mount = bao.auth("userpass")
    bao.api("POST", f"auth/{mount}/users/ada", {"password": "right-horse", "token_policies": kv[0]})
    return mount


def test_userpass_logs_in_once_and_then_one_request_a_read(bao, proxy, kv, ada, opened):
    session = opened(
        proxy.url(),
        auth_type="userpass",
        auth_mount_point=ada,
        username="ada",
        password=Secret("right-horse"),
    )
    assert [session.request("GET", kv[1]).status for _ in range(3)] == [200] * 3
    assert proxy.lines == [f"POST /v1/auth/{ada}/login/ada", *[f"GET {kv[1]}"] * 3]


def test_wrong_password_is_not_authenticated_is_backed_off_and_does_not_print(bao, proxy, kv, ada, opened):
    session = opened(
        proxy.url(),
        auth_type="userpass",
        auth_mount_point=ada,
        username="ada",
        password=Secret("wrong-canary"),
    )
    error, told = refused(session, kv[1])
    assert isinstance(error, NotAuthenticatedError)
    assert str(error) == "userpass refused the login of the backend vault"
    assert "backend.vault.username, password" in error.hint
    refused(session, kv[1])
    assert len(proxy.lines) == 1
    assert "wrong-canary" not in told
    assert "ada'" not in told


def test_password_that_was_replaced_is_fetched_and_tried_at_once(bao, proxy, kv, ada, opened):
    passwords = iter(["old", "right-horse"])
    session = opened(
        proxy.url(),
        auth_type="userpass",
        auth_mount_point=ada,
        username="ada",
        password=lambda: Secret(next(passwords)),
    )
    assert session.request("GET", kv[1]).status == 200


def test_token_of_a_password_is_renewed_and_replaced_at_its_longest_life(bao, proxy, kv, opened):
    mount = bao.auth("userpass")
    body = {"password": "p", "token_policies": kv[0], "token_ttl": "2s", "token_max_ttl": "3s"}
    bao.api("POST", f"auth/{mount}/users/ada", body)
    session = opened(
        proxy.url(), auth_type="userpass", auth_mount_point=mount, username="ada", password=Secret("p")
    )
    where = f"POST /v1/auth/{mount}/login/ada"

    def is_replaced():
        assert session.request("GET", kv[1]).status == 200
        return proxy.lines.count(where) == 2

    until(is_replaced, what="a second login")
    assert "POST /v1/auth/token/renew-self" in proxy.lines
    assert "GET /v1/auth/token/lookup-self" not in proxy.lines  # no token was ever refused


@pytest.mark.parametrize("name", ["..", ".", "../../sys/health", "a/b", "a\\b", "a\nb"])
def test_name_that_would_be_a_path_is_refused_at_the_start(opened, name):
    with pytest.raises(BackendConfigError, match="username holds what no name does"):
        opened("http://127.0.0.1:1", auth_type="ldap", username=name, password=Secret("p"))


def test_name_is_spelled_whatever_is_in_it(bao, proxy, kv, opened):
    mount = bao.auth("userpass")
    session = opened(
        proxy.url(),
        auth_type="userpass",
        auth_mount_point=mount,
        username="ada?x=1 @é#%",
        password=Secret("p"),
    )
    refused(session, kv[1])
    assert proxy.lines == [f"POST /v1/auth/{mount}/login/ada%3Fx%3D1%20%40%C3%A9%23%25"]


def test_login_that_asks_for_a_second_factor_says_so(opened):
    auth = {"client_token": "", "lease_duration": 0, "mfa_requirement": {"mfa_request_id": "x"}}
    body = json.dumps({"request_id": "x", "auth": auth}).encode()
    with Scripted(lambda _: reply(200, {}, body)) as server:
        session = opened(server.url(), auth_type="ldap", username="ada", password=Secret("p"))
        error, _ = refused(session)
        assert isinstance(error, NotAuthenticatedError)
        assert "second factor" in str(error)


# --- a signed token of a workload --------------------------------------------------------------------


@pytest.fixture
def jwt(bao, kv, issuer):
    mount = bao.auth("jwt", jwt_validation_pubkeys=[issuer.public])
    role = {
        "role_type": "jwt",
        "user_claim": "sub",
        "bound_audiences": [AUDIENCE],
        "bound_claims": {"dag_id": "etl"},
        "token_policies": [kv[0]],
    }
    bao.api("POST", f"auth/{mount}/role/etl", role)
    return mount


@pytest.mark.parametrize("method", ["jwt", "oidc"])
def test_jwt_logs_in_with_a_fetched_token(proxy, kv, jwt, issuer, opened, method):
    token = issuer.sign(sub="worker", aud=AUDIENCE, dag_id="etl")
    session = opened(
        proxy.url(), auth=VaultAuth(method=method, mount_point=jwt, jwt_role="etl", jwt_token=Secret(token))
    )
    assert session.request("GET", kv[1]).status == 200
    assert proxy.lines[0] == f"POST /v1/auth/{jwt}/login"


def test_jwt_of_a_file_is_read_anew_at_each_login(bao, kv, jwt, issuer, opened, tmp_path):
    path = written(tmp_path / "jwt", issuer.sign(sub="worker", aud=AUDIENCE, dag_id="etl") + "\n")
    session = opened(bao.url, auth_type="jwt", auth_mount_point=jwt, jwt_role="etl", jwt_token_path=path)
    assert session.request("GET", kv[1]).status == 200
    written(path, issuer.sign(sub="worker", aud=AUDIENCE, dag_id="other"))
    bao.revoke(session.standing()[0].reveal())
    error, told = refused(session, kv[1])
    assert isinstance(error, NotAuthenticatedError)
    assert "jwt_token_path" in error.hint
    assert path.read_text() not in told


def test_jwt_that_the_role_does_not_bind_is_refused_without_showing_it(bao, kv, jwt, issuer, opened):
    token = issuer.sign(sub="worker", aud="https://elsewhere", dag_id="etl")
    session = opened(bao.url, auth_type="jwt", auth_mount_point=jwt, jwt_role="etl", jwt_token=Secret(token))
    error, told = refused(session, kv[1])
    assert isinstance(error, NotAuthenticatedError)
    assert token not in told
    assert token.rpartition(".")[2] not in told


def test_method_that_is_mounted_and_not_configured_is_told_apart(bao, opened):
    session = opened(bao.url, auth_type="jwt", auth_mount_point=bao.auth("jwt"), jwt_token=Secret("a.b.c"))
    error, _ = refused(session)
    assert isinstance(error, BackendConfigError)
    assert "not configured yet" in str(error)


# --- kubernetes --------------------------------------------------------------------------------------


def service_account(issuer, name):
    inner = {"namespace": "data", "serviceaccount": {"name": name, "uid": "0-1"}}
    subject = f"system:serviceaccount:data:{name}"
    return issuer.sign(
        sub=subject, aud=[AUDIENCE], iss="kubernetes/serviceaccount", **{"kubernetes.io": inner}
    )


@pytest.fixture
def pod(bao, kv, issuer, tmp_path):
    """A pod of the service account `etl`: its token's file, the mount of the method, and who reviews."""
    token = service_account(issuer, "etl")
    reviewer = Reviewer(tmp_path, accept={token: "data:etl"}, audience=AUDIENCE, secret="reviewer-jwt")
    with reviewer:
        mount = bao.auth(
            "kubernetes",
            kubernetes_host=reviewer.url("https"),
            kubernetes_ca_cert=reviewer.ca,
            token_reviewer_jwt="reviewer-jwt",
            disable_local_ca_jwt=True,
        )
        role = {
            "bound_service_account_names": ["etl"],
            "bound_service_account_namespaces": ["data"],
            "audience": AUDIENCE,
            "token_policies": [kv[0]],
            "token_ttl": "20s",
        }
        bao.api("POST", f"auth/{mount}/role/airflow", role)
        yield written(tmp_path / "token", token), mount, reviewer


def in_pod(pod, role="airflow"):
    words = {"auth_mount_point": pod[1], "kubernetes_role": role, "kubernetes_jwt_path": pod[0]}
    return {"auth_type": "kubernetes", **words}


def test_pod_logs_in_with_its_service_account_once_for_fifty_threads(bao, proxy, kv, pod, opened):
    session = opened(proxy.url(), **in_pod(pod))
    together = threading.Barrier(50)

    def ask(_):
        together.wait(10)
        return session.request("GET", kv[1]).status

    with ThreadPoolExecutor(50) as pool:
        assert list(pool.map(ask, range(50))) == [200] * 50
    assert pod[2].reviews == 1
    assert proxy.lines.count(f"POST /v1/auth/{pod[1]}/login") == 1


def test_pod_logs_in_again_with_the_token_that_kubernetes_put_there_meanwhile(bao, kv, pod, issuer, opened):
    session = opened(bao.url, **in_pod(pod))
    session.request("GET", kv[1])
    fresh = service_account(issuer, "etl")
    pod[2].accept.clear()
    pod[2].accept[fresh] = "data:etl"
    written(pod[0], fresh)
    bao.revoke(session.standing()[0].reveal())
    assert session.request("GET", kv[1]).status == 200
    assert pod[2].reviews == 2


def test_pod_of_another_account_is_refused(bao, kv, pod, issuer, opened):
    token = service_account(issuer, "other")
    pod[2].accept[token] = "data:other"
    written(pod[0], token)
    error, told = refused(opened(bao.url, **in_pod(pod)), kv[1])
    assert isinstance(error, NotAuthenticatedError)
    assert "kubernetes_role" in error.hint
    assert token not in told


def test_process_in_no_pod_is_told_which_file_is_missing(bao, opened):
    session = opened(bao.url, auth_type="kubernetes", kubernetes_role="airflow")
    error, _ = refused(session)
    assert isinstance(error, NotAuthenticatedError)
    assert "kubernetes_jwt_path" in error.hint
    assert str(session._tokens._login._file._path) == SERVICE_ACCOUNT_TOKEN


# --- a certificate -----------------------------------------------------------------------------------


def test_certificate_logs_in_where_its_authority_is_trusted(bao_raft, opened, tmp_path):
    mine, strangers = Authority(tmp_path, "mine"), Authority(tmp_path, "strangers")
    mount = bao_raft.auth("cert")
    body = {
        "certificate": mine.file.read_text(),
        "allowed_common_names": "worker",
        "token_policies": "default",
    }
    bao_raft.api("POST", f"auth/{mount}/certs/workers", body)
    for authority, name, role, is_let_in in (
        (mine, "worker", "workers", True),
        (mine, "worker", None, True),
        (mine, "other", "workers", False),
        (strangers, "worker", "workers", False),
    ):
        certificate, key = authority.issue(name)
        session = opened(
            bao_raft.url,
            ca=bao_raft.ca,
            client_cert=certificate,
            client_key=key,
            auth=VaultAuth(method="cert", mount_point=mount, role_id=role),
        )
        if is_let_in:
            assert session.request("GET", "/v1/auth/token/lookup-self").status == 200
        else:
            error, _ = refused(session)
            assert isinstance(error, NotAuthenticatedError)
            assert "client_cert" in error.hint


# --- a token that is there ---------------------------------------------------------------------------


def test_token_of_the_helper_is_used_only_where_it_is_asked_for(bao, kv, opened, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path / ".vault-token", bao.token(kv[0]))
    assert opened(bao.url, token_helper=True).request("GET", kv[1]).status == 200
    elsewhere = written(tmp_path / "mine", bao.token(kv[0]))
    assert opened(bao.url, token_helper=elsewhere).request("GET", kv[1]).status == 200
    with pytest.raises(BackendConfigError, match="has no token"):
        login_of("vault", VaultAccess(url=bao.url, token_helper=False))


# --- what the server wrote down ----------------------------------------------------------------------


def test_audit_log_tells_of_one_login_and_one_request_a_read(bao_raft, opened):
    mount = bao_raft.mount()
    bao_raft.put(mount, "variables/region", {"value": "eu"})
    policy = bao_raft.policy(f'path "{mount}/data/variables/*" {{ capabilities = ["read"] }}')
    users = bao_raft.auth("userpass")
    bao_raft.api("POST", f"auth/{users}/users/ada", {"password": "right-horse", "token_policies": policy})
    roles = bao_raft.role(policy)
    ways = {
        f"auth/{users}/login/ada": {
            "auth": VaultAuth(
                method="userpass", mount_point=users, username="ada", password=Secret("right-horse")
            )
        },
        f"auth/{roles.mount}/login": {
            "auth": VaultAuth(
                method="approle",
                mount_point=roles.mount,
                role_id=roles.role_id,
                secret_id=Secret(roles.secret_id()),
            )
        },
    }
    for login, words in ways.items():
        session = opened(bao_raft.url, ca=bao_raft.ca, timeout=timedelta(seconds=10), **words)
        begun, together = bao_raft.audit_size(), threading.Barrier(50)

        def ask(_, session=session, together=together):
            together.wait(30)
            return session.request("GET", f"/v1/{mount}/data/variables/region").status

        with ThreadPoolExecutor(50) as pool:
            assert list(pool.map(ask, range(50))) == [200] * 50
        read = ("read", f"{mount}/data/variables/region")
        asked = bao_raft.audit(begun)
        assert asked[0] == ("update", login)
        assert asked[1:] == [read] * 50
    assert "right-horse" not in (Path(bao_raft.folder) / "audit.log").read_text()


def test_audit_log_tells_of_one_request_a_read_through_the_backend_by_certificate(bao_raft, tmp_path):
    mount = bao_raft.mount()
    for number in range(30):
        bao_raft.put(mount, f"connections/c{number}", {"conn_uri": f"http://h{number}"})
    policy = bao_raft.policy(f'path "{mount}/data/connections/*" {{ capabilities = ["read"] }}')
    authority, method = Authority(tmp_path, "mine"), bao_raft.auth("cert")
    body = {"certificate": authority.file.read_text(), "token_policies": policy}
    bao_raft.api("POST", f"auth/{method}/certs/workers", body)
    certificate, key = authority.issue("worker")
    options = VaultOptions(
        url=bao_raft.url,
        ca=bao_raft.ca,
        cert=(certificate, key),
        auth_type="cert",
        auth_mount_point=method,
        mount_point=mount,
        timeout=timedelta(seconds=10),
    )
    backend = Vault("vault", options, lambda: datetime.now(timezone.utc))
    begun = bao_raft.audit_size()
    with ThreadPoolExecutor(50) as pool:
        found = list(pool.map(lambda number: backend.read(Ref("connection", f"c{number % 30}")), range(50)))
    backend.close()
    assert all(entry is not None for entry in found)
    asked = bao_raft.audit(begun)
    assert asked[0] == ("update", f"auth/{method}/login")
    reads = [("read", f"{mount}/data/connections/c{number % 30}") for number in range(50)]
    assert sorted(asked[1:]) == sorted(reads)
