"""The days that a certificate lasts, read from its own bytes."""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from strongroom.live.probing.tls import days_left

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "service")])


def certificate(ends):
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder().subject_name(NAME).issuer_name(NAME).public_key(key.public_key())
    builder = (
        builder.serial_number(1 << 150).not_valid_before(NOW - timedelta(days=900)).not_valid_after(ends)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize("days", [0, 1, 89, 365, 8_000, 10_000, -1, -400])
def test_the_days_left_are_those_to_the_end_whichever_way_its_year_is_written(days):
    assert days_left(certificate(NOW + timedelta(days=days, hours=1)), NOW) == days


def test_a_certificate_ends_when_openssl_says_it_does():
    ends = datetime(2031, 5, 6, 7, 8, 9, tzinfo=timezone.utc)
    assert days_left(certificate(ends), ends - timedelta(seconds=1)) == 0
    assert days_left(certificate(ends), ends + timedelta(seconds=1)) == -1


@given(st.binary(max_size=300))
def test_bytes_that_are_no_certificate_tell_nothing(data):
    assert days_left(data, NOW) is None


@given(st.data())
def test_a_damaged_certificate_tells_nothing_or_a_number(data):
    whole = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    found = days_left(bytes(whole[: data.draw(st.integers(0, len(whole)))]), NOW)
    assert found is None or isinstance(found, int)


GOOD = certificate(NOW + timedelta(days=30))


def test_what_the_standard_library_gives_is_what_is_read():
    pem = ssl.DER_cert_to_PEM_cert(GOOD)
    assert days_left(ssl.PEM_cert_to_DER_cert(pem), NOW) == 30
