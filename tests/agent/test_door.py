"""The socket of an agent: where it may stand, whom it may replace, and who is at the other end."""

import os
import socket
import stat
import subprocess
import sys
from datetime import timedelta

import pytest

from strongroom.agent.door import Lock, Peers, listen, peer_of, prepare
from strongroom.errors import AccessDeniedError, ConflictError, SettingsError
from strongroom.settings import AgentSettings

OTHER = 54_321
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


def settings(tmp_path, **given):
    return AgentSettings(state=tmp_path / "state", **given)


def mode_of(path):
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "agent.sock"


@pytest.fixture
def door(path, tmp_path):
    made = listen(path, settings(tmp_path))
    yield made
    made.close()


# --- the folder and the modes -----------------------------------------------------------------------


@pytest.mark.usefixtures("door")
def test_the_folder_is_made_for_its_owner_alone_whatever_the_umask(path):
    assert (mode_of(path.parent), mode_of(path), mode_of(path.with_name("agent.sock.lock"))) == (
        0o700,
        0o600,
        0o600,
    )


def test_modes_are_right_under_an_open_umask(path, tmp_path):
    before = os.umask(0)
    try:
        made = listen(path, settings(tmp_path))
    finally:
        os.umask(before)
    assert (mode_of(path.parent), mode_of(path)) == (0o700, 0o600)
    made.close()


def test_one_group_that_may_connect_has_the_folder_and_the_socket(path, tmp_path):
    made = listen(path, settings(tmp_path, groups=(os.getgid(),)))
    assert (mode_of(path.parent), mode_of(path)) == (0o750, 0o660)
    assert (path.parent.lstat().st_gid, path.lstat().st_gid) == (os.getgid(), os.getgid())
    made.close()


def test_where_users_are_named_all_may_knock_and_none_may_look_around(path, tmp_path):
    made = listen(path, settings(tmp_path, users=(OTHER,)))
    assert (mode_of(path.parent), mode_of(path)) == (0o711, 0o666)
    made.close()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_folder_that_others_may_change_is_refused(path, tmp_path, mode):
    path.parent.mkdir()
    path.parent.chmod(mode)
    with pytest.raises(SettingsError, match="may be changed by others"):
        listen(path, settings(tmp_path))


def test_a_folder_below_one_that_anybody_may_change_is_refused(tmp_path):
    above = tmp_path / "open"
    above.mkdir()
    above.chmod(0o777)
    with pytest.raises(SettingsError, match="may be changed by anybody"):
        listen(above / "run" / "agent.sock", settings(tmp_path))


def test_a_folder_that_is_a_link_is_refused(path, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    path.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="is no folder, or a link"):
        listen(path, settings(tmp_path))


@only_root
def test_a_folder_of_somebody_else_is_refused(path, tmp_path):
    path.parent.mkdir(mode=0o700)
    os.chown(path.parent, OTHER, OTHER)
    with pytest.raises(SettingsError, match="belongs to another user"):
        listen(path, settings(tmp_path))


def test_a_path_that_is_longer_than_a_socket_s_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="over 103 bytes"):
        listen(tmp_path / ("x" * 120) / "agent.sock", settings(tmp_path))


def test_a_folder_is_checked_again_where_it_is_there_already(tmp_path):
    prepare(tmp_path / "state", 0o700)
    prepare(tmp_path / "state", 0o700)
    (tmp_path / "state").chmod(0o707)
    with pytest.raises(SettingsError) as caught:
        prepare(tmp_path / "state", 0o700, key="agent.state")
    assert caught.value.key == "agent.state"


# --- what stands there ------------------------------------------------------------------------------


@pytest.mark.usefixtures("door")
def test_a_second_agent_at_the_same_path_is_told_who_is_there(path, tmp_path):
    with pytest.raises(ConflictError, match=rf"pid {os.getpid()}\)"):
        listen(path, settings(tmp_path))
    assert stat.S_ISSOCK(path.lstat().st_mode)


def test_a_socket_that_nobody_answers_at_is_replaced(path, tmp_path):
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    made = listen(path, settings(tmp_path))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    made.close()


def test_a_socket_that_something_else_answers_at_is_left_alone(path, tmp_path):
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(ConflictError, match="something else answers"):
            listen(path, settings(tmp_path))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


