import copy
import pickle

import pytest

from strongroom.crypto.keyring import ALARM_WRAPS, MAX_WRAPS, Kek, Keyring, Place
from strongroom.crypto.wrapping import Wrapper
from strongroom.errors import InvalidInputError, SealedError, TamperedError
from strongroom.model.secret import Secret
from strongroom.wrappers import file

HOME = Place(store_id=b"s" * 16, deployment="prod", team="data")
BYTES = b"\xab" * 32


def kek(number=1, state="active", key_id=None, place=HOME, secret=BYTES):
    return Kek(
        place=place,
        id=key_id or bytes([number]) * 16,
        number=number,
        state=state,
        secret=None if secret is None else Secret(secret),
    )


def test_the_newest_active_key_seals():
    ring = Keyring(HOME, [kek(3, "deactivated"), kek(2), kek(1)])
    assert [key.number for key in ring.keys] == [1, 2, 3]
    assert ring.active.number == 2


def test_no_active_key_is_sealed_and_none_is_made():
    for keys in ([], [kek(1, "deactivated")], [kek(1, "destroyed")]):
        with pytest.raises(SealedError):
            _ = Keyring(HOME, keys).active


def test_a_newest_key_that_is_not_loaded_is_not_passed_over():
    ring = Keyring(HOME, [kek(1), kek(2, secret=None)])
    with pytest.raises(SealedError, match="not loaded"):
        _ = ring.active
    with pytest.raises(SealedError, match="not loaded"):
        ring.find(bytes([2]) * 16)


def test_rotation_keeps_the_old_keys_to_open_with():
    first = Keyring(HOME, []).rotated()
    second = first.rotated()
    assert [(key.number, key.state) for key in second.keys] == [(1, "deactivated"), (2, "active")]
    assert second.find(first.active.id).id == first.active.id
    assert first.active.state == "active"


def test_a_destroyed_key_is_known_but_has_no_bytes():
    gone = kek().becoming("destroyed")
    assert gone.becoming("active").state == "destroyed"
    with pytest.raises(SealedError, match="destroyed"):
        Keyring(HOME, [gone]).find(gone.id)
    for act in (lambda: gone.mac_row(b""), lambda: gone.fingerprint(b""), lambda: gone.wrapped(by=None)):
        with pytest.raises(SealedError, match="destroyed"):
            act()


def test_two_keys_with_one_id_or_number_are_tampered():
    for pair in ([kek(1), kek(2, key_id=bytes([1]) * 16)], [kek(1), kek(1, key_id=b"x" * 16)]):
        with pytest.raises(TamperedError):
            Keyring(HOME, pair)


def test_a_keyring_holds_the_keys_of_one_place():
    with pytest.raises(InvalidInputError):
        Keyring(HOME, [kek(place=Place(store_id=b"s" * 16, deployment="prod"))])


@pytest.mark.parametrize(("key_id", "number"), [(b"short", 1), (b"i" * 16, 0), (b"i" * 16, 2**32)])
def test_a_key_out_of_range_is_refused(key_id, number):
    with pytest.raises(InvalidInputError):
        Kek(place=HOME, id=key_id, number=number, state="active", secret=None)


def test_a_store_id_has_sixteen_bytes():
    with pytest.raises(InvalidInputError):
        Place(store_id=b"short", deployment="prod")


def test_keys_do_not_print_copy_or_pickle():
    key = kek()
    for shown in (repr(key), str(key), f"{key}", repr(Keyring(HOME, [key]))):
        assert BYTES.hex() not in shown
        assert "\\xab" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        copy.deepcopy(key)


def test_generated_keys_are_all_different():
    keys = [Kek.generate(HOME, number=number) for number in range(1, 20)]
    assert len({key.id for key in keys}) == len({key._secret.reveal() for key in keys}) == 19


def test_a_row_mac_names_its_key_and_outlives_rotation():
    ring = Keyring(HOME, []).rotated()
    mac = ring.row_mac(b"row")
    assert (mac[:16], len(mac)) == (ring.active.id, 48)
    ring.rotated().check_row_mac(b"row", mac)


def test_a_changed_row_or_mac_is_tampered():
    ring = Keyring(HOME, []).rotated()
    mac = ring.row_mac(b"row")
    for row, stored in (
        (b"Row", mac),
        (b"row", mac[:-1] + bytes([mac[-1] ^ 1])),
        (b"row", mac[:-1]),
        (b"row", None),
        (b"row", "x"),
    ):
        with pytest.raises(TamperedError):
            ring.check_row_mac(row, stored)
    with pytest.raises(SealedError):
        ring.check_row_mac(b"row", b"\x00" * 48)


def test_fingerprints_tell_equal_plaintexts_and_nothing_across_places():
    ring = Keyring(HOME, [kek()])
    assert ring.fingerprint(b"a") == ring.fingerprint(b"a")
    assert ring.fingerprint(b"a") != ring.fingerprint(b"b")
    assert len(ring.fingerprint(b"a")) == 16
    elsewhere = Place(store_id=b"s" * 16, deployment="prod", team="other")
    assert Keyring(elsewhere, [kek(place=elsewhere)]).fingerprint(b"a") != ring.fingerprint(b"a")


def test_each_purpose_has_a_key_of_its_own():
    key = kek()
    assert key.mac_row(b"x")[:16] != key.fingerprint(b"x")


def test_a_wrapped_key_comes_back_and_only_to_its_place_id_and_number(tmp_path):
    wrapper = file.create(tmp_path / "outer.key")
    key = kek()
    blob = key.wrapped(by=wrapper)
    row = {"by": wrapper, "place": HOME, "id": key.id, "number": 1, "state": "deactivated"}
    back = Kek.unwrapped(blob, **row)
    assert (back.state, back.fingerprint(b"x")) == ("deactivated", key.fingerprint(b"x"))
    other = Place(store_id=b"s" * 16, deployment="prod", team="other")
    for changed in ({"place": other}, {"id": b"x" * 16}, {"number": 2}):
        with pytest.raises(TamperedError):
            Kek.unwrapped(blob, **{**row, **changed})


class ShortWrapper(Wrapper):
    kind = name = "short"

    def wrap(self, key, *, context):
        return key

    def unwrap(self, blob, *, context):
        return b"short"


def test_a_wrapper_that_gives_another_length_is_tampered():
    with pytest.raises(TamperedError):
        Kek.unwrapped(b"", by=ShortWrapper(), place=HOME, id=b"i" * 16, number=1, state="active")


def test_limits_of_wraps_are_those_of_the_standard():
    assert (ALARM_WRAPS, MAX_WRAPS) == (2**28, 2**32)
