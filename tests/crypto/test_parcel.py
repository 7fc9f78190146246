"""A parcel opens with its key and context, whole and unchanged, and in no other way."""

from __future__ import annotations

import pytest

from strongroom.crypto.parcel import MAX_PARCEL_BYTES, Parcels
from strongroom.errors import InvalidInputError, SealedError, TamperedError
from strongroom.wrappers import file

PLAIN = b"what an agent remembers"
CONTEXT = b"prod, this machine, generation 7"


@pytest.fixture(scope="module")
def parcels(tmp_path_factory):
    return Parcels(file.create(tmp_path_factory.mktemp("keys") / "key"))


@pytest.mark.parametrize("plain", [b"", PLAIN, b"\x00" * 3_000_000], ids=["empty", "short", "long"])
def test_open_undoes_seal(parcels, plain):
    assert parcels.open(parcels.seal(plain, context=CONTEXT), context=CONTEXT) == plain


def test_the_same_bytes_are_never_sealed_alike(parcels):
    assert parcels.seal(PLAIN, context=CONTEXT) != parcels.seal(PLAIN, context=CONTEXT)


def test_every_changed_bit_and_every_cut_is_refused(parcels):
    sealed = parcels.seal(PLAIN, context=CONTEXT)
    for place in range(len(sealed)):
        changed = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
        with pytest.raises((TamperedError, SealedError, InvalidInputError)):
            parcels.open(changed, context=CONTEXT)
        with pytest.raises(TamperedError):
            parcels.open(sealed[:place], context=CONTEXT)


def test_another_context_is_tampering_and_another_key_is_sealed(parcels, tmp_path):
    sealed = parcels.seal(PLAIN, context=CONTEXT)
    with pytest.raises(TamperedError):
        parcels.open(sealed, context=CONTEXT.replace(b"7", b"8"))
    with pytest.raises(SealedError, match="holds another key"):
        Parcels(file.create(tmp_path / "other")).open(sealed, context=CONTEXT)


def test_a_newer_format_says_so(parcels):
    with pytest.raises(InvalidInputError, match="newer format"):
        parcels.open(b"SRP\x02\x01" + parcels.seal(PLAIN, context=CONTEXT)[5:], context=CONTEXT)


def test_what_is_too_long_is_refused_before_it_is_sealed(parcels):
    class Long(bytes):
        def __len__(self):
            return MAX_PARCEL_BYTES + 1

    with pytest.raises(InvalidInputError) as caught:
        parcels.seal(Long(), context=CONTEXT)
    assert caught.value.limit == MAX_PARCEL_BYTES
