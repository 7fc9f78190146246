"""Which addresses are this machine's own."""

from __future__ import annotations

import pytest

from strongroom.model.machine import is_loopback, is_private_way


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LocalHost"])
def test_addresses_and_the_name_of_this_machine_are_its_own(host):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "10.0.0.1",
        "0.0.0.0",
        "::",
        "[::1]",
        "localhost.example.com",
        "127.0.0.1.nip.io",
        "127.1",
        "0x7f000001",
    ],
)
def test_what_only_looks_like_it_is_another_machine(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "url",
    [
        "https://vault.example.com",
        "http://localhost:8200",
        "http://[::1]:8200/v1",
        "HTTPS://vault.example.com",
    ],
)
def test_nobody_reads_along_by_tls_or_within_this_machine(url):
    assert is_private_way(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://vault.example.com",
        "http://localhost@vault.example.com",
        "http://[::1",
        "vault.example.com",
        "",
    ],
)
def test_anything_else_may_be_read_on_the_way(url):
    assert not is_private_way(url)
