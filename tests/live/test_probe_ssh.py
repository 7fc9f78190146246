"""Tests of connections over SSH and SFTP, against an OpenSSH server."""

from __future__ import annotations

import pytest

from parts.openssh import PASSWORD, USER, make_key, ssh_server
from parts.trying import CANARY, LOOPBACK, failed, made, steps, tried

ALL = ["name: ok", "tcp: ok", "authentication: ok", "read: ok"]


@pytest.fixture(scope="module")
def openssh(tmp_path_factory):
    with ssh_server(tmp_path_factory.mktemp("ssh")) as running:
        yield running


def at(openssh, conn_type="ssh", *, password=PASSWORD, kind="ed25519", **extra):
    said = {"host_key": openssh.host_keys[kind], **extra}
    return made(conn_type, host="127.0.0.1", port=openssh.port, login=USER, password=password, extra=said)


@pytest.mark.parametrize("conn_type", ["ssh", "sftp"])
def test_ssh_is_logged_in_to_and_a_channel_opened(openssh, conn_type):
    assert steps(tried(at(openssh, conn_type), LOOPBACK)) == ALL


def test_a_key_does_as_well(openssh, tmp_path):
    private, public = make_key(tmp_path / "key")
    openssh.allow(public)
    assert steps(tried(at(openssh, password=None, private_key=private), LOOPBACK)) == ALL


def test_a_wrong_password_is_told_as_one(openssh):
    assert failed(tried(at(openssh, password=CANARY))) == ("authentication", "credentials")


def test_a_host_key_that_is_another_or_not_known_is_told_before_anything_is_sent(openssh, tmp_path):
    _, other = make_key(tmp_path / "key")
    before = openssh.count("password")
    assert failed(tried(at(openssh, host_key=other))) == ("tls", "untrusted")
    assert failed(tried(at(openssh, host_key=None))) == ("tls", "untrusted")
    assert openssh.count("password") == before


@pytest.mark.parametrize("extra", [{"key_file": "/root/.ssh/id_rsa"}, {"host_proxy_cmd": "sh"}])
def test_SS05_a_test_for_others_reads_no_key_and_runs_no_command(openssh, extra):
    assert failed(tried(at(openssh, **extra), LOOPBACK)) == ("options", "forbidden")
