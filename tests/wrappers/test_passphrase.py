import struct

import pytest

from strongroom.errors import InvalidInputError, SealedError, TamperedError
from strongroom.model.secret import Secret
from strongroom.wrappers.passphrase import (
    INSECURE_TEST_PROFILE,
    RECOMMENDED_PROFILE,
    PassphraseWrapper,
    Profile,
)

KEY = b"\xc5" * 32
CONTEXT = b"context"
PASSPHRASE = "correct horse Zürich"
COST = 15  # where cost (8) and salt (16) stand in a blob


def wrapper(passphrase=PASSPHRASE, profile=INSECURE_TEST_PROFILE):
    return PassphraseWrapper(Secret(passphrase), profile=profile)


BLOB = wrapper().wrap(KEY, context=CONTEXT)


def with_cost(memory_kib, iterations, lanes):
    return BLOB[:COST] + struct.pack(">IHH", memory_kib, iterations, lanes) + BLOB[COST + 8 :]


def test_unwrap_undoes_wrap_whatever_the_profile_is_now():
    assert wrapper(profile=RECOMMENDED_PROFILE).unwrap(BLOB, context=CONTEXT) == KEY


def test_the_recommended_profile_is_the_second_of_rfc_9106():
    assert (RECOMMENDED_PROFILE.memory_kib, RECOMMENDED_PROFILE.iterations, RECOMMENDED_PROFILE.lanes) == (
        65_536,
        3,
        4,
    )
    assert PassphraseWrapper(Secret(PASSPHRASE))._profile is RECOMMENDED_PROFILE


def test_the_recommended_profile_wraps_and_unwraps():
    strong = wrapper(profile=RECOMMENDED_PROFILE)
    blob = strong.wrap(KEY, context=CONTEXT)
    assert struct.unpack_from(">IHH", blob, COST) == (65_536, 3, 4)
    assert strong.unwrap(blob, context=CONTEXT) == KEY


def test_a_wrong_passphrase_or_context_or_blob_is_sealed_and_says_both():
    flipped = BLOB[:-1] + bytes([BLOB[-1] ^ 1])
    for who, blob, context in (
        (wrapper("correct horse Zurich"), BLOB, CONTEXT),
        (wrapper(), flipped, CONTEXT),
        (wrapper(), BLOB, b"other"),
        (wrapper(), BLOB[:-1], CONTEXT),
    ):
        with pytest.raises(SealedError, match="wrong, or the stored key was changed"):
            who.unwrap(blob, context=context)


def test_every_single_bit_flip_behind_the_cost_fails():
    for bit in range((COST + 8) * 8, len(BLOB) * 8):
        flipped = bytearray(BLOB)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SealedError):
            wrapper().unwrap(bytes(flipped), context=CONTEXT)


@pytest.mark.parametrize("length", range(COST + 24))
def test_a_blob_cut_before_its_key_fails(length):
    with pytest.raises((TamperedError, SealedError)):
        wrapper().unwrap(BLOB[:length], context=CONTEXT)


@pytest.mark.parametrize(
    ("memory_kib", "iterations", "lanes"),
    [
        (2**30, 1, 1),  # 1 TiB
        (2**32 - 1, 1, 1),
        (1_048_577, 1, 1),
        (8, 17, 1),
        (8, 65_535, 1),
        (8, 0, 1),
        (0, 1, 1),
        (7, 1, 1),
        (8, 1, 2),
        (4096, 1, 17),
        (8, 1, 0),
    ],
)
def test_a_hostile_blob_cannot_name_its_cost(memory_kib, iterations, lanes):
    with pytest.raises(TamperedError, match="cost"):
        wrapper().unwrap(with_cost(memory_kib, iterations, lanes), context=CONTEXT)
    with pytest.raises(InvalidInputError):
        Profile(memory_kib=memory_kib, iterations=iterations, lanes=lanes)


def test_the_cost_is_bound():
    with pytest.raises(SealedError):
        wrapper().unwrap(with_cost(8, 2, 1), context=CONTEXT)


def test_a_passphrase_is_the_same_however_the_keyboard_composes_it():
    assert wrapper("correct horse Zu\u0308rich").unwrap(BLOB, context=CONTEXT) == KEY


def test_each_wrap_has_a_salt_of_its_own():
    assert len({wrapper().wrap(KEY, context=CONTEXT)[COST + 8 : COST + 24] for _ in range(20)}) == 20


def test_a_short_passphrase_wraps_nothing():
    for short in ("", "1234567"):
        with pytest.raises(InvalidInputError) as refused:
            wrapper(short).wrap(KEY, context=CONTEXT)
        assert refused.value.limit == 8


def test_neither_repr_nor_error_shows_the_passphrase():
    other = wrapper("battery staple")
    with pytest.raises(SealedError) as refused:
        other.unwrap(BLOB, context=CONTEXT)
    assert "battery" not in f"{refused.value!r}{refused.value.hint}{other!r}{vars(other)}"
