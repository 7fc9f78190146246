"""Tokens of an issuer that is none of ours: a real OpenBao, which signs the identity of workloads."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from parts.openbao import bao  # noqa: F401 -- a fixture
from strongroom.vendors.jwks import UrlKeys
from strongroom.vendors.jwt import TokenError, Verifier


def clock():
    return datetime.now(timezone.utc)


class Workload:
    """An entity of OpenBao that asks for its identity as a signed token."""

    def __init__(self, bao, algorithm):  # noqa: F811
        self._bao = bao
        self.audience = f"strongroom-{algorithm.lower()}"
        bao.api("POST", "identity/oidc/config", {"issuer": bao.url})
        self.issuer = f"{bao.url}/v1/identity/oidc"
        self._name = f"key-{algorithm.lower()}"
        bao.api(
            "POST",
            f"identity/oidc/key/{self._name}",
            {"algorithm": algorithm, "allowed_client_ids": "*", "verification_ttl": "1h"},
        )
        template = '{"team": {{identity.entity.metadata.team}}}'
        bao.api(
            "POST",
            f"identity/oidc/role/{self._name}",
            {"key": self._name, "client_id": self.audience, "ttl": "10m", "template": template},
        )
        policy = bao.policy('path "identity/oidc/token/*" { capabilities = ["read"] }')
        mount = bao.auth("userpass")
        bao.api("POST", f"auth/{mount}/users/etl", {"password": "correct horse", "token_policies": policy})
        accessor = bao.api("GET", "sys/auth")["data"][f"{mount}/"]["accessor"]
        entity = bao.api("POST", "identity/entity", {"metadata": {"team": "pay"}})["data"]["id"]
        alias = {"name": "etl", "canonical_id": entity, "mount_accessor": accessor}
        bao.api("POST", "identity/entity-alias", alias)
        logged = bao.api("POST", f"auth/{mount}/login/etl", {"password": "correct horse"})
        self._token, self.entity = logged["auth"]["client_token"], entity

    def token(self):
        return self._bao.api("GET", f"identity/oidc/token/{self._name}", token=self._token)["data"]["token"]

    def rotate(self):
        self._bao.api("POST", f"identity/oidc/key/{self._name}/rotate", {"verification_ttl": "0s"})


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "ES384", "EdDSA"])
def test_a_real_issuers_tokens_are_verified_by_its_discovery_document(bao, algorithm):  # noqa: F811
    workload = Workload(bao, algorithm)
    seconds = [0.0]
    keys = UrlKeys("bao", url=None, issuer=workload.issuer, timer=lambda: seconds[0])

    def checks(audience):
        return Verifier(
            issuer=workload.issuer,
            audience=audience,
            algorithms=[algorithm],
            keys=keys,
            clock=clock,
            longest=timedelta(hours=1),
        )

    token = workload.token()
    found = checks(workload.audience).check(token)
    assert (found.subject, found.all["team"]) == (workload.entity, "pay")
    with pytest.raises(TokenError):
        checks("another").check(token)
    # The issuer takes a new key and forgets the old one.
    workload.rotate()
    seconds[0] += 31
    assert checks(workload.audience).check(workload.token()).subject == workload.entity
    seconds[0] += 300
    with pytest.raises(TokenError) as caught:
        checks(workload.audience).check(token)
    assert caught.value.reason == "a key the issuer does not have"
    keys.close()
