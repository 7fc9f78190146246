import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.crypto import envelope
from strongroom.crypto.envelope import Context
from strongroom.crypto.keyring import Kek, Keyring, Place
from strongroom.errors import InvalidInputError, SealedError, StrongroomError, TamperedError

HOME = Place(store_id=b"s" * 16, deployment="prod", team="data")
RING = Keyring(HOME, []).rotated()
CONTEXT = Context("connection", "value", b"r" * 16, 1, "orders_db")
CANARY = b"canary-5f0c"

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
contexts = st.tuples(
    st.sampled_from(["connection", "variable", "config"]),
    st.sampled_from(["value", "metadata"]),
    st.binary(min_size=16, max_size=16),
    st.integers(1, 2**63 - 1),
    texts,
)
places = st.builds(
    lambda store, deployment, team: Place(store_id=store, deployment=deployment, team=team),
    st.binary(min_size=16, max_size=16),
    st.text("ab0\x00", min_size=1, max_size=4),
    st.text("ab0\x00", max_size=4),
)


def sealed(plaintext=CANARY, ring=RING, context=CONTEXT):
    return envelope.seal(plaintext, key=ring.active, context=context)


@given(plaintext=st.binary(max_size=300), parts=contexts)
def test_open_undoes_seal(plaintext, parts):
    context = Context(*parts)
    blob = sealed(plaintext, context=context)
    assert envelope.open(blob, keyring=RING, context=context) == plaintext


@given(
    one=contexts,
    other=contexts,
    here=places,
    there=places,
    ids=st.lists(st.binary(min_size=16, max_size=16), min_size=2, max_size=2),
)
def test_what_is_bound_is_injective(one, other, here, there, ids):
    same = (one, here, ids[0]) == (other, there, ids[1])
    bound = here.prefix(ids[0]) + Context(*one).tail
    assert (bound == there.prefix(ids[1]) + Context(*other).tail) == same


@given(one=contexts, here=places, there=places)
def test_places_that_share_letters_are_told_apart(one, here, there):
    tail = Context(*one).tail
    assert (here.prefix(b"k" * 16) + tail == there.prefix(b"k" * 16) + tail) == (here == there)


@given(one=contexts, other=contexts)
def test_a_value_opens_under_its_own_context_only(one, other):
    blob = sealed(context=Context(*one))
    if one == other:
        return
    with pytest.raises(TamperedError):
        envelope.open(blob, keyring=RING, context=Context(*other))


def test_every_single_bit_flip_fails():
    blob = sealed()
    for bit in range(len(blob) * 8):
        flipped = bytearray(blob)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((TamperedError, SealedError, InvalidInputError)):
            envelope.open(bytes(flipped), keyring=RING, context=CONTEXT)


def test_every_truncation_fails():
    blob = sealed()
    for length in range(len(blob)):
        with pytest.raises(TamperedError):
            envelope.open(blob[:length], keyring=RING, context=CONTEXT)


@given(blob=st.binary(max_size=400))
def test_noise_never_opens(blob):
    for noise in (blob, b"SRM\x01\x01" + blob, b"SRM\x01\x01" + RING.active.id + blob):
        with pytest.raises((TamperedError, SealedError, InvalidInputError)):
            envelope.open(noise, keyring=RING, context=CONTEXT)


@pytest.mark.parametrize("stored", [None, "SRM\x01\x01", 7, 1.5, bytearray(sealed()), memoryview(sealed())])
def test_a_column_that_holds_no_bytes_is_tampered(stored):
    with pytest.raises(TamperedError):
        envelope.open(stored, keyring=RING, context=CONTEXT)
    with pytest.raises(TamperedError):
        envelope.key_id_of(stored)


