"""The frozen examples, read by Strongroom and by a decoder written from docs/envelope.md."""

import base64
import json
import runpy
from functools import cache
from pathlib import Path

import pytest

from crypto import second_decoder
from crypto.second_decoder import RefusedError
from strongroom.crypto import envelope
from strongroom.crypto.envelope import Context
from strongroom.crypto.keyring import Kek, Keyring, Place
from strongroom.errors import StrongroomError
from strongroom.model.secret import Secret
from strongroom.wrappers.file import FileWrapper
from strongroom.wrappers.passphrase import PassphraseWrapper

TESTS = Path(__file__).resolve().parent.parent
VECTORS = json.loads((TESTS / "vectors" / "envelope-v1.json").read_text(encoding="utf-8"))
RINGS, OPENS, FAILS = VECTORS["keyrings"], VECTORS["opens"], VECTORS["fails"]
KEYS, BAD_KEYS = VECTORS["keys"], VECTORS["bad_keys"]


def place_of(row):
    return Place(**{**row["place"], "store_id": bytes.fromhex(row["place"]["store_id"])})


@cache
def ring(index):
    row = RINGS[index]
    place = place_of(row)
    return Keyring(
        place,
        [
            Kek(
                place=place,
                id=bytes.fromhex(key["id"]),
                number=key["number"],
                state=key["state"],
                secret=Secret(bytes.fromhex(key["kek"])) if key["kek"] else None,
            )
            for key in row["keys"]
        ],
    )


def spelled(plaintext):
    return (
        bytes.fromhex(plaintext) if isinstance(plaintext, str) else bytes.fromhex(plaintext[0]) * plaintext[1]
    )


def spliced(original, row):
    start, end, replacement = row["splice"]
    return original[:start] + bytes.fromhex(replacement) + original[end:]


def case(row):
    """Give keyring index, context and sealed bytes of a row that opens or fails."""
    good = OPENS[row["of"]] if "of" in row else row
    sealed = base64.b64decode(row.get("sealed", good["sealed"]))
    if "splice" in row:
        sealed = spliced(sealed, row)
    return row.get("keyring", good["keyring"]), row.get("context", good["context"]), sealed


def opened_by_us(row):
    index, (kind, field, row_id, version, name), sealed = case(row)
    context = Context(kind, field, bytes.fromhex(row_id), version, name)
    return envelope.open(sealed, keyring=ring(index), context=context)


def opened_by_the_other(row):
    index, context, sealed = case(row)
    return second_decoder.open_sealed(sealed, RINGS[index], context)


def key_case(row):
    good = KEYS[row["of"]] if "of" in row else row
    row = {**good, **row}
    blob = base64.b64decode(row["blob"])
    keyring = RINGS[row["keyring"]]
    key = RINGS[good["keyring"]]["keys"][row["key"]]
    return row, spliced(blob, row) if "splice" in row else blob, keyring, key


def unwrapped_by_us(row, folder):
    row, blob, keyring, key = key_case(row)
    if row["kind"] == "file":
        path = folder / "outer.key"
        path.write_text(row["holder"], encoding="ascii")
        path.chmod(0o600)
        wrapper = FileWrapper(path)
    else:
        wrapper = PassphraseWrapper(Secret(row["holder"]))
    return Kek.unwrapped(
        blob,
        by=wrapper,
        place=place_of(keyring),
        id=bytes.fromhex(key["id"]),
        number=row.get("number", key["number"]),
        state="active",
    )


def unwrapped_by_the_other(row):
    row, blob, keyring, key = key_case(row)
    number = row.get("number", key["number"])
    return second_decoder.unwrap_key(blob, row["kind"], row["holder"], keyring["place"], key["id"], number)


def test_there_are_enough_vectors():
    assert len(OPENS) >= 200
    assert len(FAILS) >= 400


def test_generator_gives_the_frozen_file():
    script = runpy.run_path(str(TESTS.parent / "scripts" / "envelope_vectors.py"))
    assert script["build"]() == (TESTS / "vectors" / "envelope-v1.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("opened", [opened_by_us, opened_by_the_other])
def test_every_good_vector_opens_to_its_plaintext(opened):
    for row in OPENS:
        assert opened(row) == spelled(row["plaintext"]), row["context"]


def test_every_bad_vector_fails_with_its_error_in_both_decoders():
    for row in FAILS:
        with pytest.raises(StrongroomError) as ours:
            opened_by_us(row)
        with pytest.raises(RefusedError) as theirs:
            opened_by_the_other(row)
        assert (ours.value.code, theirs.value.code) == (row["error"], row["error"]), row["why"]


def test_every_wrapped_key_unwraps_in_both_decoders(tmp_path):
    for row in KEYS:
        expected = RINGS[row["keyring"]]["keys"][row["key"]]["kek"]
        assert unwrapped_by_the_other(row).hex() == expected
        assert unwrapped_by_us(row, tmp_path)._secret.reveal().hex() == expected


def test_every_bad_wrapped_key_fails_with_its_error_in_both_decoders(tmp_path):
    for row in BAD_KEYS:
        with pytest.raises(StrongroomError) as ours:
            unwrapped_by_us(row, tmp_path)
        with pytest.raises(RefusedError) as theirs:
            unwrapped_by_the_other(row)
        assert (ours.value.code, theirs.value.code) == (row["error"], row["error"]), row["why"]


def test_second_decoder_stays_small_and_apart():
    text = (TESTS / "crypto" / "second_decoder.py").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert "import strongroom" not in text
    assert "from strongroom" not in text
