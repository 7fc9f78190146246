"""
Check signed tokens (JWT, RFC 7519) of issuers the operator named: who one says somebody is, or a refusal.

Not for where keys come from (`jwks.py`), nor for what a token entitles to.

Rules of this file:

1. The bytes and the header are checked here, before a library sees anything; the library is given a key, a
   message and a signature, never the token. So nothing it might read in a header can count.
2. Nothing in a token chooses how it is checked: the algorithms, the issuer, the audience and the keys are
   the operator's. `kid` is looked up in a table, to the letter, and is used for nothing else.
3. A key signs by one kind of algorithm: an RSA key is no P-256 key, and a shared secret is no key.
4. Every refusal is the same to whoever sent the token; the reason is for the record.
5. A token that was verified is remembered, until it ends and at most for a minute, after which the keys are
   asked again. It stands in the memory of this process alone, where the keys of the store stand too; to
   take its digest instead would cost more than all the rest.

Source: RFC 7515, RFC 7518, RFC 8037, RFC 8725 (best current practice); tests/vectors/jwt/.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from strongroom.errors import BackendConfigError, InvalidInputError, NotAuthenticatedError
from strongroom.holding import boot_seconds
from strongroom.model.jsontext import decode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "ALGORITHMS",
    "Claims",
    "Keys",
    "PublicKey",
    "TokenError",
    "Verifier",
    "ends_of",
    "keys_of",
    "peek",
]

MAX_TOKEN_CHARACTERS = 16_384
_MAX_HEADER_CHARACTERS = 2_048
_MAX_KID_CHARACTERS = 256
_MAX_TEXT_CHARACTERS = 2_048  # of iss, sub, jti and each aud
_MAX_AUDIENCES = 32
_MAX_KEYS = 256
_MAX_SECONDS = 253_402_214_399  # a day before the end of what `datetime` has
_MIN_RSA_BITS, _MAX_RSA_BITS = 2_048, 8_192
_MAX_REMEMBERED = 10_000
_REMEMBERED_SECONDS = 60.0
_MAX_REMEMBERED_CHARACTERS = 4_096  # of a token; a longer one is checked each time
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_PLAIN = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+")
# Each would have the token say how it is to be checked, or hold another key than the operator's.
_REFUSED_MEMBERS = frozenset(("crit", "b64", "jku", "jwk", "x5u", "x5c", "zip", "enc", "epk"))
_REFUSED = "this token proves nobody"


class _Kind(NamedTuple):
    """The kind of key an algorithm goes with, and how long its signatures are; 0 for as long as the key."""

    kty: str
    crv: str
    signature_bytes: int


_RSA = _Kind("RSA", "", 0)
ALGORITHMS: Mapping[str, _Kind] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), _RSA),
    "ES256": _Kind("EC", "P-256", 64),
    "ES384": _Kind("EC", "P-384", 96),
    "EdDSA": _Kind("OKP", "Ed25519", 64),
}


class TokenError(NotAuthenticatedError):
    """
    A token that proves nobody. To whoever sent it every one is the same.

    Attributes:
        reason: for the record: a few words, nothing of the token.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(_REFUSED)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """
    What a verified token says.

    Args:
        issuer: `iss`.
        subject: `sub`.
        audiences: `aud`.
        issued, expires: `iat` and `exp`, UTC.
        id: `jti`; None without one.
        all: every claim, as JSON has them.
    """

    issuer: str
    subject: str
    audiences: tuple[str, ...]
    issued: datetime
    expires: datetime
    id: str | None
    all: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Claims(issuer={self.issuer!r})"


class PublicKey(NamedTuple):
    """
    A key that signatures are checked with.

    Args:
        kid: its name.
        kind: which algorithms it goes with.
        alg: the one it is for; None for any of its kind.
        key: the library's.
        signature_bytes: how long its signatures are.
    """

    kid: str
    kind: tuple[str, str]
    alg: str | None
    key: Any
    signature_bytes: int


class Keys(Protocol):
    """
    The keys of one issuer.

    Threads: safe.
    """

    @property
    def generation(self) -> int:
        """Another number once the keys are others."""

    def find(self, kid: str) -> PublicKey | None:
        """
        Give the key of that name; None where the issuer has none.

        Raises:
            BackendUnavailableError: the keys are not at hand and cannot be had now.
        """

    def only(self) -> PublicKey | None:
        """
        Give the one key the issuer has; None where it has several, or none.

        Raises:
            BackendUnavailableError: as `find`.
        """


