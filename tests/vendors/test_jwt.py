"""The verifier of signed tokens: what it takes, and a corpus of what it must not."""

from __future__ import annotations

import json
import warnings
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis.strategies import (
    booleans,
    data,
    dictionaries,
    floats,
    integers,
    lists,
    none,
    recursive,
    sampled_from,
    text,
)
from joserfc import jwk, jwt
from joserfc.errors import JoseError

from parts.signing import AUDIENCE, ISSUER, Signer, claims, packed
from strongroom.errors import BackendConfigError, NotAuthenticatedError
from strongroom.vendors.jwt import Claims, TokenError, Verifier, ends_of, keys_of, peek

FOLDER = Path(__file__).parent.parent / "vectors/jwt"
CORPUS = json.loads((FOLDER / "tokens.json").read_text())
NOW = datetime.fromtimestamp(CORPUS["now"], timezone.utc)
GOOD = [row for row in CORPUS["tokens"] if row["expect"] == "taken"]
BAD = [row for row in CORPUS["tokens"] if row["expect"] == "refused"]
_signer = Signer("rsa", "ed")


class Held:
    """Keys that do not change unless a test changes them."""

    def __init__(self, jwks):
        self.generation = 0
        self.keys = keys_of(json.dumps(jwks).encode())
        self.asked = []

    def find(self, kid):
        self.asked.append(kid)
        return self.keys.get(kid)


def verifier(keys=None, **more):
    given = {"issuer": ISSUER, "audience": AUDIENCE, "algorithms": CORPUS["algorithms"], "clock": lambda: NOW}
    frozen = keys or Held(json.loads((FOLDER / "keys.json").read_text()))
    return Verifier(keys=frozen, **{**given, **more})


def mine(**more):
    return verifier(Held(_signer.jwks), **more)


def said(**more):
    return claims(now=CORPUS["now"], **more)


@pytest.mark.parametrize("row", GOOD, ids=[row["what"] for row in GOOD])
def test_JW05_a_good_token_says_who_it_is(row):
    found = verifier().verify(row["token"])
    assert (found.issuer, found.subject) == (ISSUER, "etl")
    assert AUDIENCE in found.audiences
    assert found.issued < found.expires


