"""An outer key that systemd hands over, as its files look to a service."""

from __future__ import annotations

import base64

import pytest

from strongroom.errors import BackendConfigError, SealedError, TamperedError
from strongroom.wrappers import file
from strongroom.wrappers.credential import CredentialWrapper

KEY = b"\xc5" * 32
OUTER = bytes(range(32))
CONTEXT = b"context"


def given(folder, content, mode=0o400, name="key"):
    path = folder / name
    path.write_bytes(content)
    path.chmod(mode)
    return CredentialWrapper(str(folder), name)


def test_the_key_may_be_bytes_or_base64(tmp_path):
    blob = given(tmp_path, OUTER).wrap(KEY, context=CONTEXT)
    (tmp_path / "key").unlink()
    assert given(tmp_path, base64.b64encode(OUTER) + b"\n", 0o440).unwrap(blob, context=CONTEXT) == KEY


def test_the_key_may_be_the_line_of_a_key_file(tmp_path):
    made = file.create(tmp_path / "made")
    line = (tmp_path / "made").read_bytes()
    blob = given(tmp_path, line).wrap(KEY, context=CONTEXT)
    assert given(tmp_path, line, name="again").unwrap(blob, context=CONTEXT) == KEY
    assert made.kind != CredentialWrapper.kind


def test_another_key_is_sealed_and_another_context_tampering(tmp_path):
    wrapper = given(tmp_path, OUTER)
    blob = wrapper.wrap(KEY, context=CONTEXT)
    with pytest.raises(TamperedError):
        wrapper.unwrap(blob, context=b"other")
    with pytest.raises(SealedError, match="another key"):
        given(tmp_path, OUTER[::-1], name="other").unwrap(blob, context=CONTEXT)


@pytest.mark.parametrize("content", [b"", b"passphrase", OUTER + b"\x00", b"A" * 5000, b"a b c"])
def test_what_is_no_key_is_refused_with_the_command_that_makes_one(tmp_path, content):
    with pytest.raises(SealedError, match="is no key of 32 bytes") as caught:
        given(tmp_path, content).wrap(KEY, context=CONTEXT)
    assert "systemd-creds encrypt --name=key" in caught.value.hint


def test_without_systemd_or_the_credential_the_unit_is_named(tmp_path):
    with pytest.raises(SealedError, match="gave this process no credentials"):
        CredentialWrapper("", "key").wrap(KEY, context=CONTEXT)
    with pytest.raises(SealedError, match="no such file"):
        CredentialWrapper(str(tmp_path), "key").wrap(KEY, context=CONTEXT)


def test_a_credential_others_may_read_or_a_link_is_refused(tmp_path):
    with pytest.raises(BackendConfigError, match="only this service may read"):
        given(tmp_path, OUTER, 0o444).wrap(KEY, context=CONTEXT)
    (tmp_path / "link").symlink_to(tmp_path / "key")
    with pytest.raises(SealedError, match="cannot be read"):
        CredentialWrapper(str(tmp_path), "link").wrap(KEY, context=CONTEXT)