class Verifier:
    """
    Check the tokens of one issuer for one audience.

    Trust: everything in a token is a stranger's until its signature holds.
    Threads: safe.

    Args:
        issuer: what `iss` must be, to the letter.
        audience: what `aud` must be or hold, to the letter.
        algorithms: those taken, of `ALGORITHMS`.
        keys: the issuer's.
        clock: wall clock, UTC.
        leeway: by how much two clocks may differ, 10 s at most.
        longest: what may lie between `iat` and `exp`.
        types: what `typ` may be, in any case; a token may also leave it out.
        needs_subject: False takes a token without `sub`; its subject is "".
        may_leave_out_kid: takes a token that names no key where the issuer has one alone, as an ID token may
            (OpenID Connect Core 1.0 §10.1).
        timer: seconds that only go up, in sleep too: for what is remembered.

    Raises:
        BackendConfigError: an algorithm is none that is taken here, or a bound is none.
    """

    def __init__(  # noqa: PLR0913 -- what a token is held against
        self,
        *,
        issuer: str,
        audience: str,
        algorithms: Sequence[str],
        keys: Keys,
        clock: Callable[[], datetime],
        leeway: timedelta = timedelta(seconds=10),
        longest: timedelta = timedelta(days=1),
        types: Sequence[str] = ("jwt", "at+jwt"),
        needs_subject: bool = True,
        may_leave_out_kid: bool = False,
        timer: Callable[[], float] = boot_seconds,
    ) -> None:
        if not algorithms or not set(algorithms) <= ALGORITHMS.keys():
            raise BackendConfigError(
                "tokens are checked by signatures of private keys alone",
                hint=f"algorithms: some of {', '.join(ALGORITHMS)}",
            )
        if not issuer or not audience or not timedelta(0) <= leeway <= timedelta(seconds=10) < longest:
            raise BackendConfigError(
                "tokens are checked for an issuer and an audience, 10 s of leeway at most"
            )
        self.issuer = issuer
        self.audience = audience
        self.keys = keys
        self._algorithms = frozenset(algorithms)
        self._clock = clock
        self.leeway = leeway
        self._longest = int(longest.total_seconds())
        self._types = frozenset(kind.lower() for kind in types)
        self._needs_subject = needs_subject
        self._may_leave_out_kid = may_leave_out_kid
        self._timer = timer
        # By token: until when on the timer, the keys' generation, what it says.
        self._remembered: dict[str, tuple[float, int, Claims]] = {}

    def __repr__(self) -> str:
        return f"Verifier({self.issuer!r})"

    def verify(self, token: str) -> Claims:
        """
        Give what *token* says, if it is one of this issuer's, for us, and now.

        Raises:
            TokenError: it is not; `reason` says why, for the record.
            BackendUnavailableError: the issuer's keys cannot be had now.
        """
        found = self._remembered.get(token)
        if found is not None:
            until, generation, claims = found
            if self._timer() < until and self.keys.generation == generation:
                return claims
            self._remembered.pop(token, None)
        # Asked before: what an older set of keys says is not remembered as the word of a newer one.
        generation = self.keys.generation
        claims = self.check(token)
        if len(token) <= _MAX_REMEMBERED_CHARACTERS:
            self._remember(token, generation, claims)
        return claims

    def _remember(self, token: str, generation: int, claims: Claims) -> None:
        while len(self._remembered) >= _MAX_REMEMBERED:
            self._remembered.pop(next(iter(self._remembered)), None)
        left = (claims.expires + self.leeway - self._clock()).total_seconds()
        self._remembered[token] = (self._timer() + min(left, _REMEMBERED_SECONDS), generation, claims)

    def check(self, token: str) -> Claims:
        """
        Give what *token* says, as `verify`, remembering nothing: for whoever remembers more than that.

        Raises:
            TokenError, BackendUnavailableError: as `verify`.
        """
        head, body, signature = _parts(token)
        header = _object(_bytes_of(head), "a header that is no JSON object")
        key = self._key(header)
        mark = _bytes_of(signature)
        if len(mark) != key.signature_bytes:
            raise TokenError("a signature of another length")
        if not _holds(header["alg"], token[: len(head) + 1 + len(body)].encode("ascii"), mark, key):
            raise TokenError("a signature that does not hold")
        return self._claims(_object(_bytes_of(body), "claims that are no JSON object"))

    def _key(self, header: Mapping[str, Any]) -> PublicKey:
        """Give the key that must have signed a token with this *header*."""
        algorithm, kid, kind = header.get("alg"), header.get("kid"), header.get("typ")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise TokenError("an algorithm that is not taken")
        if not _REFUSED_MEMBERS.isdisjoint(header):
            raise TokenError("a header that would choose how it is checked")
        if kind is not None and (not isinstance(kind, str) or self._bare(kind) not in self._types):
            raise TokenError("a token of another type")
        if "kid" not in header and self._may_leave_out_kid:
            return self._fitting(self.keys.only(), algorithm)
        if not isinstance(kid, str) or len(kid) > _MAX_KID_CHARACTERS or not _PLAIN.fullmatch(kid):
            raise TokenError("no plain name of a key")
        return self._fitting(self.keys.find(kid), algorithm)

    @staticmethod
    def _fitting(key: PublicKey | None, algorithm: str) -> PublicKey:
        if key is None:
            raise TokenError("a key the issuer does not have")
        if key.kind != ALGORITHMS[algorithm][:2] or key.alg not in (None, algorithm):
            raise TokenError("a key of another algorithm")
        return key

    @staticmethod
    def _bare(kind: str) -> str:
        return kind.lower().removeprefix("application/")  # RFC 7515 §4.1.9

    def _claims(self, said: Mapping[str, Any]) -> Claims:
        if said.get("iss") != self.issuer:
            raise TokenError("another issuer")
        audiences = _audiences(said.get("aud"))
        if self.audience not in audiences:
            raise TokenError("another audience")
        issued, expires = self._times(said)
        subject = "" if "sub" not in said and not self._needs_subject else said.get("sub")
        if not isinstance(subject, str) or (self._needs_subject and not _is_plain(subject)):
            raise TokenError("no plain subject")
        jti = said.get("jti")
        if jti is not None and not _is_plain(jti):
            raise TokenError("an id that is no plain text")
        return Claims(
            issuer=self.issuer,
            subject=subject,
            audiences=audiences,
            issued=issued,
            expires=expires,
            id=jti,
            all=said,
        )

    def _times(self, said: Mapping[str, Any]) -> tuple[datetime, datetime]:
        expires, issued = _seconds(said, "exp"), _seconds(said, "iat")
        begins = _seconds(said, "nbf") if "nbf" in said else issued
        if not 0 < expires - issued <= self._longest:
            raise TokenError("a lifetime that is not taken")
        now, leeway = self._clock(), self.leeway
        if now >= _EPOCH + timedelta(seconds=expires) + leeway:
            raise TokenError("it has expired")
        if now < _EPOCH + timedelta(seconds=max(begins, issued)) - leeway:
            raise TokenError("it is not valid yet")
        return _EPOCH + timedelta(seconds=issued), _EPOCH + timedelta(seconds=expires)