def test_a_file_that_stands_there_is_left_alone(path, tmp_path):
    path.parent.mkdir(mode=0o700)
    path.write_text("precious")
    with pytest.raises(SettingsError, match="no socket"):
        listen(path, settings(tmp_path))
    assert path.read_text() == "precious"


@pytest.mark.parametrize("name", ["agent.sock", "agent.sock.lock"])
def test_a_link_that_stands_there_is_not_followed(path, tmp_path, name):
    path.parent.mkdir(mode=0o700)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.with_name(name).symlink_to(victim)
    with pytest.raises(SettingsError):
        listen(path, settings(tmp_path))
    assert victim.read_text() == "precious"


@only_root
def test_a_socket_of_somebody_else_is_refused(path, tmp_path):
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    os.chown(path, OTHER, OTHER)
    with pytest.raises(SettingsError, match="belongs to another user"):
        listen(path, settings(tmp_path))


def test_after_a_refusal_the_path_can_be_taken(path, tmp_path):
    path.parent.mkdir(mode=0o700)
    path.write_text("in the way")
    with pytest.raises(SettingsError):
        listen(path, settings(tmp_path))
    path.unlink()
    listen(path, settings(tmp_path)).close()


def test_what_was_made_is_taken_away_at_the_end(path, tmp_path):
    listen(path, settings(tmp_path)).close()
    assert not path.exists()
    listen(path, settings(tmp_path)).close()


def test_what_another_one_made_since_is_not_taken_away(path, tmp_path):
    made = listen(path, settings(tmp_path))
    path.unlink()
    path.write_text("another's")
    made.close()
    assert path.read_text() == "another's"


def test_a_lock_ends_with_its_process(tmp_path):
    program = (
        "import sys, pathlib; from strongroom.agent.door import Lock; Lock(pathlib.Path(sys.argv[1]), 'x')"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "lock"], check=True)
    lock = Lock(tmp_path / "lock", "here")
    with pytest.raises(ConflictError, match="here"):
        Lock(tmp_path / "lock", "here")
    lock.close()
    lock.close()
    Lock(tmp_path / "lock", "here").close()


# --- who is at the other end ------------------------------------------------------------------------


def test_the_kernel_tells_who_is_at_the_other_end():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid, uid, gid, gids = peer_of(ours)
    assert (pid, uid, gid) == (os.getpid(), os.getuid(), os.getgid())
    assert {gid, *os.getgroups()} <= set(gids)


class Transport:
    def __init__(self, connected):
        self._connected = connected

    def get_extra_info(self, _name):
        return self._connected


class Timer:
    """Calls what waits when it is told to."""

    def __init__(self):
        self.waiting = []

    def later(self, seconds, work):
        self.waiting.append((seconds, work))

    def ring(self):
        waiting, self.waiting = self.waiting, []
        for _, work in waiting:
            work()


def test_the_agent_s_own_user_administers_and_others_do_not():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = Peers(lambda _uid, _gids: True, lambda *_: None, lambda *_: None).admit(Transport(ours))
    assert (peer.uid, peer.is_admin) == (os.getuid(), True)


def test_refusals_of_one_user_are_recorded_at_once_and_then_together():
    recorded, timer = [], Timer()
    peers = Peers(lambda _uid, _gids: False, lambda *told: recorded.append(told), timer.later)
    ours, theirs = socket.socketpair()
    uid = os.getuid()
    with ours, theirs:
        for _ in range(10):
            with pytest.raises(AccessDeniedError) as caught:
                peers.admit(Transport(ours))
        assert caught.value.hint
        assert recorded == [(uid, 1)]
        ((seconds, _),) = timer.waiting
        assert timedelta(seconds=seconds) == timedelta(minutes=1)
        timer.ring()
        assert recorded == [(uid, 1), (uid, 9)]
        with pytest.raises(AccessDeniedError):
            peers.admit(Transport(ours))
        with pytest.raises(AccessDeniedError):
            peers.admit(Transport(ours))
    peers.close()
    assert recorded == [(uid, 1), (uid, 9), (uid, 1), (uid, 1)]
    assert peers.refused == {uid: 12}
