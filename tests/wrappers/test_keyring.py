"""An outer key in the kernel's own memory; these tests ask the real kernel."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys

import pytest

from parts.keyring import drop_key
from strongroom.errors import BackendConfigError, SealedError, TamperedError
from strongroom.vendors.keyctl import read_key, write_key
from strongroom.wrappers.keyring import KeyringWrapper, create

KEY = b"\xc5" * 32
CONTEXT = b"context"


@pytest.fixture
def description():
    name = f"strongroom:test:{secrets.token_hex(8)}"
    try:
        read_key(name)
    except BackendConfigError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    yield name
    drop_key(name)


def test_unwrap_undoes_wrap_in_another_process_too(description):
    blob = create(description).wrap(KEY, context=CONTEXT)
    assert create(description).unwrap(blob, context=CONTEXT) == KEY
    code = (
        "import sys; from strongroom.wrappers.keyring import KeyringWrapper;"
        "print(KeyringWrapper(sys.argv[1]).unwrap(bytes.fromhex(sys.argv[2]), context=b'context').hex())"
    )
    asked = [sys.executable, "-c", code, description, blob.hex()]
    assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip() == KEY.hex()


def test_a_key_that_went_with_a_restart_says_so(description):
    blob = create(description).wrap(KEY, context=CONTEXT)
    write_key(description, b"-")
    with pytest.raises(SealedError, match="has no key") as caught:
        KeyringWrapper(description).unwrap(blob, context=CONTEXT)
    assert "does not outlive a restart of the machine" in caught.value.hint
    with pytest.raises(SealedError, match="another key"):
        create(description).unwrap(blob, context=CONTEXT)


def test_only_create_makes_a_key(description):
    with pytest.raises(SealedError):
        KeyringWrapper(description).wrap(KEY, context=CONTEXT)
    assert read_key(description) is None


def test_another_context_or_blob_is_tampering(description):
    wrapper = create(description)
    blob = wrapper.wrap(KEY, context=CONTEXT)
    for changed, context in ((blob, b"other"), (blob[:-1] + bytes([blob[-1] ^ 1]), CONTEXT), (b"x", CONTEXT)):
        with pytest.raises(TamperedError):
            wrapper.unwrap(changed, context=context)
