"""A full disk gives a typed error, the old state stands, and writing goes on when there is room again."""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from native_room import draft, make_barrier, open_barrier
from strongroom.errors import BackendConfigError, BackendUnavailableError, ReadOnlyError
from strongroom.model.ref import Ref
from strongroom.store.store import Store

X = Ref("variable", "x")
BIG = "x" * 200_000


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MiB; only root may mount one."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root; the file size limit below needs none")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "strongroom-test", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this sandbox lets not even root mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder):
    """Leave no room in *folder* and give the file that takes it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            pass
    return filler


def test_full_disk_refuses_writes_answers_reads_and_recovers(small_disk):
    barrier = make_barrier(small_disk / "room" / "store.db")
    barrier.write(draft("x", "old"))
    filler = fill(small_disk)
    for act in (
        lambda: barrier.write(draft("x", BIG)),
        lambda: barrier.write_many([draft("x", "new"), draft("y", BIG)]),
    ):
        with pytest.raises(BackendUnavailableError, match=r"no room left|could not read or write") as caught:
            act()
        assert caught.value.__suppress_context__
    assert barrier.read(X).secret.reveal() == "old"
    filler.unlink()
    assert barrier.write(draft("x", "new")) == "2"
    barrier.close()
    again = open_barrier(small_disk / "room" / "store.db")
    assert (again.read(X).secret.reveal(), again.read(Ref("variable", "y"))) == ("new", None)
    again.close()


def test_full_disk_makes_no_half_store(small_disk):
    filler = fill(small_disk)
    with pytest.raises(BackendUnavailableError):
        make_barrier(small_disk / "room" / "store.db")
    filler.unlink()
    barrier = make_barrier(small_disk / "room" / "store.db")
    barrier.write(draft("x", "kept"))
    assert barrier.read(X).secret.reveal() == "kept"
    barrier.close()


def limited(folder):
    """Fill up to a limit on the size of files, then lift it: what the test below runs in a process."""
    barrier = make_barrier(folder / "store.db")
    barrier.write(draft("x", "old"))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (350_000, hard))
    barrier.write(draft("x", BIG))
    with pytest.raises(BackendUnavailableError) as caught:
        barrier.write(draft("x", BIG))
    assert caught.value.__suppress_context__
    assert barrier.read(X).version == "2"
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert barrier.write(draft("x", "new")) == "3"
    assert barrier.read(X).secret.reveal() == "new"
    assert len(barrier.history(X)) == 3
    barrier.close()


def test_limit_on_file_size_is_met_like_a_full_disk(tmp_path):
    # In a process of its own: the limit holds for every file of the process.
    code = f"import sys, pathlib, test_disk; test_disk.limited(pathlib.Path({str(tmp_path / 'room')!r}))"
    folders = [str(Path(__file__).parent), *filter(None, sys.path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)


@pytest.fixture
def nobody():
    """A folder of a user who is not root: root may write what is read-only."""
    # Not below `tmp_path`: its folders are root's alone, and how many there are depends on the runner.
    with tempfile.TemporaryDirectory(prefix="strongroom-nobody-") as made:
        folder = Path(made)
        if os.geteuid() != 0:
            yield folder
            return
        os.chown(folder, 65534, 65534)
        os.setegid(65534)
        os.seteuid(65534)
        yield folder
        os.seteuid(0)
        os.setegid(0)


def test_store_that_became_read_only_answers_reads_and_refuses_writes(nobody):
    path = nobody / "room" / "store.db"
    barrier = make_barrier(path)
    barrier.write(draft("x", "kept"))
    barrier.close()
    path.chmod(0o400)
    barrier = open_barrier(path)
    assert barrier.read(X).secret.reveal() == "kept"
    with pytest.raises(ReadOnlyError):
        barrier.write(draft("x", "new"))
    barrier.close()


def test_folder_that_became_read_only_is_refused_by_type(nobody):
    path = nobody / "room" / "store.db"
    make_barrier(path).close()
    path.parent.chmod(0o500)
    with pytest.raises(ReadOnlyError):
        Store.open(path)
    path.parent.chmod(0o000)
    with pytest.raises(BackendConfigError, match="cannot be reached"):
        Store.open(path)
    path.parent.chmod(0o700)
