"""
Freeze sealed values that must open and others that must not: tests/vectors/envelope-v1.json.

    .venv/bin/python scripts/envelope_vectors.py            # write the file
    .venv/bin/python scripts/envelope_vectors.py --check    # exit 1 if the file would change

Deterministic: the random source of `crypto._primitives` is exchanged for SHA-256 of a counter while
this script runs. Production code has no way to be given randomness.

Shape of the file: `keyrings` (a place and its keys each); `opens` (keyring, context, plaintext,
sealed); `fails` (of: index in `opens`; what differs: `splice` [start, end, hex] replaces
sealed[start:end], `sealed` replaces it all, `context` and `keyring` replace theirs; error; why);
`keys` (wrapped keys that unwrap) and `bad_keys` likewise. A plaintext is hex, or [hex, times].
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import tempfile
from contextlib import contextmanager
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.crypto import _primitives, envelope
from strongroom.crypto.envelope import Context
from strongroom.crypto.keyring import Kek, Keyring, Place
from strongroom.model.secret import Secret
from strongroom.wrappers import file
from strongroom.wrappers.passphrase import INSECURE_TEST_PROFILE, PassphraseWrapper

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = dict[str, Any]

TARGET = Path(__file__).resolve().parent.parent / "tests" / "vectors" / "envelope-v1.json"
HEADER = {
    "the magic": (0, 3),
    "the version": (3, 4),
    "the algorithm": (4, 5),
    "the key id": (5, 21),
    "the wrap nonce": (21, 33),
    "the wrapped DEK": (33, 81),
    "the commitment": (81, 113),
    "the nonce": (113, 125),
    "the ciphertext": (125, 189),
    "the tag": (189, 205),
}
NAMES = ["a", "orders_db", "prod/eu/orders", "with space:#%*", "Zürich", "倉庫", "🔑", "x" * 250]
VERSIONS = [1, 2, 255, 256, 2**32, 2**63 - 1]
LENGTHS = [0, 1, 2, 15, 16, 31, 32, 61, 62, 63, 64, 65, 126, 127, 128, 129, 190, 191, 192, 200, 255, 256]
LONG_LENGTHS = [4031, 4032, 4094, 4095, 4096, 5118, 5119, 5120]
CONFUSING = ["80", "8000", "00", "0000", "8080", "00" * 63, "80" + "00" * 62, "00" * 64, "80" * 64, "ff" * 64]
ZEROS, OTHER_ID = b"\x00" * 16, b"\x77" * 16


@contextmanager
def counted_randomness() -> Iterator[None]:
    """Exchange the random source for a repeatable one."""
    count, real = 0, _primitives._urandom  # noqa: SLF001  # the edge where randomness comes in

    def stream(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.shake_256(b"strongroom vectors" + count.to_bytes(4, "big")).digest(size)

    _primitives._urandom = stream  # noqa: SLF001  # same
    try:
        yield
    finally:
        _primitives._urandom = real  # noqa: SLF001  # same


def fixed(label: str, size: int) -> bytes:
    """Give *size* bytes that belong to *label*."""
    return hashlib.shake_256(label.encode()).digest(size)


def keyrings() -> list[Keyring]:
    """Give the keyring that seals, one without team, and strangers that hold the same key elsewhere."""
    home = Place(store_id=fixed("store", 16), deployment="prod", team="data")
    seed = fixed("kek 1", 32)
    old = Kek(place=home, id=fixed("id 1", 16), number=1, state="active", secret=Secret(seed))
    new = Kek(place=home, id=fixed("id 2", 16), number=2, state="active", secret=Secret(fixed("kek 2", 32)))
    gone = Kek(place=home, id=fixed("id 3", 16), number=3, state="destroyed", secret=None)
    elsewhere = [
        Place(store_id=fixed("store", 16), deployment="prod"),
        Place(store_id=fixed("store", 16), deployment="prod", team="dat"),
        Place(store_id=fixed("store", 16), deployment="proddata"),
        Place(store_id=fixed("store", 16), deployment="staging", team="data"),
        Place(store_id=fixed("another store", 16), deployment="prod", team="data"),
    ]
    strangers = [
        Keyring(place, [Kek(place=place, id=old.id, number=1, state="active", secret=Secret(seed))])
        for place in elsewhere
    ]
    empty = Keyring(home, [])
    return [Keyring(home, [old, new, gone]), *strangers, empty]


def keyring_row(keyring: Keyring) -> Row:
    """Describe *keyring*, key bytes included: these keys were never used for anything."""
    place = keyring.place
    return {
        "place": {"store_id": place.store_id.hex(), "deployment": place.deployment, "team": place.team},
        "keys": [
            {
                "id": key.id.hex(),
                "number": key.number,
                "state": key.state,
                "kek": key._secret.reveal().hex() if key._secret else None,  # noqa: SLF001  # see above
            }
            for key in keyring.keys
        ],
    }


def opens(rings: list[Keyring]) -> Iterator[Row]:
    """Seal what must open."""
    contexts = cycle(product(("connection", "variable", "config"), VERSIONS, ("value", "metadata"), NAMES))
    plaintexts: list[Any] = [fixed(f"plaintext {length}", length).hex() for length in LENGTHS]
    plaintexts += CONFUSING
    plaintexts += [["61", length] for length in LONG_LENGTHS]
    plaintexts += [f"{number:02x}" * (number % 70) for number in range(170)]
    for number, plaintext in enumerate(plaintexts):
        # The first, which most failures are made of, is short, plain and sealed by the first key.
        ring = 0 if number % 4 else 0 if not number else 1
        kind, version, field, name = next(contexts)
        row_id = fixed(f"row {number}", 16)
        key = rings[ring].keys[number % 2 if not ring else 0]
        sealed = envelope.seal(
            spelled(plaintext), key=key, context=Context(kind, field, row_id, version, name)
        )
        yield {
            "keyring": ring,
            "context": [kind, field, row_id.hex(), version, name],
            "plaintext": plaintext,
            "sealed": base64.b64encode(sealed).decode(),
        }


def spelled(plaintext: str | list[Any]) -> bytes:
    """Give the bytes of a plaintext as the file spells it."""
    return (
        bytes.fromhex(plaintext) if isinstance(plaintext, str) else bytes.fromhex(plaintext[0]) * plaintext[1]
    )


def fails(rings: list[Keyring], good: list[Row]) -> Iterator[Row]:
    """Make what must not open, each with the reason."""
    yield from flips(good)
    yield from cuts(good)
    yield from swaps(rings, good)
    yield from moves(good)
    yield from forgeries(rings, good)


def flips(good: list[Row]) -> Iterator[Row]:
    """Flip one bit of each byte, and every bit of what is read before authentication."""
    sealed = base64.b64decode(good[0]["sealed"])
    for what, (start, end) in HEADER.items():
        for offset in range(start, end):
            bits = range(8) if offset < 5 else (offset % 8, (offset + 5) % 8)  # noqa: PLR2004  # magic, version, algorithm
            for bit in bits:
                flipped = sealed[offset] ^ (1 << bit)
                error = {"the key id": "sealed"}.get(what, "tampered")
                if what in {"the version", "the algorithm"} and flipped > 1:
                    error = "invalid_input"
                yield splice(0, offset, offset + 1, bytes([flipped]), error, f"bit {bit} of {what}")


def cuts(good: list[Row]) -> Iterator[Row]:
    """Cut the end off, or the start, or add to either."""
    size = len(base64.b64decode(good[0]["sealed"]))
    for length in [
        0,
        1,
        2,
        3,
        4,
        5,
        20,
        21,
        32,
        33,
        80,
        81,
        112,
        113,
        124,
        125,
        126,
        140,
        141,
        188,
        189,
        204,
    ]:
        yield splice(0, length, size, b"", "tampered", f"cut to {length} bytes")
    for count in (1, 3, 5, 21):
        yield splice(0, 0, count, b"", "tampered", f"{count} bytes cut from the start")
    for extra in (b"\x00", b"\x80", b"\xff" * 16, b"\x00" * 64):
        yield splice(0, size, size, extra, "tampered", f"{len(extra)} bytes added at the end")
        yield splice(0, 0, 0, extra, "tampered", f"{len(extra)} bytes added at the start")
        yield splice(0, 125, 125, extra, "tampered", f"{len(extra)} bytes added to the ciphertext")
    for count in (1, 16, 63, 64):
        yield splice(0, 125, 125 + count, b"", "tampered", f"{count} bytes cut from the ciphertext")


def swaps(rings: list[Keyring], good: list[Row]) -> Iterator[Row]:
    """Put parts of one sealed value into another."""
    for other in (2, 5, 6, 10):
        donor = base64.b64decode(good[other]["sealed"])
        for what, (start, end) in HEADER.items():
            if what not in {"the magic", "the version", "the algorithm", "the key id", "the tag"}:
                yield splice(0, start, end, donor[start:end], "tampered", f"{what} of another value")
        yield splice(0, 189, 205, donor[-16:], "tampered", "the tag of another value")
        yield splice(0, 125, 205, donor[125:], "tampered", "the sealed data of another value")
        yield splice(0, 0, 125, donor[:125], "tampered", "the header of another value")
        yield splice(0, 21, 113, donor[21:113], "tampered", "DEK and commitment of another value")
    yield splice(0, 5, 21, rings[0].keys[1].id, "tampered", "the id of another key that is loaded")
    yield splice(0, 5, 21, rings[0].keys[2].id, "sealed", "the id of a destroyed key")
    yield splice(0, 5, 21, OTHER_ID, "sealed", "the id of no key")
    yield splice(0, 5, 21, ZEROS, "sealed", "an id of zeros")
    yield splice(0, 3, 5, b"\x02\x01", "invalid_input", "format 2")
    yield splice(0, 3, 205, b"\x02", "invalid_input", "format 2, shorter than format 1")
    yield splice(0, 3, 5, b"\x00\x01", "tampered", "format 0")
    yield splice(0, 0, 3, b"SRW", "tampered", "the magic of a wrapped key")


def moves(good: list[Row]) -> Iterator[Row]:
    """Ask for a good value in another place."""
    for index in (0, 5, 9):
        kind, field, row_id, version, name = good[index]["context"]
        changed = {
            "another row": [kind, field, fixed("another row", 16).hex(), version, name],
            "a row id of zeros": [kind, field, ZEROS.hex(), version, name],
            "the next version": [kind, field, row_id, version + 1, name],
            "version 7": [kind, field, row_id, 7, name],
            "a far version": [kind, field, row_id, 2**40, name],
            "another field": [kind, "metadata" if field == "value" else "value", row_id, version, name],
            "a longer name": [kind, field, row_id, version, name + "x"],
            "a name with a zero byte": [kind, field, row_id, version, name + "\x00"],
            "a shorter name": [kind, field, row_id, version, name[:-1]],
            "another name": [kind, field, row_id, version, "another"],
            "a name in other case": [kind, field, row_id, version, name.swapcase()],
        }
        for other in ("connection", "variable", "config"):
            if other != kind:
                changed[f"kind {other}"] = [other, field, row_id, version, name]
        for why, context in changed.items():
            if context != good[index]["context"]:
                yield {"of": index, "context": context, "error": "tampered", "why": why}
    for ring, why in enumerate(
        ("no team", "team dat", "deployment and team run together", "staging", "another store"), 1
    ):
        yield {"of": 0, "keyring": ring, "error": "tampered", "why": f"the same key in another place: {why}"}
    yield {"of": 0, "keyring": 6, "error": "sealed", "why": "no key is loaded"}
    yield {"of": 5, "keyring": 1, "error": "sealed", "why": "the key is not in this place"}


def forgeries(rings: list[Keyring], good: list[Row]) -> Iterator[Row]:
    """Seal rightly what no writer would seal: wrong padding, wrong binding, wrong commitment."""
    forge = Forge(rings[0].keys[0], Context(*with_bytes(good[0]["context"])))
    pads = {
        "no padding": b"a" * 64,
        "zeros alone": b"\x00" * 64,
        "an empty ciphertext": b"",
        "a block too many": b"a\x80" + b"\x00" * 126,
        "a block too few": b"a\x80" + b"\x00" * 14,
        "no room for zeros, odd length": b"a" * 70 + b"\x80",
        "a byte after the zeros": b"a\x80" + b"\x00" * 61 + b"\x01",
        "another end byte": b"a\x81" + b"\x00" * 62,
        "an end byte in the block before": b"a" * 63 + b"\x80" + b"\x00" * 64,
        "small blocks above 4096": b"a" * 4100 + b"\x80" + b"\x00" * 59,
    }
    for why, padded in pads.items():
        yield forge.row(padded, f"padding: {why}")
    padded = b"a\x80" + b"\x00" * 62
    yield forge.row(padded, "the DEK wrap is not bound", wrap_aad=b"")
    yield forge.row(padded, "the DEK wrap is bound to another key", wrap_aad=forge.tail)
    yield forge.row(padded, "the data is not bound", data_aad=b"")
    yield forge.row(padded, "the commitment is of zeros", commitment=b"\x00" * 32)
    yield forge.row(padded, "the commitment is that of the unbound DEK", commitment=forge.unbound)
    yield forge.row(padded, "the DEK itself encrypts", data_key=forge.dek)


class Forge:
    """Build sealed values step by step, right but for what is asked to be wrong."""

    def __init__(self, key: Kek, context: Context) -> None:
        self.key, self.tail, self.aad = key, context.tail, key.prefix + context.tail
        self.dek, self.nonce = fixed("forged dek", 32), fixed("forged nonce", 12)
        self.unbound = _primitives.expand(self.dek, b"srm/v1")[32:]

    def row(self, padded: bytes, why: str, **wrong: bytes) -> Row:
        """Give a row that must fail."""
        okm = _primitives.expand(self.dek, b"srm/v1" + self.aad)
        wrapped = self.key.deks.seal(self.nonce, self.dek, wrong.get("wrap_aad", self.aad))  # type: ignore[union-attr]
        data = _primitives.gcm_seal(
            wrong.get("data_key", okm[:32]), self.nonce, padded, wrong.get("data_aad", self.aad)
        )
        start = b"SRM\x01\x01" + self.key.id + self.nonce + wrapped
        sealed = start + wrong.get("commitment", okm[32:]) + self.nonce + data
        return {"of": 0, "sealed": base64.b64encode(sealed).decode(), "error": "tampered", "why": why}


def with_bytes(context: list[Any]) -> list[Any]:
    """Give a context of the file with its row id in bytes."""
    return [bytes.fromhex(part) if index == 2 else part for index, part in enumerate(context)]  # noqa: PLR2004  # row id


def splice(of: int, start: int, end: int, replacement: bytes, error: str, why: str) -> Row:
    """Give a row that replaces sealed[start:end] of a good one."""
    return {"of": of, "splice": [start, end, replacement.hex()], "error": error, "why": why}


def keys(rings: list[Keyring], directory: Path) -> Iterator[Row]:
    """Wrap keys with a file and a passphrase."""
    passphrase = "correct horse Zürich"  # noqa: S105  # invented here
    outer = file.create(directory / "outer.key")
    line = (directory / "outer.key").read_text()
    stretched = PassphraseWrapper(Secret(passphrase), profile=INSECURE_TEST_PROFILE)
    for ring, number in ((0, 0), (0, 1), (1, 0)):
        key = rings[ring].keys[number]
        for wrapper, holder in ((outer, line), (stretched, passphrase)):
            blob = base64.b64encode(key.wrapped(by=wrapper)).decode()
            yield {"keyring": ring, "key": number, "kind": wrapper.kind, "holder": holder, "blob": blob}


def bad_keys(good: list[Row], directory: Path) -> Iterator[Row]:
    """Spoil wrapped keys."""
    file.create(directory / "another.key")
    another = (directory / "another.key").read_text()
    line = good[0]["holder"]
    for of, holder, error, why in (
        (0, another, "sealed", "another key file"),
        (0, line[:-10] + "A" + line[-9:], "sealed", "a changed key file"),
        (0, line.replace("v1", "v2"), "sealed", "a key file of another version"),
        (1, "correct horse zürich", "sealed", "another passphrase"),
    ):
        yield {"of": of, "holder": holder, "error": error, "why": why}
    for of, start, end, replacement, error, why in (
        (0, 0, 1, "00", "tampered", "the magic"),
        (0, 3, 4, "02", "tampered", "the version"),
        (0, 5, 6, "46", "sealed", "the kind"),
        (0, 9, 10, "00", "sealed", "the label"),
        (0, 17, 18, "00", "tampered", "the nonce"),
        (0, 40, 41, "00", "tampered", "the ciphertext"),
        (0, 76, 77, "", "tampered", "cut short"),
        (1, 15, 19, "ffffffff", "tampered", "4 TiB of memory"),
        (1, 15, 19, "00000000", "tampered", "no memory"),
        (1, 19, 21, "ffff", "tampered", "65,535 iterations"),
        (1, 19, 21, "0000", "tampered", "no iterations"),
        (1, 21, 23, "ffff", "tampered", "65,535 lanes"),
        (1, 19, 21, "0002", "sealed", "another cost"),
        (1, 23, 24, "00", "sealed", "the salt"),
        (1, 30, 999, "", "tampered", "cut in the salt"),
    ):
        yield {"of": of, "splice": [start, end, replacement], "error": error, "why": why}
    yield {"of": 0, "number": 2, "error": "tampered", "why": "another number"}
    yield {"of": 0, "keyring": 1, "error": "tampered", "why": "another place"}


def build() -> str:
    """Give the text of the file."""
    with counted_randomness(), tempfile.TemporaryDirectory() as directory:
        rings = keyrings()
        good = list(opens(rings))
        wrapped = list(keys(rings, Path(directory)))
        parts = {
            "keyrings": [keyring_row(ring) for ring in rings],
            "opens": good,
            "fails": list(fails(rings, good)),
            "keys": wrapped,
            "bad_keys": list(bad_keys(wrapped, Path(directory))),
        }
    lines = (
        f' "{name}": [\n  '
        + ",\n  ".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows)
        + "\n ]"
        for name, rows in parts.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main() -> int:
    """Write the file, or compare it."""
    text = build()
    if "--check" in sys.argv:
        return int(TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
