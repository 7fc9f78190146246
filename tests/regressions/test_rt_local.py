"""
Cut texts, copies of the masker, addresses in logs, what a first start prints, files others may read: RT14,
RT15, RT20, RT23, RT37.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pkgutil
import re
import sys

import pytest

import strongroom
from parts import warm
from parts.server import serving
from strongroom.caller import error_of
from strongroom.cli.main import main
from strongroom.model.secret import Secret
from strongroom.server.logs import scrubbed
from strongroom.wire.shape import Problem

CANARY = "canary-1ab7"


# --- RT14: cut first, hidden later ------------------------------------------------------------------------


@pytest.mark.parametrize("cut", range(960, 1001, 4))
def test_RT14_a_token_that_stands_across_the_cut_of_a_message_shows_no_part(cut):
    token = f"srm_t_{'A' * 49}"
    error = error_of(Problem(code="invalid_input", message="x" * cut + token + "y" * 2000))
    assert "srm_t_A" not in str(error)
    assert "AAAA" not in str(error)


# --- RT15: one of each in a process, and in what it starts ------------------------------------------------


# These stand on Airflow itself; what they hold of ours is imported from where all others have it.
WITH_AIRFLOW = tuple(
    f"strongroom.airflow.{name}"
    for name in (
        "backend",
        "coordinator",
        "hook",
        "notifier",
        "operator",
        "page_fastapi",
        "page_flask",
        "plugin",
    )
)


def _modules():
    # A revision of the schema is run by what migrates, and imported by nobody.
    found = [one.name for one in pkgutil.walk_packages(strongroom.__path__, "strongroom.")]
    left = (*WITH_AIRFLOW, "strongroom.__main__")
    return [one for one in found if ".migrations" not in one and one not in left]


def _classes(root):
    """Give every class below *root*; the collector knows none of those that a server set aside."""
    seen, waiting = set(), [root]
    while waiting:
        found = set(type.__subclasses__(waiting.pop())) - seen
        seen |= found
        waiting += found
    return seen


@pytest.mark.parametrize("name", ["Secret", "Masker"])
def test_RT15_there_is_one_class_by_whatever_path_it_is_imported(name):
    for module in _modules():
        importlib.import_module(module)
    ours = {
        one
        for one in _classes(object)
        if one.__name__ == name and str(one.__module__).startswith("strongroom")
    }
    assert len(ours) == 1
    given = {getattr(sys.modules[module], name, None) for module in _modules()} - {None}
    assert given == ours


def _shown(secret, queue):
    queue.put((repr(secret), str(secret)))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
def test_RT15_a_forked_child_hides_what_its_parent_hid(recwarn):
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_shown, args=(Secret(CANARY), queue))
    child.start()
    shown = queue.get()
    child.join(30)
    assert child.exitcode == 0
    assert CANARY not in str(shown)


def test_RT15_what_a_child_of_a_child_prints_is_masked_too(tmp_path):
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "STRONGROOM_HOME": str(tmp_path),
        "AIRFLOW_VAR_KEY": CANARY,
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    asked = ["run", "--as", "KEY=variable/key", "--mask", "--", "sh", "-c", "sh -c 'sh -c \"echo $KEY\"'"]
    done = warm.run(asked, env=environ, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.returncode) == ("***\n", 0), done.stderr


# --- RT20: credentials in addresses -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        f"http://me:{CANARY}@proxy:3128",
        f"http://me:p@{CANARY}@proxy:3128",
        f"http://me:p/{CANARY}@proxy:3128",
        f"socks5h://{CANARY}@proxy",
        f"postgresql+psycopg://u:{CANARY}@/d?host=/run",
        f"mysql://u:%40{CANARY}@[::1]:3306/d",
        f"amqp://a:{CANARY}@one,amqp://b:{CANARY}@two",
    ],
)
def test_RT20_no_credential_of_an_address_is_logged_however_it_is_spelled(address):
    told = scrubbed(f"the proxy {address} gave no answer")
    assert CANARY not in told
    assert told.startswith("the proxy ")
    assert told.endswith(" gave no answer")


# --- RT23: what a first start prints -----------------------------------------------------------------------


@pytest.fixture
def up(tmp_path, capsys):
    """Run `strongroom up` in a new home, and give what it printed."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "STRONGROOM_HOME": str(tmp_path),
        "STRONGROOM__SERVER__PORT": "0",
    }

    def run(*more):
        assert main(["up", "--no", *more], environ) == 0
        return capsys.readouterr().out

    yield run
    main(["serve", "--stop"], environ)


def test_RT23_what_signs_in_is_told_to_people_alone_and_stands_in_no_file(up, tmp_path):
    told = up("--output", "json")
    assert "http://127.0.0.1:" in told
    assert "code=" not in told
    assert "srm_" not in told
    code = re.search(r"/login#code=(\S+)", up())[1]
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert code.encode() not in file.read_bytes(), file.name


# --- RT37: files that others may read ---------------------------------------------------------------------


def test_RT37_a_server_leaves_nothing_that_others_may_open_whatever_the_umask(tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    before = os.umask(0)
    try:
        with serving(home) as server:
            token = server.token()
            body = {"value": CANARY}
            assert server.ask("PUT", "/v1/entries/variable/x", body, token=token).status == 200
            assert server.ask("POST", "/v1/audit/verify", {}, token=token).status == 200
            found = {one: one.stat().st_mode & 0o077 for one in home.rglob("*") if not one.is_symlink()}
    finally:
        os.umask(before)
    assert len(found) > 5
    assert not [one for one, bits in found.items() if bits and one.name != "strongroom.toml"], found