def test_equal_plaintexts_seal_differently():
    assert len({sealed()[21:] for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("length", "padded"),
    [
        (0, 64),
        (1, 64),
        (63, 64),
        (64, 128),
        (200, 256),
        (4094, 4096),
        (4095, 4096),
        (4096, 5120),
        (5119, 5120),
        (5120, 6144),
    ],
)
def test_the_length_of_a_sealed_value_tells_its_bucket_only(length, padded):
    blob = sealed(b"\x00" * length)
    assert len(blob) == 141 + padded
    assert envelope.open(blob, keyring=RING, context=CONTEXT) == b"\x00" * length


def test_a_value_of_one_mebibyte_is_the_longest():
    longest = b"\x80" * envelope.MAX_PLAINTEXT_BYTES
    blob = sealed(longest)
    assert len(blob) == 1_049_741
    assert envelope.open(blob, keyring=RING, context=CONTEXT) == longest
    with pytest.raises(InvalidInputError) as refused:
        sealed(longest + b"x")
    assert refused.value.limit == envelope.MAX_PLAINTEXT_BYTES
    with pytest.raises(TamperedError):
        envelope.open(blob + b"\x00" * 1024, keyring=RING, context=CONTEXT)


def test_a_newer_format_is_refused_by_naming_the_upgrade():
    for start in (b"SRM\x02\x01", b"SRM\x01\x02", b"SRM\xff"):
        with pytest.raises(InvalidInputError) as refused:
            envelope.open(start + sealed()[5:], keyring=RING, context=CONTEXT)
        assert "upgrade strongroom" in refused.value.hint


def test_an_unknown_key_names_its_id_and_who_can_act():
    with pytest.raises(SealedError, match=RING.active.id.hex()) as refused:
        envelope.open(sealed(), keyring=Keyring(HOME, []).rotated(), context=CONTEXT)
    assert "bring back the key" in refused.value.hint


def test_the_same_key_in_another_place_does_not_open():
    key = RING.active
    for place in (
        Place(store_id=b"t" * 16, deployment="prod", team="data"),
        Place(store_id=b"s" * 16, deployment="staging", team="data"),
        Place(store_id=b"s" * 16, deployment="prod", team=""),
        Place(store_id=b"s" * 16, deployment="prodd", team="ata"),
    ):
        moved = Kek(place=place, id=key.id, number=1, state="active", secret=key._secret)
        with pytest.raises(TamperedError):
            envelope.open(sealed(), keyring=Keyring(place, [moved]), context=CONTEXT)


def test_only_the_named_key_is_tried():
    ring = RING.rotated()
    old, new = ring.keys
    swapped = sealed()[:5] + new.id + sealed()[21:]
    with pytest.raises(TamperedError):
        envelope.open(swapped, keyring=ring, context=CONTEXT)
    assert envelope.key_id_of(sealed()) == old.id


def test_only_an_active_key_seals():
    with pytest.raises(SealedError, match="only opens"):
        envelope.seal(b"x", key=RING.active.becoming("deactivated"), context=CONTEXT)
    with pytest.raises(SealedError, match="destroyed"):
        envelope.seal(b"x", key=RING.active.becoming("destroyed"), context=CONTEXT)


def test_reseal_moves_to_the_active_key_and_rests_there():
    blob, ring = sealed(), RING.rotated()
    moved = envelope.reseal(blob, keyring=ring, context=CONTEXT)
    assert envelope.key_id_of(moved) == ring.active.id
    assert envelope.open(moved, keyring=ring, context=CONTEXT) == CANARY
    assert envelope.open(blob, keyring=ring, context=CONTEXT) == CANARY
    assert envelope.reseal(moved, keyring=ring, context=CONTEXT) is moved


@pytest.mark.parametrize(
    "parts",
    [
        ("password", "value", b"r" * 16, 1, "a"),
        ("variable", "other", b"r" * 16, 1, "a"),
        ("variable", "value", b"r" * 15, 1, "a"),
        ("variable", "value", b"r" * 17, 1, "a"),
        ("variable", "value", b"r" * 16, 0, "a"),
        ("variable", "value", b"r" * 16, -1, "a"),
        ("variable", "value", b"r" * 16, 2**63, "a"),
        ("variable", "value", b"r" * 16, 1, "\ud800"),
        ("variable", "value", "r" * 16, 1, "a"),
    ],
)
def test_a_context_out_of_range_is_refused(parts):
    with pytest.raises(InvalidInputError):
        Context(*parts)


def test_contexts_are_equal_by_what_they_bind():
    again = Context("connection", "value", b"r" * 16, 1, "orders_db")
    assert again == CONTEXT
    assert hash(again) == hash(CONTEXT)
    assert again != Context("connection", "value", b"r" * 16, 2, "orders_db")


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_seals_with_randomness_of_its_own():
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writer, sealed())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    theirs = os.read(reader, 4096)
    os.close(reader)
    ours = sealed()
    assert envelope.open(theirs, keyring=RING, context=CONTEXT) == CANARY
    for start, end in ((21, 33), (33, 81), (113, 125)):
        assert ours[start:end] != theirs[start:end]


def test_no_error_shows_the_value():
    blob = sealed()
    attempts = (
        lambda: envelope.open(blob[:-1], keyring=RING, context=CONTEXT),
        lambda: envelope.open(blob, keyring=RING, context=Context("variable", "value", b"r" * 16, 1, "a")),
        lambda: envelope.open(blob, keyring=Keyring(HOME, []), context=CONTEXT),
        lambda: envelope.seal(CANARY * 200_000, key=RING.active, context=CONTEXT),
    )
    for attempt in attempts:
        with pytest.raises(StrongroomError) as refused:
            attempt()
        assert CANARY.decode() not in f"{refused.value!r}{refused.value}{refused.value.hint}"
        assert refused.value.__cause__ is None
