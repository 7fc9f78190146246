import os
import signal
import socket
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom.errors import BackendConfigError, ConflictError, SealedError, StrongroomError, TamperedError
from strongroom.model.secret import Secret
from strongroom.wrappers import file
from strongroom.wrappers.file import FileWrapper
from strongroom.wrappers.passphrase import INSECURE_TEST_PROFILE, PassphraseWrapper

KEY = b"\xc5" * 32
CONTEXT = b"context"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "outer.key"


@pytest.fixture
def wrapper(path):
    return file.create(path)


@pytest.fixture
def blob(wrapper):
    return wrapper.wrap(KEY, context=CONTEXT)


def names(directory):
    return [path.name for path in directory.iterdir()]


def refusal(path, blob):
    """Give the error of unwrapping, which must leave what is at *path* alone."""
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StrongroomError) as refused:
        FileWrapper(path).unwrap(blob, context=CONTEXT)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert refused.value.hint
    return refused.value


def test_unwrap_undoes_wrap(wrapper, blob, path):
    assert FileWrapper(path).unwrap(blob, context=CONTEXT) == KEY
    assert wrapper.unwrap(wrapper.wrap(KEY, context=b""), context=b"") == KEY


def test_a_key_opens_only_under_its_context(wrapper, blob):
    with pytest.raises(TamperedError):
        wrapper.unwrap(blob, context=b"other")


def test_every_single_bit_flip_and_truncation_of_a_blob_fails(wrapper, blob):
    for bit in range(len(blob) * 8):
        flipped = bytearray(blob)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises((TamperedError, SealedError)):
            wrapper.unwrap(bytes(flipped), context=CONTEXT)
    for length in range(len(blob)):
        with pytest.raises((TamperedError, SealedError)):
            wrapper.unwrap(blob[:length], context=CONTEXT)
    with pytest.raises(TamperedError):
        wrapper.unwrap(blob + b"\x00", context=CONTEXT)


@pytest.mark.parametrize("stored", [None, "SRW\x01", 7])
def test_a_column_that_holds_no_bytes_is_tampered(wrapper, stored):
    with pytest.raises(TamperedError):
        wrapper.unwrap(stored, context=CONTEXT)


def test_a_blob_of_another_wrapper_is_said_to_be_one(wrapper):
    other = PassphraseWrapper(Secret("correct horse"), profile=INSECURE_TEST_PROFILE)
    with pytest.raises(SealedError, match="not wrapped by file"):
        wrapper.unwrap(other.wrap(KEY, context=CONTEXT), context=CONTEXT)


def test_a_new_file_and_its_directory_are_for_their_owner_alone(tmp_path):
    old = os.umask(0)
    try:
        file.create(tmp_path / "new" / "deep" / "outer.key")
    finally:
        os.umask(old)
    modes = [
        stat.S_IMODE((tmp_path / part).stat().st_mode) for part in ("new", "new/deep", "new/deep/outer.key")
    ]
    assert modes == [0o700, 0o700, 0o600]