@pytest.mark.parametrize("row", BAD, ids=[row["what"] for row in BAD])
def test_JW01_JW02_JW04_JW05_JW08_JW09_a_bad_token_is_refused_in_the_same_words(row):
    with pytest.raises(NotAuthenticatedError) as caught:
        verifier().verify(row["token"])
    assert str(caught.value) == "this token proves nobody"
    assert caught.value.reason
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("row", CORPUS["tokens"], ids=[row["what"] for row in CORPUS["tokens"]])
def test_the_corpus_says_what_the_library_alone_would_say(row):
    registry = jwt.JWTClaimsRegistry(
        now=lambda: CORPUS["now"],
        leeway=10,
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": AUDIENCE},
        **{name: {"essential": True} for name in ("exp", "iat", "sub")},
    )
    keys = jwk.KeySet.import_key_set(json.loads((FOLDER / "keys.json").read_text()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            registry.validate(jwt.decode(row["token"], keys, algorithms=CORPUS["algorithms"]).claims)
            heard = "taken"
        except JoseError:
            heard = "refused"
        except Exception as error:  # noqa: BLE001 -- whatever it raises is what a bare use of it has to bear
            heard = type(error).__name__
    assert heard == row["library"]


def test_the_library_alone_takes_what_must_be_refused():
    assert len([row for row in BAD if row["library"] == "taken"]) >= 30
    assert len(BAD) >= 200


@pytest.mark.parametrize("alg", ["HS256", "none", "ES512"])
def test_JW01_an_algorithm_that_proves_nothing_cannot_be_configured(alg):
    with pytest.raises(BackendConfigError):
        mine(algorithms=["RS256", alg])


def test_JW01_an_algorithm_the_operator_did_not_name_is_refused():
    token = _signer.sign(said(), kid="ed")
    assert mine().verify(token)
    with pytest.raises(TokenError) as caught:
        mine(algorithms=["RS256"]).verify(token)
    assert caught.value.reason == "an algorithm that is not taken"


@pytest.mark.parametrize("seconds", [11, 60])
def test_JW05_no_more_than_ten_seconds_of_leeway_can_be_configured(seconds):
    with pytest.raises(BackendConfigError):
        mine(leeway=timedelta(seconds=seconds))


def test_JW02_the_name_of_a_key_is_looked_up_once_and_to_the_letter():
    keys = Held(_signer.jwks)
    checks = verifier(keys)
    checks.verify(_signer.sign(said()))
    with pytest.raises(TokenError):
        checks.verify(_signer.sign(said(), header={"kid": "../../rsa"}))
    assert keys.asked == ["rsa", "../../rsa"]


def test_JW02_no_key_is_asked_for_where_the_header_is_wrong():
    keys = Held(_signer.jwks)
    for header in (
        {"alg": "none"},
        {"jku": "https://attacker.test"},
        {"kid": "x" * 10_240},
        {"crit": ["exp"]},
    ):
        with pytest.raises(TokenError):
            verifier(keys).verify(_signer.sign(said(), header=header))
    assert keys.asked == []


def test_what_was_verified_is_remembered_until_it_ends():
    now, seconds = [NOW], [0.0]
    keys = Held(_signer.jwks)
    checks = verifier(keys, clock=lambda: now[0], timer=lambda: seconds[0])
    token = _signer.sign(said(lasts=30))
    first = checks.verify(token)
    assert checks.verify(token) is first
    assert keys.asked == ["rsa"]
    now[0] += timedelta(seconds=41)
    seconds[0] += 41
    with pytest.raises(TokenError) as caught:
        checks.verify(token)
    assert caught.value.reason == "it has expired"


def test_what_was_verified_is_verified_again_after_a_minute():
    seconds = [0.0]
    keys = Held(_signer.jwks)
    checks = verifier(keys, timer=lambda: seconds[0])
    token = _signer.sign(said())
    checks.verify(token)
    seconds[0] = 61.0
    checks.verify(token)
    assert keys.asked == ["rsa", "rsa"]


def test_what_was_verified_with_keys_that_changed_is_verified_again():
    keys = Held(_signer.jwks)
    checks = verifier(keys)
    token = _signer.sign(said())
    checks.verify(token)
    keys.keys = {}
    keys.generation += 1
    with pytest.raises(TokenError) as caught:
        checks.verify(token)
    assert caught.value.reason == "a key the issuer does not have"


def test_a_refused_token_is_not_remembered_as_good():
    checks = mine()
    good = _signer.sign(said())
    checks.verify(good)
    with pytest.raises(TokenError):
        checks.verify(good + "A")
    assert checks.verify(good).subject == "etl"


def test_text_that_no_utf8_spells_is_refused_like_any_other():
    with pytest.raises(TokenError) as caught:
        mine().verify("\ud800.a.b")
    assert caught.value.reason == "no token of three parts"


def test_a_token_that_is_remembered_no_more_is_held_no_more():
    seconds = [0.0]
    keys = Held(_signer.jwks)
    checks = verifier(keys, timer=lambda: seconds[0])
    token = _signer.sign(said())
    checks.verify(token)
    seconds[0], keys.keys = 61.0, {}
    with pytest.raises(TokenError):
        checks.verify(token)
    assert checks._remembered == {}


def test_a_very_long_token_is_checked_each_time():
    keys = Held(_signer.jwks)
    checks = verifier(keys)
    token = _signer.sign(said(more="x" * 4_096))
    assert checks.verify(token) == checks.verify(token)
    assert keys.asked == ["rsa", "rsa"]


def test_only_so_many_tokens_are_remembered(monkeypatch):
    checks = mine()
    first = _signer.sign(said(jti="first"), kid="ed")
    checks.verify(first)
    for number in range(10_000):
        checks._remember(str(number), 0, checks.verify(first))
    assert len(checks._remembered) == 10_000


def test_no_token_and_no_claim_is_shown():
    token = _signer.sign(said(sub="canary-of-a-subject"))
    checks = mine()
    found = checks.verify(token)
    text = repr(found) + repr(checks) + repr(checks.keys.find("rsa").kid)
    assert "canary" not in text
    assert token not in text


def test_a_token_of_another_type_is_taken_where_that_is_asked_for():
    token = _signer.sign(said(sub=None, sid="1"), header={"typ": "logout+jwt"})
    found = mine(types=("logout+jwt",), needs_subject=False).verify(token)
    assert isinstance(found, Claims)
    assert found.subject == ""
    with pytest.raises(TokenError):
        mine(types=("logout+jwt",)).verify(token)


def test_an_id_token_of_another_audience_is_not_one_of_ours_by_azp():
    with pytest.raises(TokenError):
        mine().verify(_signer.sign(said(aud="other", azp=AUDIENCE)))


@pytest.mark.parametrize("token", ["", "a.b.c", "x" * 20_000, packed(b"{}") + ".." + packed(b"{}")])
def test_looking_at_what_is_no_token_finds_no_issuer(token):
    assert peek(token) is None


def test_the_issuer_a_token_claims_is_read_without_believing_it():
    assert peek(_signer.sign(said(iss="https://anybody.test"))) == "https://anybody.test"
    assert peek(_signer.sign(said(iss=7))) is None
    assert peek(_signer.sign(said(iss="a\nb"))) is None


def test_the_end_a_token_claims_spares_a_question():
    assert ends_of(_signer.sign(said(lasts=60)), audience=AUDIENCE, now=NOW) == NOW + timedelta(seconds=60)
    for token in (_signer.sign(said(aud="other")), _signer.sign(said(exp=CORPUS["now"]))):
        with pytest.raises(TokenError):
            ends_of(token, audience=AUDIENCE, now=NOW)


# --- keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{}", '{"keys":{}}', '{"keys":[],"keys":[]}', '{"keys":"x"}', "\xff", "[" * 9999],
)
def test_what_is_no_set_of_keys_is_refused(text):
    with pytest.raises(ValueError, match="no set of keys"):
        keys_of(text.encode("latin-1"))


def test_a_set_of_too_many_keys_is_refused():
    with pytest.raises(ValueError, match="no set of keys"):
        keys_of(json.dumps({"keys": [{}] * 257}).encode())


def test_JW01_keys_that_are_of_no_use_are_passed_over():
    good = _signer.jwks["keys"][0]
    point = Signer("p256").jwks["keys"][0]
    useless = [
        {"kty": "oct", "kid": "a", "k": packed(b"x" * 32)},
        {**good, "kid": "b", "use": "enc"},
        {**good, "kid": "c", "key_ops": ["sign"]},
        {**good, "kid": "d", "alg": "ES256"},
        {**good, "kid": "e", "alg": "HS256"},
        {**good, "kid": "f", "e": packed(b"\2")},
        {**good, "kid": "g", "e": packed(b"\1")},
        {**good, "kid": "h", "e": packed(b"\xff" * 64)},
        {**good, "kid": "i", "n": packed(b"\xff" * 128)},
        {**good, "kid": "j", "n": packed(b"\xff" * 2048)},
        {**good, "kid": "k", "n": "not base64!"},
        {**good, "kid": "l", "n": 7},
        {**point, "kid": "m", "crv": "secp256k1"},
        {**point, "kid": "n", "x": packed(b"\1" * 32)},
        {**point, "kid": "o", "crv": "P-384"},
        {**good, "kid": None},
        {**good, "kid": ["rsa"]},
        {**good, "kid": "x" * 300},
        {**good, "kid": "a\0b"},
        "rsa",
        None,
    ]
    found = keys_of(json.dumps({"keys": [*useless, good]}).encode())
    assert list(found) == ["rsa"]


def test_of_two_keys_with_one_name_neither_counts():
    one, two = (Signer("rsa").jwks["keys"][0] for _ in range(2))
    assert keys_of(json.dumps({"keys": [one, two]}).encode()) == {}
    assert keys_of(json.dumps({"keys": [one, two, one]}).encode()) == {}


def test_what_is_private_of_a_key_is_dropped():
    private = jwk.RSAKey.generate_key(2048, {"kid": "p"}).as_dict(private=True)
    found = keys_of(json.dumps({"keys": [private]}).encode())
    assert not found["p"].key.is_private


# --- whatever is tried --------------------------------------------------------------------------------

_GOOD = {kid: _signer.sign(said(), kid=kid) for kid in ("rsa", "ed")}


@given(data())
def test_a_token_that_was_changed_anywhere_is_refused(drawn):
    token = _GOOD[drawn.draw(sampled_from(sorted(_GOOD)))]
    at = drawn.draw(integers(0, len(token) - 1))
    other = drawn.draw(sampled_from("ABCDEFabcdef0123456789-_.=+/ \n\0é"))
    changed = token[:at] + other + token[at + 1 :]
    if changed != token:
        with pytest.raises(TokenError):
            mine().verify(changed)


@given(text(max_size=300))
def test_no_text_but_a_token_is_taken_and_none_breaks_anything(token):
    assert peek(token) is None or isinstance(peek(token), str)
    with pytest.raises(TokenError):
        mine().verify(token)


@given(
    recursive(
        none() | booleans() | integers() | floats() | text(),
        lambda inner: lists(inner) | dictionaries(text(), inner),
    )
)
def test_no_header_and_no_claims_but_good_ones_are_taken(said_instead):
    for header, body in ((said_instead, said()), ({"alg": "RS256", "kid": "rsa"}, said_instead)):
        raw = json.dumps(header).encode(), json.dumps(body).encode()
        with pytest.raises(TokenError):
            mine().verify(Signer.signed(*raw, _signer.keys["rsa"]))
