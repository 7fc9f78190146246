"""
Google's Cloud KMS on this machine, as strict as its reference: symmetric keys with versions, associated data,
checksums, and the errors' statuses and words.

    kms = KeyService(google)             # tokens are those that `google` of parts.google gives out
    name = kms.key(project)              # projects/…/cryptoKeys/k1
    kms.disable(name), kms.destroy(name), kms.rotate(name)
    kms.answers                          # answered in place of it, first to last, as (status, body)
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from parts.google_model import Fault
from strongroom.vendors.crc32c import crc32c

_PATH = re.compile(
    r"/v1/(projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/:]+):(encrypt|decrypt)", re.ASCII
)
_MEMBERS = {
    "encrypt": {
        "plaintext",
        "plaintextCrc32c",
        "additionalAuthenticatedData",
        "additionalAuthenticatedDataCrc32c",
    },
    "decrypt": {
        "ciphertext",
        "ciphertextCrc32c",
        "additionalAuthenticatedData",
        "additionalAuthenticatedDataCrc32c",
    },
}
_HTTP = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
}


class KeyService:
    """
    Attributes:
        allowed: who may use every key.
        answers: answered in place of it, first to last.
        asked: what was asked: (key, act).
        is_down: it hangs up on everybody.
    """

    def __init__(self, google):
        self._google = google
        self._keys = {}  # by name: its versions, [secret, state] each
        self._numbers = itertools.count(1)
        self.allowed = {google.account}
        self.answers, self.asked, self.is_down = [], [], False
        self._server = _server(self)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()

    def key(self, project):
        name = f"projects/{project}/locations/global/keyRings/r/cryptoKeys/k{next(self._numbers)}"
        self._keys[name] = [[os.urandom(32), "ENABLED"]]
        return name

    def rotate(self, name):
        self._keys[name].append([os.urandom(32), "ENABLED"])

    def state(self, name, state):
        """Put every version of the key into a state."""
        for version in self._keys[name]:
            version[1] = state

    def answer(self, path, header, body):
        """Answer a request: (status, JSON)."""
        if self.answers:
            return self.answers.pop(0)
        try:
            found = _PATH.fullmatch(path)
            if found is None:
                return 404, None
            return 200, self._answered(found[1], found[2], header, body)
        except Fault as fault:
            code = _HTTP[fault.status]
            return code, {"error": {"code": code, "message": fault.words, "status": fault.status}}

    def _answered(self, name, act, header, body):
        if self._google.known(header) not in self.allowed:
            raise Fault("PERMISSION_DENIED", f"Permission denied on resource '{name}' (or it may not exist).")
        self.asked.append((name, act))
        if name not in self._keys:
            raise Fault("NOT_FOUND", f"CryptoKey {name} not found.")
        said = _read(json.loads(body), act)
        return self._encrypt(name, said) if act == "encrypt" else self._decrypt(name, said)

    def _encrypt(self, name, said):
        number = len(self._keys[name])
        secret = self._enabled(name, number)
        nonce = os.urandom(12)
        sealed = nonce + AESGCM(secret).encrypt(nonce, said["plaintext"], said["additionalAuthenticatedData"])
        body = number.to_bytes(4, "big") + sealed
        return {
            "name": f"{name}/cryptoKeyVersions/{number}",
            "ciphertext": base64.b64encode(body).decode(),
            "ciphertextCrc32c": str(crc32c(body)),
            "verifiedPlaintextCrc32c": True,
            "verifiedAdditionalAuthenticatedDataCrc32c": True,
            "protectionLevel": "SOFTWARE",
        }

    def _decrypt(self, name, said):
        body = said["ciphertext"]
        number = int.from_bytes(body[:4], "big")
        failed = Fault(
            "INVALID_ARGUMENT", "Decryption failed: verify that 'name' refers to the correct CryptoKey."
        )
        if not 1 <= number <= len(self._keys[name]):
            raise failed
        secret = self._enabled(name, number)
        try:
            plain = AESGCM(secret).decrypt(body[4:16], body[16:], said["additionalAuthenticatedData"])
        except InvalidTag:
            raise failed from None
        return {
            "plaintext": base64.b64encode(plain).decode(),
            "plaintextCrc32c": str(crc32c(plain)),
            "usedPrimary": number == len(self._keys[name]),
        }

    def _enabled(self, name, number):
        secret, state = self._keys[name][number - 1]
        if state != "ENABLED":
            raise Fault(
                "FAILED_PRECONDITION",
                f"{name}/cryptoKeyVersions/{number} is not enabled, current state is: {state}.",
            )
        return secret


def _read(said, act):
    """Read a body as strictly as the reference says, checksums included."""
    if set(said) - _MEMBERS[act]:
        raise Fault("INVALID_ARGUMENT", "Invalid JSON payload received. Unknown name.")
    found = {}
    for member in ("plaintext" if act == "encrypt" else "ciphertext", "additionalAuthenticatedData"):
        data = base64.b64decode(said.get(member, ""), validate=True)
        checksum = said.get(f"{member}Crc32c")
        if checksum is not None and str(crc32c(data)) != checksum:
            raise Fault("INVALID_ARGUMENT", "The checksum did not match the data.")
        assert checksum is not None, "sent without a checksum"
        found[member] = data
    return found


def _server(kms):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if kms.is_down:
                self.close_connection = True
                return
            status, held = kms.answer(self.path, self.headers.get("Authorization"), body)
            data = b"<html>404</html>" if held is None else json.dumps(held).encode()
            kind = "text/html" if held is None else "application/json"
            head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
            self.wfile.write(head.encode() + data)

        def log_message(self, *_args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    return server