def peek(token: str) -> str | None:
    """
    Give the `iss` a token claims, to find whose rules it is checked by; None where it is no token or has
    none. Nothing of it is believed.
    """
    try:
        issuer = _said(token).get("iss")
    except TokenError:
        return None
    return issuer if _is_plain(issuer) else None


def ends_of(token: str, *, audience: str, now: datetime) -> datetime:
    """
    Give when a token ends, as it says itself, to spare a question about one that is over or not for us.
    Nothing of it is believed.

    Raises:
        TokenError: it is over, not for *audience*, or no token.
    """
    said = _said(token)
    if audience not in _audiences(said.get("aud")):
        raise TokenError("another audience")
    ends = _EPOCH + timedelta(seconds=_seconds(said, "exp"))
    if now >= ends:
        raise TokenError("it has expired")
    return ends


def _said(token: str) -> dict[str, Any]:
    _, body, _ = _parts(token)
    return _object(_bytes_of(body), "claims that are no JSON object")


# --- bytes --------------------------------------------------------------------------------------------


def _parts(token: str) -> tuple[str, str, str]:
    """Give header, claims and signature as they are written."""
    if len(token) > MAX_TOKEN_CHARACTERS:
        raise TokenError("a token that is too long")
    if not _TOKEN.fullmatch(token):
        raise TokenError("no token of three parts")
    head, body, signature = token.split(".")
    if len(head) > _MAX_HEADER_CHARACTERS:
        raise TokenError("a header that is too long")
    return head, body, signature


def _bytes_of(text: str) -> bytes:
    """Read base64url without padding, in its one spelling (RFC 7515 §2, RFC 4648 §3.5)."""
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (Base64Error, ValueError):
        data = b""
    # Spare bits in the last character would give one token many spellings.
    if not data or urlsafe_b64encode(data).rstrip(b"=") != text.encode("ascii"):
        raise TokenError("base64 of no one spelling")
    return data


def _object(data: bytes, reason: str) -> dict[str, Any]:
    """Read a JSON object within bounds, in which nothing is said twice at any depth (RFC 8725 §2.4)."""
    try:
        # Bytes of UTF-8 alone: `json` would take others, and look past a mark at the beginning.
        found = decode(data.decode("utf-8"))
    except (UnicodeDecodeError, InvalidInputError):
        found = None
    if not isinstance(found, dict):
        raise TokenError(reason)
    return found


def _audiences(said: object) -> tuple[str, ...]:
    given = [said] if isinstance(said, str) else said
    if not isinstance(given, list) or not 0 < len(given) <= _MAX_AUDIENCES or not all(map(_is_plain, given)):
        raise TokenError("no plain audience")
    return tuple(given)


