"""Kubernetes' client against a strict API server: who asks, rotation, watches, certificates, trouble."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import traceback
from base64 import b64encode
from pathlib import Path

import pytest

import strongroom
from parts.held import kept
from parts.kubernetes import NAMESPACE, cluster, cluster_server
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError

if not os.environ.get("CI"):  # there it must be
    pytest.importorskip("lightkube")

import httpx2
import lightkube
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Secret as Kept

from strongroom.live import kubernetes as family
from strongroom.live.web_transport import Transport

__all__ = ["cluster", "cluster_server"]


def config(cluster, user, **said):
    """Give a kubeconfig that stands in a connection, as JSON."""
    place = cluster.folder / "inside"
    given = json.loads(cluster.kubeconfig(place, user).read_text())
    inner = given["clusters"][0]["cluster"]
    if "certificate-authority" in inner:
        inner["certificate-authority-data"] = b64encode(
            Path(inner.pop("certificate-authority")).read_bytes()
        ).decode()
    inner.update(said)
    return json.dumps(given)


def fields(cluster, token, **extra):
    return {"conn_type": "kubernetes", "extra": {"kube_config": config(cluster, {"token": token}), **extra}}


def refused(work, kind, step, reason):
    with pytest.raises(strongroom.StrongroomError) as caught:
        work()
    error = caught.value
    assert (type(error), error.step, error.reason) == (kind, step, reason)
    said = f"{error!r} {error.hint} {vars(error)} {''.join(traceback.format_exception(error))}"
    assert "c4nary" not in said
    assert "backend" not in f"{error} {error.hint}"
    return error


@pytest.fixture
def token(cluster):
    cluster.put("orders", {"value": "1"})
    token = cluster.account("reader", "token-c4nary-1")
    cluster.allow("reader", "get", "list", "watch", "create")
    return token


@pytest.fixture
def stored(cluster, token):
    with kept("k8s", **fields(cluster, token)) as stored:
        yield stored


@pytest.fixture
def client(stored):
    with family.client(stored.held, stored.asked()) as client:
        yield client


def rotate(cluster, old, new):
    cluster.tokens[new] = cluster.tokens.pop(old)


def test_a_client_is_the_librarys_own_and_asks_as_the_connection_says(client, cluster):
    assert type(client) is lightkube.Client
    assert client.namespace == NAMESPACE
    assert client.get(Kept, "orders").metadata.name == "orders"
    assert cluster.asked[-1][2].endswith(":reader")


def test_an_asynchronous_client_asks_and_follows_too(stored, cluster, token):
    async def work():
        client = await family.aclient(stored.held, stored.asked())
        assert type(client) is lightkube.AsyncClient
        names = [found.metadata.name async for found in client.list(Kept)]
        rotate(cluster, token, "token-c4nary-2")
        stored.write(**fields(cluster, "token-c4nary-2"))
        await client.get(Kept, "orders")
        await client.close()
        return names

    assert asyncio.run(work()) == ["orders"]


def test_a_token_that_was_rotated_is_read_once_and_asked_with_once_more(stored, client, cluster, token):
    client.get(Kept, "orders")
    rotate(cluster, token, "token-c4nary-2")
    stored.write(**fields(cluster, "token-c4nary-2"))
    made = client.create(Kept(metadata=ObjectMeta(name="new"), stringData={"value": "2"}))
    assert made.metadata.name == "new"
    assert stored.questions == 1
    client.get(Kept, "orders")
    assert stored.questions == 1


def test_a_wrong_token_is_told_after_one_question(stored, client, cluster, token):
    rotate(cluster, token, "nobody-knows")
    refused(lambda: client.get(Kept, "orders"), AccessDeniedError, "authentication", "credentials")
    assert stored.questions == 1


def test_a_right_that_is_missing_is_the_librarys_own(client, cluster):
    cluster.forbid("reader")
    with pytest.raises(lightkube.ApiError) as caught:
        client.get(Kept, "orders")
    assert caught.value.status.code == 403


def test_a_watch_goes_on_while_the_token_changes(stored, client, cluster, token):
    seen = client.watch(Kept, server_timeout=10)
    assert next(seen)[1].metadata.name == "orders"
    rotate(cluster, token, "token-c4nary-2")
    stored.write(**fields(cluster, "token-c4nary-2"))
    stored.tell()
    cluster.put("orders", {"value": "2"})
    assert next(seen)[0] == "MODIFIED"
    assert client.get(Kept, "orders").metadata.name == "orders"
    seen.close()


@pytest.mark.parametrize("extra", [None, {"in_cluster": "true"}])
def test_a_pod_asks_as_its_service_account_whose_token_the_kubelet_replaces(cluster, token, tmp_path, extra):
    (tmp_path / "token").write_text(token)
    (tmp_path / "namespace").write_text(NAMESPACE)
    (tmp_path / "ca.crt").write_bytes(Path(cluster.ca).read_bytes())
    environ = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(cluster.port)}
    with kept("k8s", conn_type="kubernetes", extra=extra) as stored:
        login = family.ClusterLogin(stored.held, stored.asked(environ=environ).around, tmp_path)
        with httpx2.Client(transport=Transport(login, {}), base_url=login.place.url) as client:
            path = f"/api/v1/namespaces/{login.place.namespace}/secrets/orders"
            assert client.get(path).status_code == 200
            rotate(cluster, token, "next")
            (tmp_path / "token").write_text("next")
            assert client.get(path).status_code == 200
            rotate(cluster, "next", "told nobody")
            refused(lambda: client.get(path), AccessDeniedError, "authentication", "credentials")


def test_a_kubeconfig_in_a_file_may_name_files_and_programs(cluster, token, tmp_path):
    (tmp_path / "token").write_text(token)
    path = cluster.kubeconfig(tmp_path / "config", {"tokenFile": str(tmp_path / "token")})
    said = {"kube_config_path": str(path), "cluster_context": "test", "namespace": "other"}
    cluster.allow("reader", "list", namespace="other")
    with (
        kept("k8s", conn_type="kubernetes", extra=said) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        assert client.namespace == "other"
        assert list(client.list(Kept)) == []
        assert client.get(Kept, "orders", namespace=NAMESPACE).metadata.name == "orders"


def test_a_program_of_a_kubeconfig_gives_tokens_and_runs_again_for_another(cluster, token, tmp_path):
    program = tmp_path / "sign-in"
    told = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    told["status"] = {"token": "TOKEN"}
    said = json.dumps(told).replace("TOKEN", f"'$(cat {tmp_path}/token)'")
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o700)
    (tmp_path / "token").write_text(token)
    said = {"exec": {"apiVersion": told["apiVersion"], "command": str(program), "interactiveMode": "Never"}}
    path = cluster.kubeconfig(tmp_path / "config", said)
    with (
        kept("k8s", conn_type="kubernetes", extra={"kube_config_path": str(path)}) as stored,
        family.client(stored.held, stored.asked(environ={"PATH": os.environ["PATH"]})) as client,
    ):
        assert client.get(Kept, "orders").metadata.name == "orders"
        rotate(cluster, token, "token-2")
        (tmp_path / "token").write_text("token-2")
        assert client.get(Kept, "orders").metadata.name == "orders"
        (tmp_path / "token").write_text("")
        rotate(cluster, "token-2", "token-3")
        refused(lambda: client.get(Kept, "orders"), AccessDeniedError, "authentication", "credentials")


def test_a_client_certificate_of_the_connection_is_shown(cluster, token):
    certificate, key = cluster.authority.issue("reader")
    user = {
        "client-certificate-data": b64encode(certificate.read_bytes()).decode(),
        "client-key-data": b64encode(key.read_bytes()).decode(),
    }
    with (
        kept("k8s", conn_type="kubernetes", extra={"kube_config": config(cluster, user)}) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        assert client.get(Kept, "orders").metadata.name == "orders"
    assert cluster.asked[-1][2].endswith(":reader")


@pytest.mark.parametrize("outside", ["exec", "tokenFile", "client-certificate", "client-key"])
def test_a_kubeconfig_in_the_connection_runs_no_program_and_reads_no_file(cluster, tmp_path, outside):
    program = tmp_path / "c4nary"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o700)
    value = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(program)}
    user = {outside: value if outside == "exec" else str(program)}
    with kept("k8s", conn_type="kubernetes", extra={"kube_config": config(cluster, user)}) as stored:
        refused(lambda: family.client(stored.held, stored.asked()), AccessDeniedError, "options", "forbidden")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        (None, "missing"),
        ({"in_cluster": True}, "malformed"),
        ({"in_cluster": True, "kube_config": "{}"}, "malformed"),
        ({"kube_config": "c4nary: ["}, "malformed"),
        ({"kube_config": "c4nary"}, "malformed"),
        ({"kube_config": {"c4nary": 1}}, "malformed"),
        ({"kube_config_path": "/nowhere/c4nary"}, "malformed"),
        ({"in_cluster": "c4nary"}, "malformed"),
    ],
)
def test_what_cannot_be_used_is_refused_by_the_fields_name(extra, reason):
    with kept("k8s", conn_type="kubernetes", extra=extra) as stored:
        refused(lambda: family.client(stored.held, stored.asked()), BackendConfigError, "options", reason)


def test_a_token_that_no_header_can_hold_is_refused(cluster):
    with (
        kept("k8s", **fields(cluster, "c4nary\r\nX: y")) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        refused(lambda: client.get(Kept, "x"), BackendConfigError, "options", "malformed")


def test_a_server_nobody_trusts_gets_no_token_unless_the_connection_says_so(cluster, token):
    said = json.loads(config(cluster, {"token": token}))
    del said["clusters"][0]["cluster"]["certificate-authority-data"]
    with kept("k8s", conn_type="kubernetes", extra={"kube_config": said}) as stored:
        with family.client(stored.held, stored.asked()) as client:
            refused(lambda: client.get(Kept, "orders"), BackendConfigError, "tls", "untrusted")
        assert cluster.asked == []
        stored.write(conn_type="kubernetes", extra={"kube_config": said, "disable_verify_ssl": True})
        stored.tell()
        with family.client(stored.held, stored.asked()) as client:
            assert client.get(Kept, "orders").metadata.name == "orders"


def test_a_server_that_is_down_is_told(cluster, token):
    said = config(cluster, {"token": token}, server="https://127.0.0.1:9")
    with (
        kept("k8s", conn_type="kubernetes", extra={"kube_config": said}) as stored,
        family.client(stored.held, stored.asked()) as client,
    ):
        refused(lambda: client.get(Kept, "orders"), BackendUnavailableError, "tcp", "refused")


def test_neither_the_client_nor_a_log_shows_the_token(client, caplog):
    caplog.set_level(logging.DEBUG)
    client.get(Kept, "orders")
    inner = client._client._client
    assert "c4nary" not in f"{caplog.text} {client!r} {vars(client)!r} {client.config!r} {vars(inner)!r}"


@pytest.mark.parametrize("option", ["config", "transport", "c4nary"])
def test_an_option_that_the_library_does_not_have_or_the_connection_says_is_refused(stored, option):
    with pytest.raises(BackendConfigError) as caught:
        family.client(stored.held, stored.asked(**{option: "x"}))
    assert (caught.value.step, caught.value.reason) == ("options", "unknown")


def test_a_closed_client_lets_go_of_the_connection_and_of_its_files(stored):
    def files():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = files()
    for _ in range(3):
        with family.client(stored.held, stored.asked(dry_run=True)) as client:
            client.get(Kept, "orders")
    assert stored.held._clients == 0
    assert files() <= before + 1  # the server's side of a connection may close a moment later
