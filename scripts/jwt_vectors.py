"""
Make the tokens of tests/vectors/jwt/: good ones, and those that must be refused.

    PYTHONPATH=tests .venv/bin/python scripts/jwt_vectors.py

The keys are drawn anew and their private halves are kept nowhere. Each token stands beside what our verifier
must say of it, and what the library says that it stands on (`joserfc.jwt.decode` with the same keys,
algorithms and claims), so that it shows what is ours to refuse.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from joserfc import jwk, jwt
from joserfc.errors import JoseError

from parts.signing import AUDIENCE, ISSUER, Signer, claims, packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent.parent / "tests/vectors/jwt"
NOW = 1_800_000_000  # 2027-01-15 08:00:00 UTC
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
ORDER_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ORDER_ED25519 = 2**252 + 27742317777372353535851937790883648493

_signer = Signer("rsa", "p256", "p384", "ed")
_signer.add("pinned")
_signer.add("for-encryption")
_other = Signer("rsa")
_secret = b"0123456789abcdef0123456789abcdef"


def said(**more: object) -> dict[str, object]:
    """Give the claims of a good token, but for *more*."""
    return claims(now=NOW, **more)


def keys() -> dict[str, list[dict[str, str]]]:
    """Give the set of keys, with some in it that are of no use."""
    found = _signer.jwks["keys"]
    named = {key["kid"]: key for key in found}
    named["pinned"]["alg"] = "RS256"
    named["for-encryption"]["use"] = "enc"
    return {"keys": [*found, {"kty": "oct", "kid": "shared", "k": packed(_secret)}]}


def good() -> Iterator[tuple[str, str]]:
    """Yield (what, token) of those that are taken."""
    for kid, algorithms in (
        ("rsa", ALGORITHMS[:6]),
        ("p256", ["ES256"]),
        ("p384", ["ES384"]),
        ("ed", ["EdDSA"]),
    ):
        for alg in algorithms:
            yield f"JW01 {alg}", _signer.sign(said(), kid=kid, alg=alg)
    yield "JW01 a key for this algorithm alone", _signer.sign(said(), kid="pinned")
    for kind in (None, "jwt", "at+jwt", "application/at+jwt"):
        yield f"JW01 typ {kind}", _signer.sign(said(), header={"typ": kind})
    yield (
        "JW02 members that say nothing of how it is checked",
        _signer.sign(said(), header={"x5t": "abc", "cty": "x"}),
    )
    yield "JW04 several audiences", _signer.sign(said(aud=["other", AUDIENCE]))
    yield "JW04 nbf", _signer.sign(said(nbf=NOW))
    yield "JW04 the longest lifetime", _signer.sign(said(exp=NOW + 86_400))
    yield (
        "JW04 further claims, nested",
        _signer.sign(said(groups=["a"], more={"a": {"b": [1, None, True, 1.5]}})),
    )
    yield "JW05 ended 9 s ago", _signer.sign(said(iat=NOW - 600, exp=NOW - 9))
    yield "JW05 begins in 9 s", _signer.sign(said(nbf=NOW + 9))
    yield "JW05 issued in 9 s", _signer.sign(said(iat=NOW + 9))
    yield "JW09 the other of two signatures that ES256 has", _mirrored()


def _mirrored() -> str:
    head, body, mark = _signer.sign(said(), kid="p256").split(".")
    raw = unpacked(mark)
    s = int.from_bytes(raw[32:], "big")
    return f"{head}.{body}.{packed(raw[:32] + (ORDER_P256 - s).to_bytes(32, 'big'))}"


def bad_algorithms() -> Iterator[tuple[str, str]]:
    """Yield tokens that would choose another algorithm."""
    body = packed(said())
    for alg in (
        "none",
        "None",
        "nOnE",
        "NONE",
        "",
        None,
        0,
        ["RS256"],
        "rs256",
        "RS256 ",
        "RS1",
        "ES256K",
        "ES512",
    ):
        head = packed({"alg": alg, "kid": "rsa", "typ": "JWT"})
        real = _signer.sign(said())
        yield f"JW01 alg {alg!r} with a signature", f"{head}.{body}.{real.rpartition('.')[2]}"
        yield f"JW01 alg {alg!r} without a signature", f"{head}.{body}."
    yield "JW01 no alg", _signer.sign(said(), header={"alg": None})
    public = _signer.keys["rsa"].key.public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    modulus = public.public_numbers().n.to_bytes(256, "big")
    for what, key in (
        ("PEM", pem),
        ("PEM without its last line end", pem.rstrip()),
        ("DER", der),
        ("modulus", modulus),
    ):
        for alg in ("HS256", "HS384", "HS512"):
            yield f"JW01 {alg} with the public key as secret ({what})", _shared(alg, "rsa", key)
    yield "JW01 HS256 with a secret of the set", _shared("HS256", "shared", _secret)
    for kid, alg in (
        ("p256", "RS256"),
        ("ed", "RS256"),
        ("rsa", "ES256"),
        ("ed", "ES256"),
        ("p256", "EdDSA"),
    ):
        yield (
            f"JW01 {alg} by a key of another kind ({kid})",
            _signer.sign(said(), kid=kid, header={"alg": alg}),
        )
    yield "JW01 ES384 said of a P-256 key", _signer.sign(said(), kid="p256", header={"alg": "ES384"})
    yield "JW01 PS256 said of an RS256 signature", _signer.sign(said(), header={"alg": "PS256"})
    yield "JW01 RS512 said of an RS256 signature", _signer.sign(said(), header={"alg": "RS512"})
    yield "JW01 RS384 by a key for RS256 alone", _signer.sign(said(), kid="pinned", alg="RS384")
    yield "JW01 by a key for encryption", _signer.sign(said(), kid="for-encryption")


def _shared(alg: str, kid: str, key: bytes) -> str:
    message = f"{packed({'alg': alg, 'kid': kid, 'typ': 'JWT'})}.{packed(said())}"
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[alg]
    return f"{message}.{packed(hmac.new(key, message.encode(), digest).digest())}"


def bad_headers() -> Iterator[tuple[str, str]]:
    """Yield tokens whose header would choose a key, or has another form."""
    kids = {
        "as a path": "../../../../dev/null",
        "as SQL": "x' UNION SELECT 'key' --",
        "as an address": "https://attacker.test/jwks.json",
        "as a command": "rsa; id",
        "of 10 KB": "k" * 10_240,
        "with NUL": "rsa\0",
        "in capitals": "RSA",
        "with a blank": "rsa ",
        "empty": "",
        "as a number": 1,
        "as a list": ["rsa"],
        "as an object": {"rsa": 1},
        "with a lone surrogate": "rsa\ud800",
        "of nobody": "unknown",
    }
    for what, kid in kids.items():
        yield f"JW02 kid {what}", _signer.sign(said(), header={"kid": kid})
    yield "JW02 no kid", _signer.sign(said(), header={"kid": None})
    yield "JW02 the kid of ours, the key of another issuer", _other.sign(said())
    own = _other.jwks["keys"][0]
    for name, value in {
        "jwk": own,
        "jku": "https://attacker.test/jwks.json",
        "x5u": "https://attacker.test/chain.pem",
        "x5c": ["MIIB"],
        "crit": ["exp"],
        "b64": False,
        "zip": "DEF",
        "enc": "A256GCM",
    }.items():
        yield f"JW02 {name} in the header", _signer.sign(said(), header={name: value})
    yield (
        "JW02 jwk in the header, and its own signature",
        _other.sign(said(), header={"jwk": own, "kid": None}),
    )
    yield "JW02 crit that nobody knows", _signer.sign(said(), header={"crit": ["policy"], "policy": "strict"})
    yield "JW02 crit of nothing", _signer.sign(said(), header={"crit": []})
    yield "JW02 b64, and crit for it", _signer.sign(said(), header={"b64": False, "crit": ["b64"]})
    for kind in ("JWE", "logout+jwt", "dpop+jwt", "", 1, ["JWT"]):
        yield f"JW02 typ {kind!r}", _signer.sign(said(), header={"typ": kind})
    key = _signer.keys["rsa"]
    body = json.dumps(said()).encode()
    for what, head in {
        "alg twice": b'{"alg":"none","alg":"RS256","kid":"rsa"}',
        "kid twice": b'{"alg":"RS256","kid":"x","kid":"rsa"}',
        "of no object": b'["RS256"]',
        "of no JSON": b"{alg:RS256}",
        "in UTF-16": '{"alg":"RS256","kid":"rsa"}'.encode("utf-16"),
        "with a mark before it": b'\xef\xbb\xbf{"alg":"RS256","kid":"rsa"}',
        "with something behind it": b'{"alg":"RS256","kid":"rsa"} x',
        "of 4 KB": json.dumps({"alg": "RS256", "kid": "rsa", "x": "y" * 4096}).encode(),
    }.items():
        yield f"JW09 a header {what}", Signer.signed(head, body, key)


def bad_claims() -> Iterator[tuple[str, str]]:
    """Yield tokens that say the wrong thing, or say it wrongly."""
    for what, more in {
        "of another": {"aud": "other"},
        "none": {"aud": None},
        "in other case": {"aud": "Strongroom"},
        "with more behind it": {"aud": "strongroom2"},
        "with a blank": {"aud": "strongroom "},
        "in a list of others": {"aud": ["a", "b"]},
        "an empty list": {"aud": []},
        "a list in a list": {"aud": [[AUDIENCE]]},
        "an object": {"aud": {AUDIENCE: True}},
        "a number": {"aud": 1},
        "Airflow's, for its tasks": {"aud": "urn:airflow.apache.org:task"},
    }.items():
        yield f"{'JW08' if 'Airflow' in what else 'JW04'} aud {what}", _signer.sign(said(**more))
    for what, issuer in {
        "another": "https://other.test",
        "a beginning": "https://issuer.tes",
        "with more behind it": "https://issuer.test.attacker.test",
        "with a slash": "https://issuer.test/",
        "in capitals": "HTTPS://ISSUER.TEST",
        "a list": [ISSUER],
        "none": None,
        "a number": 1,
    }.items():
        yield f"JW04 iss {what}", _signer.sign(said(iss=issuer))
    for name in ("exp", "iat", "nbf"):
        for what, value in {
            "a fraction": NOW + 60.5,
            "a whole fraction": float(NOW + 60),
            "negative": -1,
            "nothing": 0,
            "1e20": 10**20,
            "of 400 digits": 10**399,
            "text": str(NOW + 60),
            "true": True,
            "a list": [NOW],
        }.items():
            yield f"JW04 {name} {what}", _signer.sign(said(**{name: value}))
        body = json.dumps(said() | {name: None}).encode()
        yield f"JW04 {name} null", _signer.sign(body=body)
    for name in ("exp", "iat", "sub"):
        yield f"JW04 no {name}", _signer.sign(said(**{name: None}))
    yield "JW04 a lifetime over the longest", _signer.sign(said(exp=NOW + 86_401))
    yield "JW04 ends before it was issued", _signer.sign(said(iat=NOW + 5, exp=NOW + 4))
    for what, value in {
        "empty": "",
        "a number": 7,
        "a list": ["etl"],
        "with a line break": "a\nb",
        "too long": "x" * 4096,
    }.items():
        yield f"JW04 sub {what}", _signer.sign(said(sub=value))
    yield "JW04 jti a number", _signer.sign(said(jti=7))
    yield "JW05 ended 11 s ago", _signer.sign(said(iat=NOW - 600, exp=NOW - 11))
    yield "JW05 ended 10 s ago", _signer.sign(said(iat=NOW - 600, exp=NOW - 10))
    yield "JW05 begins in 11 s", _signer.sign(said(nbf=NOW + 11))
    yield "JW05 issued in 11 s", _signer.sign(said(iat=NOW + 11))
    key = _signer.keys["rsa"]
    head = b'{"alg":"RS256","kid":"rsa"}'
    plain = json.dumps(said())[1:-1]
    for what, body in {
        "exp twice": f'{{{plain},"exp":{NOW + 1000}}}',
        "aud twice": f'{{"aud":"other",{plain}}}',
        "a member twice, inside": f'{{{plain},"more":{{"a":1,"a":2}}}}',
        "NaN": f'{{{plain},"x":NaN}}',
        "Infinity": f'{{{plain},"x":Infinity}}',
        "a number without end": f'{{{plain},"x":1e999}}',
        "no object": "[]",
        "text": '"x"',
        "null": "null",
        "something behind": f"{{{plain}}}{{}}",
        "no end": f"{{{plain}",
        "500 levels": f'{{{plain},"x":{"[" * 500}{"]" * 500}}}',
        "a comment": f"{{{plain}/**/}}",
        "single quotes": f"{{{plain}}}".replace('"', "'"),
    }.items():
        yield f"JW09 claims with {what}", Signer.signed(head, body.encode(), key)
    yield "JW09 claims of no UTF-8", Signer.signed(head, f'{{{plain},"x":"'.encode() + b"\xff" + b'"}', key)
    yield "JW09 claims in UTF-16", Signer.signed(head, f"{{{plain}}}".encode("utf-16"), key)
    yield (
        "JW09 claims with a mark before them",
        Signer.signed(head, b"\xef\xbb\xbf" + f"{{{plain}}}".encode(), key),
    )


def bad_bytes() -> Iterator[tuple[str, str]]:
    """Yield what is no token, and signatures that are none."""
    whole = _signer.sign(said())
    head, body, mark = whole.split(".")
    for what, token in {
        "empty": "",
        "dots": "..",
        "one part": head,
        "two parts": f"{head}.{body}",
        "no signature": f"{head}.{body}.",
        "no claims": f"{head}..{mark}",
        "no header": f".{body}.{mark}",
        "four parts": f"{whole}.x",
        "five parts, as what is encrypted": f"{head}.{body}.{mark}.{mark}.{mark}",
        "a dot behind": f"{whole}.",
        "a blank before": f" {whole}",
        "a line break behind": f"{whole}\n",
        "a blank within": f"{head}.{body} .{mark}",
        "padding of the header": f"{head}=.{body}.{mark}",
        "padding of the claims": f"{head}.{body}==.{mark}",
        "padding of the signature": f"{head}.{body}.{mark}==",
        "the other alphabet": f"{head}.{body}.{mark}".replace("-", "+").replace("_", "/") + "+/",
        "letters that look alike": whole.replace("e", "\u0435", 1),
        "full-width letters": whole.replace("e", "\uff45", 1),
        "Bearer": f"Bearer {whole}",
        "the flattened form": json.dumps({"protected": head, "payload": body, "signature": mark}),
        "20 KB": f"{head}.{body}{'A' * 20_000}.{mark}",
        "cut by one": whole[:-1],
        "one more": f"{whole}A",
        "the signature of another": f"{head}.{body}.{_signer.sign(said(sub='x')).rpartition('.')[2]}",
        "the claims of another": f"{head}.{packed(said(sub='admin'))}.{mark}",
    }.items():
        yield f"JW09 {what}", token
    yield "JW09 spare bits in the signature", _spare(whole)
    raw = unpacked(mark)
    for what, other in {
        "a bit turned": bytes([raw[0] ^ 1]) + raw[1:],
        "a zero before it": b"\0" + raw,
        "cut": raw[1:],
        "of zeros": bytes(256),
        "doubled": raw * 2,
    }.items():
        yield f"JW09 an RSA signature {what}", f"{head}.{body}.{packed(other)}"
    yield from _bad_curves()


def _bad_curves() -> Iterator[tuple[str, str]]:
    head, body, mark = _signer.sign(said(), kid="p256").split(".")
    raw = unpacked(mark)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    for what, other in {
        "in DER": encode_dss_signature(r, s),
        "of zeros": bytes(64),
        "with s over the order": raw[:32] + (s + ORDER_P256).to_bytes(33, "big")[-32:],
        "with r of the order": ORDER_P256.to_bytes(32, "big") + raw[32:],
        "with zeros before both": b"\0" + raw[:32] + b"\0" + raw[32:],
        "cut": raw[:63],
        "with more behind": raw + b"\0",
    }.items():
        yield f"JW09 an ES256 signature {what}", f"{head}.{body}.{packed(other)}"
    head, body, mark = _signer.sign(said(), kid="ed").split(".")
    raw = unpacked(mark)
    s = int.from_bytes(raw[32:], "little") + ORDER_ED25519
    for what, other in {
        "with S over the order": raw[:32] + s.to_bytes(32, "little"),
        "of zeros": bytes(64),
        "of a point of small order": (1).to_bytes(32, "little") + bytes(32),
        "cut": raw[:63],
    }.items():
        yield f"JW09 an EdDSA signature {what}", f"{head}.{body}.{packed(other)}"


def _spare(token: str) -> str:
    """Give the same bytes in another spelling: the last character has bits that no byte needs."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(token[-1])
    other = token[:-1] + alphabet[last ^ 1]
    if unpacked(other.rpartition(".")[2]) != unpacked(token.rpartition(".")[2]):
        raise ValueError("the last character has no spare bits")
    return other