def _is_plain(text: object) -> bool:
    return isinstance(text, str) and len(text) <= _MAX_TEXT_CHARACTERS and bool(_PLAIN.fullmatch(text))


def _seconds(said: Mapping[str, Any], claim: str) -> int:
    found = said.get(claim)
    # A truth value is an int to Python, and none to JSON.
    if isinstance(found, bool) or not isinstance(found, int) or not 0 < found <= _MAX_SECONDS:
        raise TokenError(f"no whole seconds in {claim}")
    return found


# --- keys ---------------------------------------------------------------------------------------------


def keys_of(data: bytes) -> dict[str, PublicKey]:
    """
    Read a set of keys (JWKS, RFC 7517 §5), by name. Keys that are of no use here are passed over: secrets
    (`oct`), other kinds and curves, RSA under 2048 or over 8192 bits, those for encryption, and those without
    a name. Of two with one name neither counts.

    Args:
        data: of a document; its bound is the caller's.

    Raises:
        ValueError: it is no set of keys.
        BackendConfigError: the library is not installed.
    """
    try:
        listed = _object(data, "").get("keys")
    except TokenError:
        listed = None
    if not isinstance(listed, list) or len(listed) > _MAX_KEYS:
        raise ValueError("no set of keys")
    found: dict[str, PublicKey] = {}
    names: set[str] = set()
    for one in listed:
        name = one.get("kid") if isinstance(one, dict) else None
        if not isinstance(name, str) or len(name) > _MAX_KID_CHARACTERS or not _PLAIN.fullmatch(name):
            continue
        key = None if name in names else _key_of(name, one)
        names.add(name)
        found.pop(name, None)
        if key is not None:
            found[name] = key
    return found


def _key_of(name: str, said: Mapping[str, Any]) -> PublicKey | None:
    kty, crv, alg = said.get("kty"), said.get("crv", ""), said.get("alg")
    kind = next((one for one in set(ALGORITHMS.values()) if (one.kty, one.crv) == (kty, crv)), None)
    operations = said.get("key_ops", ["verify"])
    if kind is None or said.get("use", "sig") != "sig":
        return None
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if alg is not None and (not isinstance(alg, str) or alg not in ALGORITHMS or ALGORITHMS[alg] != kind):
        return None
    # What is private of a key is dropped: a set that shows it is the issuer's trouble, and none of ours.
    public = {key: said.get(key) for key in _PUBLIC_MEMBERS[kind.kty]}
    if not all(
        isinstance(value, str) and _is_base64(value) for key, value in public.items() if key not in _NAMES
    ):
        return None
    return _imported(name, kind, alg, public)


_PUBLIC_MEMBERS = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y"), "OKP": ("kty", "crv", "x")}
_NAMES = ("kty", "crv")


def _is_base64(text: str) -> bool:
    try:
        _bytes_of(text)
    except (TokenError, UnicodeEncodeError):
        return False
    return True


def _imported(name: str, kind: _Kind, alg: str | None, public: Mapping[str, Any]) -> PublicKey | None:
    size = kind.signature_bytes
    if kind.kty == "RSA":
        modulus = int.from_bytes(_bytes_of(public["n"]), "big")
        exponent = int.from_bytes(_bytes_of(public["e"]), "big")
        # A large exponent costs as much as the sender likes; an even or tiny one is no RSA key.
        is_sound = exponent % 2 == 1 and 3 <= exponent < 2**32  # noqa: PLR2004 -- FIPS 186-5 §5.4 asks 2^16 < e; 3 is met
        if not is_sound or not _MIN_RSA_BITS <= modulus.bit_length() <= _MAX_RSA_BITS:
            return None
        size = -(-modulus.bit_length() // 8)
    try:
        key = _joserfc().import_key(dict(public), kind.kty)
    except (ValueError, TypeError, KeyError):  # the library's and its own library's: a point off the curve
        return None
    return PublicKey(name, (kind.kty, kind.crv), alg, key, size)


def _holds(algorithm: str, message: bytes, signature: bytes, key: PublicKey) -> bool:
    """Tell whether *key* signed *message*."""
    check = _registry()[algorithm]
    try:
        return bool(check.verify(message, signature, key.key))
    except ValueError:  # numbers of a signature that no signature has
        return False


def _joserfc() -> Any:  # noqa: ANN401 -- the library's module
    try:
        from joserfc import jwk  # noqa: PLC0415 -- costs 100 ms, and only whoever checks tokens pays for it
    except ImportError:
        raise BackendConfigError(
            "checking signed tokens needs the library joserfc", hint="pip install 'strongroom[agent]'"
        ) from None
    return jwk


def _registry() -> Mapping[str, Any]:
    from joserfc.jws import JWSRegistry  # noqa: PLC0415 -- as `_joserfc`

    return JWSRegistry.algorithms
