"""
Read sealed values and wrapped keys without Strongroom: a decoder written from docs/envelope.md.

`RefusedError.code` is the code of Strongroom's error. Not for production: nothing here is hardened.
"""

from __future__ import annotations

import base64
import hmac
import unicodedata

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

KINDS = {"connection": 1, "variable": 2, "config": 3}
FIELDS = {"value": 1, "metadata": 2}


class RefusedError(Exception):
    def __init__(self, code):
        super().__init__(code)
        self.code = code


def lp(part):
    return len(part).to_bytes(2, "big") + part


def expand(key, info):
    return hmac.digest(key, info + b"\x01", "sha512")


def prefix(place, key_id):
    store_id = bytes.fromhex(place["store_id"])
    parts = [b"SRM\x01", b"\x01", store_id, place["deployment"].encode(), place["team"].encode(), key_id]
    return b"".join(map(lp, parts))


def tail(kind, field, row_id, version, name):
    codes = bytes([KINDS[kind], FIELDS[field]])
    return codes + bytes.fromhex(row_id) + version.to_bytes(8, "big") + name.encode()


def bucketed(length):
    bucket = 64 if length <= 4096 else 1024
    return (length + bucket - 1) // bucket * bucket


def unpad(padded):
    end = len(padded) - 1
    while end >= 0 and padded[end] == 0:
        end -= 1
    if end < 0 or padded[end] != 0x80 or bucketed(end + 1) != len(padded):
        raise RefusedError("tampered")
    return padded[:end]


def open_sealed(sealed, keyring, context):
    """*keyring*: place and keys as in the file; *context*: [kind, field, row id, version, name]."""
    if sealed[:3] != b"SRM" or len(sealed) < 4 or sealed[3] < 1:
        raise RefusedError("tampered")
    if sealed[3] > 1 or (len(sealed) > 4 and sealed[4] > 1):
        raise RefusedError("invalid_input")
    if sealed[4:5] != b"\x01" or not 205 <= len(sealed) <= 1_049_741:
        raise RefusedError("tampered")
    key_id = sealed[5:21]
    found = [key["kek"] for key in keyring["keys"] if key["id"] == key_id.hex() and key["kek"]]
    if not found:
        raise RefusedError("sealed")
    kek = bytes.fromhex(found[0])
    start = prefix(keyring["place"], key_id)
    aad = start + tail(*context)
    dek_wrap_key = expand(kek, b"srm/v1/dek-wrap\x00" + start)[:32]
    try:
        dek = AESGCMSIV(dek_wrap_key).decrypt(sealed[21:33], sealed[33:81], aad)
        okm = expand(dek, b"srm/v1" + aad)
        if not hmac.compare_digest(okm[32:], sealed[81:113]):
            raise RefusedError("tampered")
        return unpad(AESGCM(okm[:32]).decrypt(sealed[113:125], sealed[125:], aad))
    except InvalidTag:
        raise RefusedError("tampered") from None


def unwrap(outer, wrapped, aad, refusal):
    try:
        cipher = AESGCMSIV(expand(outer, b"srm/v1/key-wrap")[:32])
        return cipher.decrypt(wrapped[:12], wrapped[12:], aad)
    except (InvalidTag, ValueError):
        raise RefusedError(refusal) from None


def label(outer):
    return expand(outer, b"srm/v1/outer-key-id")[:8]


def read_key_file(line):
    try:
        mark, claimed, encoded = line.removesuffix("\n").split(" ")
        outer = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise RefusedError("sealed") from None
    if mark != "strongroom-key-v1" or len(outer) != 32 or label(outer).hex() != claimed:
        raise RefusedError("sealed")
    return outer


def unwrap_key(blob, kind, holder, place, key_id, number):
    """*holder*: the line of the key file, or the passphrase."""
    key_id = bytes.fromhex(key_id)
    context = b"srm/v1/kek\x00" + prefix(place, key_id) + number.to_bytes(4, "big")
    if blob[:4] != b"SRW\x01":
        raise RefusedError("tampered")
    if blob[4 : 5 + len(kind)] != bytes([len(kind)]) + kind.encode():
        raise RefusedError("sealed")
    body = blob[5 + len(kind) :]
    if kind == "file":
        outer = read_key_file(holder)
        if body[:8] != label(outer):
            raise RefusedError("sealed")
        return unwrap(outer, body[8:], body[:8] + context, "tampered")
    cost, salt = body[:8], body[8:24]
    memory, iterations, lanes = (int.from_bytes(cost[a:b], "big") for a, b in ((0, 4), (4, 6), (6, 8)))
    is_bounded = 1 <= iterations <= 16 and 1 <= lanes <= 16 and 8 * lanes <= memory <= 1_048_576
    if len(salt) < 16 or not is_bounded:
        raise RefusedError("tampered")
    stretcher = Argon2id(salt=salt, length=32, iterations=iterations, lanes=lanes, memory_cost=memory)
    outer = stretcher.derive(unicodedata.normalize("NFC", holder).encode())
    return unwrap(outer, body[24:], cost + salt + context, "sealed")
