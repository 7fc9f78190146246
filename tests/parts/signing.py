"""
Who signs tokens, for tests: keys of every kind, and an issuer's address with its keys.

    signer = Signer()
    token = signer.sign({"iss": "https://issuer.test", "aud": "strongroom", …}, kid="rsa")
    with KeyServer(signer) as server: ...                  # discovery document and JWKS over HTTP

Tokens are put together byte by byte, so that any of them may be wrong.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

ISSUER = "https://issuer.test"
AUDIENCE = "strongroom"


def packed(data):
    """Spell *data* as the parts of a token are."""
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unpacked(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def claims(*, now=None, lasts=600, **more):
    """Claims of a good token; one that is None is left out."""
    now = int(time.time()) if now is None else now
    found = {"iss": ISSUER, "aud": AUDIENCE, "sub": "etl", "iat": now, "exp": now + lasts, **more}
    return {name: value for name, value in found.items() if value is not None}


def _number(value, size=None):
    return packed(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


class _Rsa:
    alg = "RS256"

    def __init__(self, kid, bits=2048):
        self.kid = kid
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=bits)

    def sign(self, message, alg):
        digest = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}[alg[2:]]
        pad = padding.PKCS1v15() if alg[0] == "R" else padding.PSS(padding.MGF1(digest), digest.digest_size)
        return self.key.sign(message, pad, digest)

    def jwk(self):
        public = self.key.public_key().public_numbers()
        return {"kty": "RSA", "kid": self.kid, "n": _number(public.n), "e": _number(public.e)}


class _Ec:
    def __init__(self, kid, alg="ES256"):
        self.kid, self.alg = kid, alg
        self.curve, self.size, self.crv, self.digest = {
            "ES256": (ec.SECP256R1(), 32, "P-256", hashes.SHA256()),
            "ES384": (ec.SECP384R1(), 48, "P-384", hashes.SHA384()),
        }[alg]
        self.key = ec.generate_private_key(self.curve)

    def sign(self, message, _alg):
        r, s = decode_dss_signature(self.key.sign(message, ec.ECDSA(self.digest)))
        return r.to_bytes(self.size, "big") + s.to_bytes(self.size, "big")

    def jwk(self):
        public = self.key.public_key().public_numbers()
        x, y = _number(public.x, self.size), _number(public.y, self.size)
        return {"kty": "EC", "kid": self.kid, "crv": self.crv, "x": x, "y": y}


class _Ed:
    alg = "EdDSA"

    def __init__(self, kid):
        self.kid = kid
        self.key = ed25519.Ed25519PrivateKey.generate()

    def sign(self, message, _alg):
        return self.key.sign(message)

    def jwk(self):
        public = packed(self.key.public_key().public_bytes_raw())
        return {"kty": "OKP", "kid": self.kid, "crv": "Ed25519", "x": public}


_MAKERS = {
    "rsa": _Rsa,
    "p256": _Ec,
    "p384": lambda kid: _Ec(kid, "ES384"),
    "ed": _Ed,
}


class Signer:
    """Keys by name; `jwks` is their public halves."""

    def __init__(self, *kinds):
        self.keys = {kind: _MAKERS[kind](kind) for kind in kinds or ("rsa",)}

    def add(self, kid, kind="rsa"):
        self.keys[kid] = _MAKERS[kind](kid)

    @property
    def jwks(self):
        return {"keys": [key.jwk() for key in self.keys.values()]}

    def sign(self, said=None, *, kid=None, alg=None, header=None, body=None):
        """
        Give a token.

        Args:
            said: its claims.
            kid: whose key signs; the first one if unsaid.
            alg: as the header says; the key's own if unsaid.
            header: members over those of an ordinary one; None takes one away.
            body: the bytes of the claims, in place of *said*.
        """
        key = self.keys[kid or next(iter(self.keys))]
        head = {"alg": alg or key.alg, "kid": key.kid, "typ": "JWT", **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        return self.signed(json.dumps(head).encode(), body or json.dumps(said or claims()).encode(), key, alg)

    @staticmethod
    def signed(head, body, key, alg=None):
        """Give the token of these very bytes."""
        message = f"{packed(head)}.{packed(body)}"
        return f"{message}.{packed(key.sign(message.encode(), alg or key.alg))}"


class KeyServer:
    """
    An issuer's address: `url`, its discovery document and its keys.

    `asked` counts requests by path; `say` is what is answered in place of it: path → (status, headers, body);
    while `hold` is not set, nothing is answered.
    """

    def __init__(self, signer):
        self.signer = signer
        self.asked = []
        self.say = {}
        self.hold = threading.Event()
        self.hold.set()
        self._server = _Quiet(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.issuer = self.url

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_error):
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()

    def count(self, path="/jwks"):
        return self.asked.count(path)

    def answer(self, path):
        if path in self.say:
            return self.say[path]
        documents = {
            "/.well-known/openid-configuration": {"issuer": self.issuer, "jwks_uri": f"{self.url}/jwks"},
            "/jwks": self.signer.jwks,
        }
        found = documents.get(path)
        return (404, {}, b"") if found is None else (200, {}, json.dumps(found).encode())


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def log_message(self, *_arguments):
        """Say nothing."""

    def do_GET(self):
        owner = self.server.owner
        owner.asked.append(self.path)
        owner.hold.wait(20)
        status, headers, body = owner.answer(self.path)
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
