"""Wrappers as the settings name them: each loaded by its kind, and only where it is named."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

import strongroom.wrappers
from strongroom import assembly
from strongroom.assembly.ways import Ways
from strongroom.assembly.wrappers import load_wrappers
from strongroom.errors import BackendConfigError, SealedError, SettingsError
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change
from strongroom.settings import WRAPPERS, load
from strongroom.settings.wrapper import WrapperSettings, wrapper_options
from strongroom.wrappers.transit import TransitOptions

CONTEXT = b"context"
KMS = "projects/home/locations/global/keyRings/r/cryptoKeys/k"
EACH = {
    "file": '{ kind = "file", path = "outer.key" }',
    "passphrase": '{ kind = "passphrase", passphrase = { env = "PASS" } }',
    "credential": '{ kind = "credential", name = "room" }',
    "transit": '{ kind = "transit", url = "http://127.0.0.1:1", key = "k", token = { env = "T" } }',
    "aws_kms": '{ kind = "aws_kms", key = "alias/k", region_name = "eu-west-1" }',
    "gcp_kms": f'{{ kind = "gcp_kms", key = "{KMS}" }}',
    "azure_key": '{ kind = "azure_key", vault_url = "https://v.vault.azure.net", key = "k" }',
}


@pytest.fixture
def read(tmp_path):
    def reading(*wrappers, **more):
        file = tmp_path / "strongroom.toml"
        file.touch(mode=0o600)
        file.write_text(f'chain = ["native"]\n[store]\nwrappers = [{", ".join(wrappers)}]\n')
        environ = {"HOME": str(tmp_path), "STRONGROOM_HOME": str(tmp_path), **more}
        return load(file, environ=environ), environ

    return reading


def loaded(settings, environ):
    return load_wrappers(settings, Ways(environ=environ, clock=lambda: datetime.now(timezone.utc)))


def test_every_kind_is_a_file_and_is_tested_here():
    files = {path.stem for path in Path(strongroom.wrappers.__path__[0]).glob("*.py")}
    assert set(WRAPPERS) == files - {"__init__", "keyring"}  # that one is an agent's: it goes with a restart
    assert set(EACH) == set(WRAPPERS)


@pytest.mark.parametrize("kind", WRAPPERS)
def test_each_kind_is_loaded_by_its_name_and_asks_nobody(read, kind):
    (wrapper,) = loaded(*read(EACH[kind], PASS="correct horse", T="t"))
    assert wrapper.kind == kind
    assert wrapper.name
    wrapper.close()
    wrapper.close()


def test_only_what_is_named_is_imported(tmp_path):
    program = (
        "import sys, os\n"
        "from strongroom.settings import load\n"
        "from strongroom.assembly.wrappers import load_wrappers\n"
        "from strongroom.assembly.ways import Ways, now\n"
        "settings = load(sys.argv[1], environ={'HOME': sys.argv[2]})\n"
        "load_wrappers(settings, Ways(environ={}, clock=now))\n"
        "print([name for name in sys.modules if name.startswith('strongroom.wrappers.')])\n"
        "print([name for name in ('boto3', 'google.auth', 'azure.identity') if name in sys.modules])\n"
    )
    file = tmp_path / "s.toml"
    file.touch(mode=0o600)
    file.write_text(f"[store]\nwrappers = [{EACH['aws_kms']}]\n")
    found = subprocess.run(
        [sys.executable, "-c", program, str(file), str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines() == ["['strongroom.wrappers.aws_kms']", "[]"]


@pytest.mark.parametrize(
    ("wrapper", "key", "words"),
    [
        (EACH["transit"].replace("key =", "kee ="), "store.wrappers.kee", "did you mean store.wrappers.key"),
        ('{ kind = "transit", key = "k" }', "store.wrappers.url", "is missing"),
        (EACH["aws_kms"].replace('"alias/k"', "7"), "store.wrappers.key", "must be text"),
        (EACH["gcp_kms"].replace(" }", ', gcp_key_path = "" }'), "store.wrappers.gcp_key_path", "a path"),
        ('{ kind = "credential" }', "store.wrappers.name", "is missing"),
        (
            '{ kind = "transit", url = "http://h", key = "k", token = "hvs.canary" }',
            "store.wrappers.token",
            "fetch",
        ),
    ],
)
def test_an_option_that_cannot_be_right_is_refused_by_its_name(read, wrapper, key, words):
    with pytest.raises(SettingsError) as caught:
        loaded(*read(wrapper))
    assert caught.value.key == key
    assert words in f"{caught.value} {caught.value.hint}"
    assert "canary" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("kind", ["kms", "keyring", "../file", "", "Transit"])
def test_a_kind_that_is_none_is_refused(read, kind):
    with pytest.raises(SettingsError, match="must be one of file, passphrase, credential, transit"):
        read(f'{{ kind = "{kind}" }}')


def test_an_option_has_the_shape_its_kind_says(tmp_path):
    table = {"url": "https://h:8200", "key": "k", "ca": "ca.pem", "timeout": 2}
    found = wrapper_options(
        WrapperSettings(kind="transit", options=table, folder=tmp_path), TransitOptions, environ={}
    )
    assert (found.ca, found.timeout.total_seconds()) == (tmp_path / "ca.pem", 2)


def credential(folder, key):
    folder.mkdir(exist_ok=True)
    (folder / "room").touch(mode=0o600)
    (folder / "room").write_bytes(base64.b64encode(key))


def test_a_credential_of_systemd_holds_the_key_of_a_store(read, tmp_path):
    credential(tmp_path / "credentials", os.urandom(32))
    settings, environ = read(EACH["credential"], CREDENTIALS_DIRECTORY=str(tmp_path / "credentials"))
    with assembly.create_room(settings, environ=environ) as room:
        room.entries.write(Change(ref=Ref("variable", "region"), secret=Secret("eu")))
    with assembly.open_room(settings, environ=environ) as room:
        assert room.lookup.variable("region") == "eu"
    credential(tmp_path / "credentials", os.urandom(32))
    with pytest.raises(SealedError, match="another key"):
        assembly.open_room(settings, environ=environ)


def test_one_that_lacks_what_it_needs_does_not_keep_another_from_opening(read, tmp_path):
    settings, environ = read(EACH["file"])
    with assembly.create_room(settings, environ=environ) as room:
        room.entries.write(Change(ref=Ref("variable", "region"), secret=Secret("eu")))
    # No token for the one, no credentials of Google's for the other, and nobody behind either.
    settings, environ = read(EACH["transit"], EACH["gcp_kms"], EACH["file"])
    with assembly.open_room(settings, environ=environ) as room:
        assert room.lookup.variable("region") == "eu"


def test_each_of_several_says_for_itself_why_it_does_not_open(read, tmp_path):
    settings, environ = read(EACH["file"], EACH["passphrase"], PASS="correct horse battery")
    assembly.create_room(settings, environ=environ).close()
    (tmp_path / "outer.key").rename(tmp_path / "lost")
    with pytest.raises(SealedError) as caught:
        assembly.open_room(settings, environ={**environ, "PASS": "another one, quite"})
    assert "is missing" in str(caught.value)
    assert "the passphrase is wrong" in str(caught.value)
    assert "start refused, nothing overwritten" in str(caught.value)
    assert not (tmp_path / "outer.key").exists()


def test_every_one_of_several_wraps_and_any_of_them_opens(read, tmp_path):
    settings, environ = read(EACH["file"], EACH["passphrase"], PASS="correct horse battery")
    assembly.create_room(settings, environ=environ).close()
    for alone in (EACH["file"], EACH["passphrase"]):
        settings, environ = read(alone, PASS="correct horse battery")
        assembly.open_room(settings, environ=environ).close()


def test_where_one_of_several_cannot_wrap_no_key_is_made(read, tmp_path):
    settings, environ = read(EACH["file"], EACH["transit"], T="t")
    with pytest.raises((SealedError, BackendConfigError)):
        assembly.create_room(settings, environ=environ)
    settings, environ = read(EACH["file"])
    with pytest.raises(SealedError, match="has no key"):
        assembly.open_room(settings, environ=environ)
