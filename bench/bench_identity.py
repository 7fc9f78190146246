"""Signed tokens: checked and remembered, beside the library alone; and at the gate of a server."""

from __future__ import annotations

import json
import tempfile
import time
import warnings
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from types import SimpleNamespace

from joserfc import jwk, jwt

from strongroom import assembly
from strongroom.vendors.jwt import Verifier, keys_of

TITLE = "Signed tokens"
ROUNDS = 9
CALLS = 300
ISSUER, AUDIENCE = "https://issuer.test", "strongroom"
SETTINGS = """
[access.issuer.ci]
issuer = "https://issuer.test"
audience = "strongroom"
jwks = "jwks.json"
[[access.issuer.ci.allow]]
service = "deployer"
claims = { repository = "acme/*", ref = "refs/heads/main" }
"""


def _keys():
    return {
        "RS256": jwk.RSAKey.generate_key(2048, {"kid": "rsa"}),
        "ES256": jwk.ECKey.generate_key("P-256", {"kid": "ec"}),
        "EdDSA": jwk.OKPKey.generate_key("Ed25519", {"kid": "ed"}),
    }


def _token(alg, key):
    now = int(time.time())
    said = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "repo:acme/etl:ref:refs/heads/main",
        "repository": "acme/etl",
        "ref": "refs/heads/main",
        "iat": now,
        "exp": now + 3000,
    }
    return jwt.encode({"alg": alg, "kid": key.kid, "typ": "JWT"}, said, key, algorithms=[alg])


def _timed(work, count=CALLS):
    begun = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - begun) / count * 1e6


def _interleaved(*works):
    """Give the median of each over rounds in which all take turns."""
    rounds = [[_timed(work) for work in works] for _ in range(ROUNDS)]
    return [median(one) for one in zip(*rounds, strict=True)]


def _row(path, ours, peer, target, note):
    return {
        "path": path,
        "ours": ours,
        "peer": peer,
        "unit": "µs",
        "ratio": ours / peer,
        "target": target,
        "note": note,
    }


def _alone(keys):
    """Give what joserfc takes for one token, as its documentation shows: signature and registered claims."""
    every = jwk.KeySet(list(keys.values()))
    registry = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": ISSUER}, aud={"essential": True, "value": AUDIENCE}
    )

    def check(alg, token):
        registry.validate(jwt.decode(token, every, algorithms=[alg]).claims)

    return check


def _verifying(keys, jwks):
    held = SimpleNamespace(generation=0, find=keys_of(jwks).get)
    checks = Verifier(
        issuer=ISSUER,
        audience=AUDIENCE,
        algorithms=list(keys),
        keys=held,
        clock=lambda: datetime.now(timezone.utc),
    )
    alone = _alone(keys)
    note = "peer: joserfc decode and its claims registry, keys held; it refuses less (tests/vectors/jwt)"
    for alg, key in keys.items():
        token = _token(alg, key)
        checks.verify(token)
        first, again, peer = _interleaved(
            lambda token=token: checks.check(token),
            lambda token=token: checks.verify(token),
            lambda alg=alg, token=token: alone(alg, token),
        )
        yield _row(f"{alg}, checked", first, peer, "", note)
        yield _row(f"{alg}, remembered ({len(token)} characters)", again, peer, "≤ 1 µs", note)


def _at_the_gate(keys, jwks):
    """A token among the credentials of a server: what stands on every request's way."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "jwks.json").write_bytes(jwks)
        file = home / "strongroom.toml"
        file.touch(mode=0o600)
        file.write_text(SETTINGS)
        environ = {"HOME": folder, "STRONGROOM_HOME": folder, "STRONGROOM_CONFIG": str(file)}
        assembly.create_room(file, environ=environ).close()
        house = assembly.open_house(file, environ=environ)
        try:
            access = house.deployment(None).access
            signed = _token("RS256", keys["RS256"])
            own = access.tokens.issue("bench").token.reveal()
            for one in (signed, own):
                access.authenticate(one, source="10.0.0.1")
            mine, ours = _interleaved(
                lambda: access.authenticate(signed, source="10.0.0.1"),
                lambda: access.authenticate(own, source="10.0.0.1"),
            )
        finally:
            house.close()
    note = "peer: a token of our own at the same gate; both are looked up by SHA-256, and this one is longer"
    return _row("at the gate, remembered", mine, ours, "≤ 1.5 x", note)


def measure():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's, of EdDSA by its older name
        keys = _keys()
        jwks = json.dumps({"keys": [key.as_dict(private=False) for key in keys.values()]}).encode()
        return [*_verifying(keys, jwks), _at_the_gate(keys, jwks)]