def library(token: str, found: dict[str, list[dict[str, str]]]) -> str:
    """Tell what the library says of *token*, used as its documentation shows."""
    registry = jwt.JWTClaimsRegistry(
        now=lambda: NOW,
        leeway=10,
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": AUDIENCE},
        exp={"essential": True},
        iat={"essential": True},
        sub={"essential": True},
    )
    try:
        registry.validate(jwt.decode(token, jwk.KeySet.import_key_set(found), algorithms=ALGORITHMS).claims)
    except JoseError:
        return "refused"
    except Exception as error:  # noqa: BLE001 -- whatever it raises is what whoever uses it bare has to bear
        return f"{type(error).__name__}"
    return "taken"


def main() -> None:
    """Write the files, and tell where the library judges otherwise."""
    warnings.simplefilter("ignore")
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = keys()
    (FOLDER / "keys.json").write_text(json.dumps(found, indent=1) + "\n")
    rows = [
        {"what": what, "expect": expect, "library": library(token, found), "token": token}
        for expect, groups in (
            ("taken", [good]),
            ("refused", [bad_algorithms, bad_headers, bad_claims, bad_bytes]),
        )
        for group in groups
        for what, token in group()
    ]
    names = [row["what"] for row in rows]
    if len(set(names)) < len(names):
        raise ValueError("two have one name")
    head = {"now": NOW, "issuer": ISSUER, "audience": AUDIENCE, "algorithms": ALGORITHMS}
    text = "".join(f"  {json.dumps(row)},\n" for row in rows).rstrip(",\n")
    (FOLDER / "tokens.json").write_text(f'{json.dumps(head)[:-1]}, "tokens": [\n{text}\n]}}\n')
    differ = [row for row in rows if row["library"] != row["expect"]]
    sys.stdout.write(f"{len(rows)} tokens, {len(differ)} of which the library judges otherwise\n")
    for row in differ:
        sys.stdout.write(f"  {row['what']}: {row['expect']} here, {row['library']} there\n")


if __name__ == "__main__":
    main()
