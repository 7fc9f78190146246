"""Every kind of backend: its options, what it needs installed, and what it costs who does not use it."""

import subprocess
import sys
from dataclasses import fields, is_dataclass
from importlib import import_module

import pytest

from strongroom.backend import kinds, load
from strongroom.errors import BackendConfigError, SettingsError
from strongroom.settings import BackendSettings, options

KINDS = sorted(kinds())
SDKS = ("boto3", "botocore", "google", "grpc", "azure", "lightkube", "requests", "httpx", "hvac")
EXTRAS = {
    "aws_secrets_manager": ("boto3", "aws"),
    "aws_parameter_store": ("boto3", "aws"),
    "gcp_secret_manager": ("google", "gcp"),
    "azure_key_vault": ("azure", "azure"),
}


def shape_of(kind):
    try:
        module = import_module(f"strongroom.backends.{kind}")  # found without its SDK, unlike by `load`
    except ImportError:
        return None  # of the store, which needs Python 3.11
    shape = getattr(module.BACKEND, "options_type", None)
    return shape if is_dataclass(shape) else None


def names_of(kind):
    return [member.name for member in fields(shape_of(kind)) if member.init] if shape_of(kind) else []


def misspelt(name):
    """Give *name* with two letters in the middle changed places: the commonest slip of all."""
    at = next((at for at in range(len(name) // 2, len(name) - 1) if name[at] != name[at + 1]), 0)
    return name[:at] + name[at + 1] + name[at] + name[at + 2 :]


def slips():
    """Give kind, option and how it is misspelt; not where that is another option, or all of the name."""
    for kind in KINDS:
        names = names_of(kind) if kind != "native" else []
        for name in names:
            wrong = misspelt(name)
            if len(name) > 2 and wrong != name and wrong not in names:
                yield kind, name, wrong


@pytest.mark.parametrize(("kind", "name", "wrong"), list(slips()))
def test_misspelt_option_is_refused_at_the_start_with_the_nearest_name(kind, name, wrong):
    with pytest.raises(SettingsError) as caught:
        options(BackendSettings(name="mine", kind=kind, options={wrong: "x"}), shape_of(kind), environ={})
    assert caught.value.key == f"backend.mine.{wrong}"
    near = caught.value.hint.removeprefix("did you mean backend.mine.").removesuffix("?")
    assert near in [*names_of(kind), *(member.name for member in fields(BackendSettings))]
    # Short names have many neighbours; of long ones the right one is meant.
    assert near == name or len(name) < 8 or name.rpartition("_")[2] == near.rpartition("_")[2]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if shape_of(kind)])
def test_misspelt_setting_of_every_backend_is_named_too(kind):
    table = BackendSettings(name="mine", kind=kind, options={"read_onyl": True})
    with pytest.raises(SettingsError) as caught:
        options(table, shape_of(kind), environ={})
    assert caught.value.hint == "did you mean backend.mine.read_only?"


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("aws_secret_manager", "aws_secrets_manager"),
        ("gcp_secrets_manager", "gcp_secret_manager"),
        ("kubernets", "kubernetes"),
        ("azure_keyvault", "azure_key_vault"),
    ],
)
def test_misspelt_kind_is_refused_with_the_nearest_one(wrong, right):
    with pytest.raises(BackendConfigError) as caught:
        load(wrong)
    assert caught.value.hint.startswith(f"did you mean {right}? installed kinds: ")


def run(code, *arguments):
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.split()


LOADED = """
import sys
{}
roots = {{name for name in sys.modules if name.partition(".")[0] in sys.argv[1:]}}
print(*sorted(roots - {{"google", "google.cloud", "azure"}}))  # folders of many distributions: empty
"""
ENV = """
import strongroom
from pathlib import Path
from strongroom.settings import load
settings = load(environ={"STRONGROOM_HOME": "/nonexistent"}, cwd=Path("/"), tables={"chain": ["env"]})
with strongroom.open_room(settings, environ={"AIRFLOW_VAR_REGION": "x"}) as room:
    assert room.lookup.variable("region") == "x"
"""


@pytest.mark.parametrize("code", ["import strongroom", ENV], ids=["import", "a chain of env"])
def test_no_sdk_is_loaded_where_none_is_configured(code):
    assert run(LOADED.format(code), *SDKS) == []


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("native", "remote")])
def test_kind_is_found_without_loading_an_sdk(kind):
    assert run(LOADED.format(f"import strongroom.backends.{kind}"), *SDKS) == []


LACKING = """
import sys
for name in sys.argv[2].split(","):
    sys.modules[name] = None
from strongroom.backend import load
from strongroom.errors import BackendConfigError
try:
    load(sys.argv[1])
except BackendConfigError as error:
    print(error.hint)
    assert sys.argv[1] in str(error)
"""


@pytest.mark.parametrize("kind", sorted(EXTRAS))
def test_missing_sdk_is_told_at_the_start_with_the_extra_that_brings_it(kind):
    package, extra = EXTRAS[kind]
    assert run(LACKING, kind, package) == ["pip", "install", f"'strongroom[{extra}]'"]
