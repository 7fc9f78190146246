"""Tests of connections to mail servers and to Kubernetes, each against one that answers."""

from __future__ import annotations

import json

import pytest

from parts.certificates import Authority, server_context
from parts.kubernetes import cluster, cluster_server  # noqa: F401 -- fixtures
from parts.smtp import PASSWORD, smtp_server
from parts.trying import CANARY, LOOPBACK, failed, made, steps, tried
from strongroom.live.around import Around

ALL = ["name: ok", "tcp: ok", "tls: ok", "authentication: ok", "read: ok"]
PLAIN = [step.replace("tls: ok", "tls: skipped") for step in ALL]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def context(authority):
    return server_context(*authority.issue("mail", "127.0.0.1"))


def mail(office, *, password=PASSWORD, **extra):
    office.users["app"] = PASSWORD
    return made("smtp", host="127.0.0.1", port=office.port, login="app", password=password, extra=extra)


def trusting(authority):
    """What is around a process whose machine trusts *authority*."""
    environ = {"SSL_CERT_FILE": str(authority.file)}
    return Around(environ=environ, now=None, run=lambda: None, held=None)


def test_a_mail_server_is_logged_in_to_and_sent_nothing():
    with smtp_server() as office:
        assert steps(tried(mail(office, disable_ssl=True, disable_tls=True), LOOPBACK)) == PLAIN
        assert office.mails == []


def test_a_mail_server_is_tested_over_tls_from_the_start_and_by_starttls(authority, context):
    around = trusting(authority)
    with smtp_server(tls=context) as office:
        assert steps(tried(mail(office), around=around)) == ALL
        assert failed(tried(mail(office))) == ("tls", "untrusted")
    with smtp_server(starts_tls=context) as office:
        assert steps(tried(mail(office, disable_ssl=True), around=around)) == ALL
        assert failed(tried(mail(office, disable_ssl=True))) == ("tls", "untrusted")


def test_a_wrong_password_and_a_server_without_tls_are_told_as_such():
    with smtp_server() as office:
        wrong = mail(office, password=CANARY, disable_ssl=True, disable_tls=True)
        assert failed(tried(wrong)) == ("authentication", "credentials")
        assert failed(tried(mail(office, disable_ssl=True))) == ("tls", "plaintext")


def config(cluster, token):  # noqa: F811
    place = cluster.kubeconfig(cluster.folder / "probe", {"token": token})
    return made("kubernetes", extra={"kube_config": place.read_text()})


def test_a_cluster_is_asked_who_we_are(cluster):  # noqa: F811
    token = cluster.account("reader", f"token-{CANARY}")
    found = tried(config(cluster, token), LOOPBACK)
    assert steps(found) == ["name: ok", "tcp: ok", "tls: ok", "authentication: ok"]


def test_a_token_that_a_cluster_does_not_know_is_told_as_one(cluster):  # noqa: F811
    assert failed(tried(config(cluster, CANARY))) == ("authentication", "credentials")


def test_SS01_SS05_a_cluster_elsewhere_and_the_one_around_are_not_asked_for_others(cluster):  # noqa: F811
    said = json.loads(cluster.kubeconfig(cluster.folder / "other", {"token": CANARY}).read_text())
    said["clusters"][0]["cluster"]["server"] = "https://10.0.0.9:6443"
    assert failed(tried(made("kubernetes", extra={"kube_config": said}), LOOPBACK)) == (
        "address",
        "forbidden",
    )
    assert failed(tried(made("kubernetes", extra={"in_cluster": True}), LOOPBACK)) == ("options", "forbidden")