def test_a_strict_umask_still_leaves_a_readable_key(path):
    path.parent.mkdir(mode=0o700)
    old = os.umask(0o777)
    try:
        file.create(path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_file_describes_itself_in_one_line(wrapper, path):
    mark, label, key = path.read_text(encoding="ascii").removesuffix("\n").split(" ")
    assert (mark, len(label), len(key)) == ("strongroom-key-v1", 16, 44)
    assert wrapper.name == str(path)


def test_what_exists_is_never_overwritten(path, wrapper):
    before = path.read_bytes()
    with pytest.raises(ConflictError, match=r"outer\.key"):
        file.create(path)
    assert path.read_bytes() == before
    assert names(path.parent) == ["outer.key"]


@pytest.mark.parametrize("target", ["nowhere", "victim"])
def test_a_link_in_the_way_is_not_followed(path, target):
    path.parent.mkdir(mode=0o700)
    (path.parent / "victim").write_text("kept")
    path.symlink_to(path.parent / target)
    with pytest.raises(ConflictError):
        file.create(path)
    assert (path.parent / "victim").read_text() == "kept"
    assert not (path.parent / "nowhere").exists()


def test_of_many_creators_at_once_one_wins_and_its_key_stands(path):
    won, lost = [], []

    def compete():
        try:
            won.append(file.create(path))
        except ConflictError as error:
            lost.append(error)

    threads = [threading.Thread(target=compete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)
    assert won[0].unwrap(FileWrapper(path).wrap(KEY, context=b""), context=b"") == KEY
    assert names(path.parent) == ["outer.key"]


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "plain").write_text("")
    with pytest.raises(BackendConfigError, match="ENOTDIR") as refused:
        file.create(tmp_path / "plain" / "outer.key")
    assert str(tmp_path / "plain") in str(refused.value)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_full_disk_leaves_no_half_key(path):
    resource = pytest.importorskip("resource")
    path.parent.mkdir(mode=0o700)
    child = os.fork()
    if not child:
        # A file size limit is a full disk that needs no file system of its own.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40))
        try:
            file.create(path)
        except BackendConfigError:
            os._exit(7)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert names(path.parent) == []


def test_a_missing_key_is_sealed_and_not_made(path, blob):
    path.unlink()
    error = refusal(path, blob)
    assert isinstance(error, SealedError)
    assert f'"{path}" is missing' in str(error)
    path.parent.rmdir()
    assert isinstance(refusal(path, blob), SealedError)
    assert not path.parent.exists()


def test_another_whole_key_is_told_from_a_damaged_one(path, blob, tmp_path):
    label = path.read_text().split(" ")[1]
    other = file.create(tmp_path / "other.key")
    path.write_bytes(Path(other.name).read_bytes())
    error = refusal(path, blob)
    assert isinstance(error, SealedError)
    assert "another key" in str(error)
    assert label in error.hint


def test_every_single_bit_flip_and_truncation_of_the_key_file_is_sealed(path, blob):
    line = path.read_bytes()
    for bit in range((len(line) - 1) * 8):
        flipped = bytearray(line)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert isinstance(refusal(path, blob), SealedError)
    for length in range(len(line) - 1):
        path.write_bytes(line[:length])
        assert isinstance(refusal(path, blob), SealedError)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(noise=st.binary(max_size=200))
def test_noise_in_the_key_file_is_damaged(path, blob, noise):
    path.write_bytes(noise)
    assert "damaged" in str(refusal(path, blob))


def test_a_huge_key_file_is_not_read_whole(path, blob):
    with path.open("r+b") as large:
        large.truncate(2**40)  # a hole: it takes no room on disk
    with pytest.raises(SealedError, match="damaged"):
        FileWrapper(path).unwrap(blob, context=CONTEXT)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o666, 0o644, 0o777])
def test_a_key_open_to_others_is_refused_with_the_command_that_closes_it(path, blob, mode):
    path.chmod(mode)
    error = refusal(path, blob)
    assert isinstance(error, BackendConfigError)
    assert error.hint == f'chmod 600 "{path}"'


def test_a_read_only_key_is_good(path, blob):
    path.chmod(0o400)
    assert FileWrapper(path).unwrap(blob, context=CONTEXT) == KEY


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_directory_that_others_may_write_is_refused(path, blob, mode):
    path.parent.chmod(mode)
    error = refusal(path, blob)
    assert isinstance(error, BackendConfigError)
    assert error.hint == f'chmod go-w "{path.parent}"'
    with pytest.raises(BackendConfigError):
        file.create(path.parent / "second.key")
    assert names(path.parent) == ["outer.key"]


def test_a_sticky_directory_and_a_readable_one_are_good(path, blob):
    for mode in (0o1777, 0o755):
        path.parent.chmod(mode)
        assert FileWrapper(path).unwrap(blob, context=CONTEXT) == KEY


def test_a_linked_key_is_refused(path, blob):
    real = path.with_name("real.key")
    path.rename(real)
    path.symlink_to(real)
    assert "symbolic link" in str(refusal(path, blob))


def test_a_directory_may_be_reached_through_a_link(path, blob, tmp_path):
    (tmp_path / "short").symlink_to(path.parent)
    assert FileWrapper(tmp_path / "short" / "outer.key").unwrap(blob, context=CONTEXT) == KEY


@pytest.mark.parametrize("make", ["pipe", "socket", "directory"])
def test_what_is_no_regular_file_is_refused_at_once(path, blob, make, tmp_path, monkeypatch):
    path.unlink()
    if make == "pipe":
        os.mkfifo(path, 0o600)
    elif make == "directory":
        path.mkdir(0o700)
    else:
        monkeypatch.chdir(path.parent)  # the path of a socket is short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    open_before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count
    with pytest.raises((BackendConfigError, SealedError)) as refused:
        FileWrapper(path).unwrap(blob, context=CONTEXT)
    assert str(path) in str(refused.value)
    assert len(os.listdir("/proc/self/fd")) == open_before  # noqa: PTH208  # same


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("given", ["file", "directory"])
def test_a_key_of_another_user_is_refused(path, blob, given):
    os.chown(path if given == "file" else path.parent, 65_534, -1)
    assert "belongs to another user" in str(refusal(path, blob))


def test_no_error_shows_a_key(path, blob):
    encoded = path.read_text().split(" ")[2].strip()
    path.write_text(path.read_text().replace("v1", "v3"))
    error = refusal(path, blob)
    assert encoded not in f"{error!r}{error.hint}"
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
