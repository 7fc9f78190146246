"""
What every wrapper must do whose key a service keeps: its own test inherits this and says how its service is
made to fail.

    class TestTransit(OuterKeyContract):
        def make(self, key=None): …       # a wrapper of the test's key, or of *key*
        def another(self), nowhere(self)  # the name of another key that is there; of one that is not
        def disable(self), enable(self)   # the test's key
        def destroy(self)                 # so that it may not be used, and may yet be brought back
        def deny(self)                    # whoever asks may not use it any more
        def rotate(self)                  # a new version of the key wraps from now on
        def trouble(self, status)         # the next answers have that status
        def down(self)                    # nobody answers
        def keys(self)                    # the names of all keys there are
"""

from __future__ import annotations

import os
from contextlib import suppress

import pytest

from strongroom.errors import BackendConfigError, SealedError, StrongroomError, TamperedError

CONTEXT = b"the store, the deployment, the team and the key"
KEY = bytes(range(32))


class OuterKeyContract:
    """The promise of `RemoteWrapper`, against a service."""

    can_disable = True

    def test_what_it_wraps_it_unwraps(self):
        wrapper = self.make()
        blob = wrapper.wrap(KEY, context=CONTEXT)
        assert KEY not in blob
        assert blob.startswith(b"SRW\x01" + bytes([len(wrapper.kind)]) + wrapper.kind.encode())
        assert self.make().unwrap(blob, context=CONTEXT) == KEY

    def test_each_wrap_is_another_blob(self):
        wrapper = self.make()
        assert wrapper.wrap(KEY, context=CONTEXT) != wrapper.wrap(KEY, context=CONTEXT)

    @pytest.mark.parametrize("context", [b"", CONTEXT + b"x", b"another"])
    def test_under_another_context_it_does_not_unwrap(self, context):
        wrapper = self.make()
        blob = wrapper.wrap(KEY, context=CONTEXT)
        with pytest.raises((SealedError, TamperedError)):
            wrapper.unwrap(blob, context=context)

    def test_a_changed_blob_never_gives_another_key(self):
        wrapper = self.make()
        key = os.urandom(32)
        blob = wrapper.wrap(key, context=CONTEXT)
        start = 5 + len(wrapper.kind)
        for place in sorted({start, start + 1, (start + len(blob)) // 2, len(blob) - 2, len(blob) - 1}):
            for bit in (1, 128):
                changed = bytearray(blob)
                changed[place] ^= bit
                # What only people are told, the name of a version, may be changed, and opens the same.
                with suppress(SealedError, TamperedError):
                    assert wrapper.unwrap(bytes(changed), context=CONTEXT) == key

    @pytest.mark.parametrize("cut", [1, 8, 40])
    def test_a_blob_that_was_cut_short_is_refused(self, cut):
        wrapper = self.make()
        blob = wrapper.wrap(KEY, context=CONTEXT)
        with pytest.raises((SealedError, TamperedError)):
            wrapper.unwrap(blob[:-cut], context=CONTEXT)

    @pytest.mark.parametrize("blob", [b"", b"SRW\x01", b"SRW\x01\x04file", None, 7])
    def test_what_is_no_blob_of_this_kind_is_refused(self, blob):
        with pytest.raises((SealedError, TamperedError)):
            self.make().unwrap(blob, context=CONTEXT)

    def test_another_key_does_not_unwrap_it_and_is_named(self):
        blob = self.make().wrap(KEY, context=CONTEXT)
        other = self.make(self.another())
        with pytest.raises(SealedError) as caught:
            other.unwrap(blob, context=CONTEXT)
        assert other.name in str(caught.value)
        assert caught.value.retry_after is None

    def test_a_key_that_is_nowhere_is_told_and_none_is_made(self):
        blob = self.make().wrap(KEY, context=CONTEXT)
        before = self.keys()
        nowhere = self.make(self.nowhere())
        for act in (
            lambda: nowhere.wrap(KEY, context=CONTEXT),
            lambda: nowhere.unwrap(blob, context=CONTEXT),
        ):
            with pytest.raises(SealedError) as caught:
                act()
            assert nowhere.name in str(caught.value)
            assert caught.value.retry_after is None
        assert self.keys() == before

    def test_a_disabled_key_is_told_and_opens_again(self):
        if not self.can_disable:
            return  # its own test says what stands in the place of it
        wrapper = self.make()
        blob = wrapper.wrap(KEY, context=CONTEXT)
        self.disable()
        with pytest.raises(SealedError, match="disabled") as caught:
            wrapper.unwrap(blob, context=CONTEXT)
        assert wrapper.name in str(caught.value)
        with pytest.raises(SealedError):
            wrapper.wrap(KEY, context=CONTEXT)
        self.enable()
        assert wrapper.unwrap(blob, context=CONTEXT) == KEY

    def test_a_key_that_is_about_to_be_destroyed_is_told(self):
        wrapper = self.make()
        blob = wrapper.wrap(KEY, context=CONTEXT)
        self.destroy()
        with pytest.raises(SealedError) as caught:
            wrapper.unwrap(blob, context=CONTEXT)
        assert wrapper.name in str(caught.value)
        assert caught.value.retry_after is None

    def test_who_may_not_use_it_is_told_so(self):
        wrapper = self.make()
        blob = wrapper.wrap(KEY, context=CONTEXT)
        self.deny()
        with pytest.raises(SealedError) as caught:
            wrapper.unwrap(blob, context=CONTEXT)
        assert wrapper.name in str(caught.value)
        assert caught.value.hint

    def test_after_a_rotation_both_open_and_the_newest_wraps(self):
        wrapper = self.make()
        old = wrapper.wrap(KEY, context=CONTEXT)
        self.rotate()
        new = wrapper.wrap(KEY, context=CONTEXT)
        assert wrapper.unwrap(old, context=CONTEXT) == wrapper.unwrap(new, context=CONTEXT) == KEY

    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_trouble_is_waited_for(self, status):
        wrapper = self.make()
        blob = wrapper.wrap(KEY, context=CONTEXT)
        self.trouble(status)
        with pytest.raises(SealedError) as caught:
            wrapper.unwrap(blob, context=CONTEXT)
        assert caught.value.retry_after is not None

    def test_a_service_that_is_down_is_waited_for(self):
        wrapper = self.make()
        blob = wrapper.wrap(KEY, context=CONTEXT)
        self.down()
        for fresh in (wrapper, self.make()):
            with pytest.raises(SealedError) as caught:
                fresh.unwrap(blob, context=CONTEXT)
            assert caught.value.retry_after is not None
            assert wrapper.name in str(caught.value)

    def test_no_error_holds_the_key_or_what_wrapped_it(self):
        wrapper = self.make()
        blob = wrapper.wrap(KEY, context=CONTEXT)
        self.deny()
        with pytest.raises(StrongroomError) as caught:
            wrapper.unwrap(blob, context=CONTEXT)
        told = f"{caught.value} {caught.value.hint} {caught.value.__context__!r} {caught.value.__cause__!r}"
        assert KEY.hex() not in told
        assert blob[-20:].hex() not in told
        assert "backend" not in told or "store.wrappers" in told
        assert not isinstance(caught.value, BackendConfigError)

    def test_closing_it_twice_is_safe(self):
        wrapper = self.make()
        wrapper.wrap(KEY, context=CONTEXT)
        wrapper.close()
        wrapper.close()
