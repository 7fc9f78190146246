"""
What workloads show of themselves, for tests: signed tokens, and a Kubernetes that reviews them.

    issuer = Issuer()
    token = issuer.sign(sub="etl", aud=["vault"])           # RS256
    with Reviewer(folder, accept={token: "data:etl"}) as kubernetes: ...
"""

from __future__ import annotations

import base64
import itertools
import json
import time
from functools import cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from parts.certificates import Authority, server_context
from parts.proxy import Scripted, reply

_DIFFERENT = 3  # private keys: making one takes longer than a test
_numbers = itertools.count()


def _packed(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unpacked(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@cache
def _private(_number):
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Issuer:
    """Sign tokens of claims (RFC 7519) with a key of its own; `public` is its PEM."""

    def __init__(self):
        self._key = _private(next(_numbers) % _DIFFERENT)
        self.public = (
            self._key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )
        self.private = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()

    def sign(self, *, lasts=300, **claims):
        now = int(time.time())
        claims = {"iat": now, "exp": now + lasts, **claims}
        head = _packed(json.dumps({"alg": "RS256", "typ": "JWT", "kid": "1"}).encode())
        signed = f"{head}.{_packed(json.dumps(claims).encode())}"
        return f"{signed}.{_packed(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def claims(self, token):
        """Give the claims of a token of ours that has not ended, or None."""
        signed, _, signature = token.rpartition(".")
        try:
            self._key.public_key().verify(
                _unpacked(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except (InvalidSignature, ValueError):
            return None
        claims = json.loads(_unpacked(signed.partition(".")[2]))
        return claims if claims["exp"] > time.time() else None


class Reviewer(Scripted):
    """
    The part of a Kubernetes API server that a Vault asks: TokenReview, over TLS.

    The answer names the audiences, without which a Vault refuses the login and says nowhere why.

    Args:
        folder: for the certificates; `ca` is the PEM of their authority.
        accept: tokens that are good, and whose: `namespace:name`.
        audience: that tokens are for.
        secret: what the one who asks must show.
    """

    def __init__(self, folder, *, accept, audience, secret):
        authority = Authority(folder, "kubernetes")
        certificate, key = authority.issue("api", "127.0.0.1", "localhost")
        self.ca = authority.file.read_text()
        self.accept = accept
        self.reviews = 0
        self._audience = audience
        self._secret = secret
        super().__init__(self._say, tls=server_context(certificate, key))

    def _say(self, request):
        head, _, body = request.partition(b"\r\n\r\n")
        is_known = f"authorization: bearer {self._secret}".lower().encode() in head.lower()
        if not head.startswith(b"POST /apis/authentication.k8s.io/v1/tokenreviews ") or not is_known:
            return reply(401, {}, b'{"kind":"Status","code":401}')
        self.reviews += 1
        asked = json.loads(body)
        return reply(
            201, {"Content-Type": "application/json"}, json.dumps({**asked, **self._found(asked)}).encode()
        )

    def _found(self, asked):
        whose = self.accept.get(asked["spec"]["token"])
        if whose is None or self._audience not in asked["spec"].get("audiences", [self._audience]):
            return {"status": {"authenticated": False, "error": "token is not valid"}}
        user = {
            "username": f"system:serviceaccount:{whose}",
            "uid": "0-1",
            "groups": ["system:serviceaccounts"],
        }
        return {"status": {"authenticated": True, "user": user, "audiences": [self._audience]}}
