"""
The last good copy: through an outage and a restart of the machine, and never for what must not be in it.

A machine is started again by another text in the file of its boot id and a timer that begins anew: both are
settings of the copy.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from parts.keyring import drop_keys
from strongroom.agent.lastgood import FileAnchor, LastGood, Machine
from strongroom.assembly import lastgood
from strongroom.assembly.lastgood import KernelAnchor, open_parcels, this_host
from strongroom.cache import Cache, Lifetimes
from strongroom.errors import BackendConfigError, BackendUnavailableError
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.settings.agent import KeySettings
from strongroom.testing.fakes import Flaky, frozen_clock
from strongroom.vendors.keyctl import read_key, write_key

REGION = Ref("variable", "region")
ORDERS = Ref("connection", "orders_db")
TEAM = Ref("variable", "region", "data")
CARD = Ref("variable", "pci/card")
CANARY = "canary-3f9a71c2"
DAY = timedelta(days=1)


class World:
    """
    One machine with its disk, its clocks and its stores; agents come and go on it.

    Each agent is a real cache and a real copy; they share only what outlives a process.
    """

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o700)
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(mode=0o700)
        self.seconds = 1000.0  # since the machine started
        self.wall = timedelta()
        self.boot_id = folder / "boot_id"
        self.start_machine()
        self.store = Flaky(
            "store", {REGION: "eu-west-1", ORDERS: f"postgres://u:{CANARY}@h/x"}, clock=self.clock
        )
        self.key = KeySettings(kind="file", file=folder / "keys" / "key")
        self.max_age = DAY
        self.host = "this machine"
        self.deployment = "prod"
        self.backends = ["store"]
        self.told: list[str] = []
        self.hints: list[str | None] = []

    def clock(self):
        return frozen_clock() + self.wall

    def timer(self) -> float:
        return self.seconds

    def passes(self, **time: float) -> None:
        self.seconds += timedelta(**time).total_seconds()
        self.wall += timedelta(**time)

    def start_machine(self) -> None:
        self.boot_id.write_text(secrets.token_hex(16) + "\n")
        self.seconds = 20.0

    @property
    def path(self) -> Path:
        return self.state / "last-good"

    def hear(self, what, error):
        self.told.append(f"{what}: {error}")
        self.hints.append(error.hint)

    def agent(self) -> tuple[Cache, LastGood]:
        """Start an agent: its cache is empty, and whatever the copy gives is brought back."""
        lifetimes = Lifetimes(ttl=timedelta(minutes=5), stale_if_error=self.max_age)
        cache = Cache(self.store, lifetimes, clock=self.clock, timer=self.timer, draw=lambda: 0.5)
        parcels = open_parcels(
            self.key,
            copy=self.path,
            deployment=self.deployment,
            environ={"CREDENTIALS_DIRECTORY": str(self.folder)},
        )
        kernel = KernelAnchor(self.deployment, self.path)
        copy = LastGood(
            self.path,
            cache,
            parcels,
            deployment=self.deployment,
            max_age=self.max_age,
            anchor=FileAnchor(self.state / "generation", kernel),
            is_strict=lambda ref, entry: ref.name.startswith("pci/") or "strict" in entry.metadata.tags,
            backends=lambda: self.backends,
            machine=Machine(host=self.host, boot_id=self.boot_id, clock=self.clock, timer=self.timer),
            on_trouble=self.hear,
        )
        copy.restore()
        return cache, copy

    def has_kept(self, *refs: Ref) -> None:
        """Let an agent read *refs*, keep its copy, and die."""
        cache, copy = self.agent()
        for ref in refs or (REGION, ORDERS):
            assert cache.read(ref) is not None
        assert copy.keep()


@pytest.fixture
def world(tmp_path):
    yield (made := World(tmp_path))
    drop_keys(made.path, "prod", "staging")


# --- what it is for --------------------------------------------------------------------------------


def test_tasks_go_on_through_an_outage_and_a_restart_of_the_machine(world):
    world.has_kept()
    world.store.fail()
    world.passes(hours=3)
    world.start_machine()
    cache, _ = world.agent()
    found = cache.read(ORDERS)
    assert found.secret.reveal() == f"postgres://u:{CANARY}@h/x"
    assert found.is_stale
    assert cache.times(ORDERS)[0] == pytest.approx(3 * 3600)
    assert cache.remembered(ORDERS).age == timedelta(hours=3)
    assert world.told == []


def test_an_agent_that_was_only_restarted_knows_its_age_by_the_machines_own_clock(world):
    world.has_kept()
    world.store.fail()
    world.passes(minutes=10)
    world.wall += timedelta(days=-4000)  # nobody set the clock on the wall yet
    cache, _ = world.agent()
    assert cache.read(REGION).is_stale
    assert cache.times(REGION)[0] == pytest.approx(600)


def test_a_store_that_answers_is_asked_first(world):
    world.has_kept()
    world.store.put(REGION, "us-east-1")
    world.start_machine()
    cache, _ = world.agent()
    assert cache.peek(REGION) is None
    found = cache.read(REGION)
    assert (found.secret.reveal(), found.is_stale) == ("us-east-1", False)


def test_what_a_store_denies_or_has_lost_is_not_answered_from_the_copy(world):
    world.has_kept()
    world.start_machine()
    cache, copy = world.agent()
    world.store.delete(REGION, author="test")
    assert cache.read(REGION) is None
    world.store.fail()
    assert cache.read(REGION) is None
    assert copy.keep()
    with pytest.raises(BackendUnavailableError):
        world.agent()[0].read(REGION)


def test_an_entry_keeps_all_that_stands_beside_it(world):
    metadata = Metadata(
        description="of orders", tags=("gold",), owner="ana", conn_type="postgres", references=True,
        remind_at=frozen_clock() + DAY, not_after=frozen_clock() + 2 * DAY,
        expires_at=frozen_clock() + 3 * DAY,
    )  # fmt: skip
    world.store.put(TEAM, "eu-${variable/zone}", metadata)
    world.has_kept(TEAM)
    before = world.agent()[0].read(TEAM)
    world.store.fail()
    after = world.agent()[0].read(TEAM)
    assert after == replace(before, is_stale=True)


def test_copies_go_on_from_one_outage_to_the_next(world):
    world.has_kept()
    world.store.fail()
    for hour in range(1, 5):
        world.passes(hours=1)
        world.start_machine()
        cache, copy = world.agent()
        assert cache.read(REGION).is_stale
        assert cache.times(REGION)[0] == pytest.approx(hour * 3600)
        copy.close()


# --- how long --------------------------------------------------------------------------------------


def test_nothing_is_served_past_max_age_whoever_restarts(world):
    world.has_kept()
    world.store.fail()
    for _ in range(3):
        world.passes(hours=11)
        world.start_machine()
        cache, copy = world.agent()
        copy.keep()
    with pytest.raises(BackendUnavailableError):
        cache.read(REGION)


def test_an_entry_brought_back_does_not_outlive_max_age_in_the_agent_either(world):
    world.has_kept()
    world.store.fail()
    world.passes(hours=23)
    world.start_machine()
    cache, _ = world.agent()
    assert cache.read(REGION).is_stale
    world.passes(hours=1)
    with pytest.raises(BackendUnavailableError):
        cache.read(REGION)


def test_an_entry_past_its_own_date_stays_where_it_is(world):
    world.store.put(REGION, "x", Metadata(not_after=frozen_clock() + timedelta(hours=1)))
    world.has_kept(REGION)
    world.store.fail()
    world.passes(hours=2)
    with pytest.raises(BackendUnavailableError):
        world.agent()[0].read(REGION)


# --- what is never in it ---------------------------------------------------------------------------


def test_strict_entries_are_never_in_the_copy(world):
    world.store.put(CARD, "4111")
    world.store.put(TEAM, "tagged", Metadata(tags=("strict",)))
    world.has_kept(REGION, CARD, TEAM)
    world.store.fail()
    cache, copy = world.agent()
    assert copy.status().entries == 1
    for ref in (CARD, TEAM):
        with pytest.raises(BackendUnavailableError):
            cache.read(ref)


def test_an_entry_that_became_strict_is_not_brought_back(world):
    world.has_kept()
    cache, copy = world.agent()
    copy._is_strict = lambda _ref, _entry: True
    cache.clear()
    assert copy.restore() == 0


def test_what_came_from_a_backend_that_is_gone_from_the_settings_is_not_brought_back(world):
    world.has_kept()
    world.backends = ["another"]
    world.store.fail()
    with pytest.raises(BackendUnavailableError):
        world.agent()[0].read(REGION)


def test_the_copy_is_private_and_shows_nothing(world):
    world.has_kept()
    assert oct(world.path.stat().st_mode & 0o7777) == "0o600"
    data = world.path.read_bytes()
    for hidden in (CANARY, "orders_db", "region", "eu-west-1"):
        assert hidden.encode() not in data
    length = int.from_bytes(data[5:9], "big")
    assert set(json.loads(data[9 : 9 + length])) == {
        "deployment", "host", "generation", "written_at", "boot", "booted",
    }  # fmt: skip


def test_a_flush_empties_the_copy_too(world):
    world.has_kept()
    cache, copy = world.agent()
    cache.clear()
    assert copy.keep()
    world.store.fail()
    with pytest.raises(BackendUnavailableError):
        world.agent()[0].read(REGION)


# --- what is refused -------------------------------------------------------------------------------


def refused(world, message: str) -> None:
    """Expect that an agent starts without the copy, says why in one line, and works."""
    world.told.clear()
    cache, copy = world.agent()
    (line,) = world.told
    assert message in line
    assert "\n" not in line
    assert CANARY not in line
    assert copy.status().restored == 0
    assert message in copy.status().trouble
    world.store.recover()
    assert cache.read(REGION) is not None
    assert copy.keep()
    assert copy.status().trouble == ""


def test_a_copy_from_the_future_is_refused(world):
    world.has_kept()
    world.start_machine()
    world.wall -= timedelta(hours=1)
    refused(world, "it is from the future")


def test_a_copy_from_the_future_is_tried_again_once_the_clock_is_set(world):
    world.has_kept()
    world.store.fail()
    world.start_machine()
    world.wall -= timedelta(days=10)
    cache, copy = world.agent()
    with pytest.raises(BackendUnavailableError):
        cache.read(REGION)
    world.wall += timedelta(days=10, minutes=5)
    copy.look()
    assert cache.read(REGION).is_stale


def test_a_copy_that_is_too_old_is_refused(world):
    world.has_kept()
    world.passes(hours=25)
    world.start_machine()
    refused(world, "it is older than 86400 s")


def test_a_copy_of_another_deployment_is_refused(world):
    world.has_kept()
    world.deployment = "staging"
    refused(world, "it is of another deployment")


def test_a_copy_of_another_machine_is_refused(world):
    world.has_kept()
    world.host = "another"
    refused(world, "it is of another machine")


def test_an_older_copy_that_is_brought_back_is_refused(world):
    world.has_kept()
    old = world.path.read_bytes()
    world.store.put(REGION, "rotated")
    cache, copy = world.agent()
    cache.read(REGION)
    assert copy.keep()
    world.path.write_bytes(old)
    refused(world, "it is generation 1, and 2 was the newest")


def test_an_older_copy_is_refused_though_its_file_of_the_generation_came_with_it(world):
    if read_key_or_skip() is None:
        world.has_kept()
        old = {path: path.read_bytes() for path in world.state.iterdir()}
        cache, copy = world.agent()
        cache.refresh(REGION)
        world.store.put(REGION, "rotated")
        cache.refresh(REGION)
        assert copy.keep()
        for path, content in old.items():
            path.write_bytes(content)
        refused(world, "it is generation 1, and 2 was the newest")


def read_key_or_skip() -> bytes | None:
    try:
        return read_key("strongroom:test:nothing")
    except BackendConfigError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("field", ["generation", "written_at", "deployment", "host", "boot"])
def test_a_header_that_was_changed_is_damage(world, field):
    world.has_kept()
    data = world.path.read_bytes()
    length = int.from_bytes(data[5:9], "big")
    header = json.loads(data[9 : 9 + length])
    header[field] = header[field] + (1 if isinstance(header[field], int | float) else "x")
    changed = json.dumps(header).encode()
    world.path.write_bytes(data[:5] + len(changed).to_bytes(4, "big") + changed + data[9 + length :])
    refused(world, "it is damaged, or was changed")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is no last good copy"),
        (b"nonsense" * 100, "it is no last good copy"),
        (b"SRLG\x02" + bytes(100), "it is of format 2, and this release reads format 1"),
        (b"SRLG\x01\x00\x00\xff\xff{}", "it is cut short"),
        (b"SRLG\x01\xff\xff\xff\xff", "it is cut short"),
        (b"SRLG\x01\x00\x00\x00\x02{]x", "its header is damaged"),
    ],
)
def test_a_file_that_is_no_copy_is_refused(world, content, message):
    world.has_kept()
    world.path.write_bytes(content)
    refused(world, message)


def test_a_copy_that_is_cut_anywhere_is_refused(world):
    world.has_kept()
    data = world.path.read_bytes()
    for length in range(0, len(data), 37):
        world.path.write_bytes(data[:length])
        world.told.clear()
        world.agent()
        assert len(world.told) == 1


def test_a_copy_others_may_read_and_a_link_are_refused(world):
    world.has_kept()
    world.path.chmod(0o644)
    world.agent()
    assert "is open to other users" in world.told.pop()
    world.path.rename(world.folder / "elsewhere")
    world.path.symlink_to(world.folder / "elsewhere")
    world.agent()
    assert "is a symbolic link" in world.told.pop()


# --- keys ------------------------------------------------------------------------------------------


def test_a_wrong_key_is_told_and_the_copy_stays_until_there_is_something_newer(world):
    world.has_kept()
    data = world.path.read_bytes()
    right = world.key
    world.key = KeySettings(kind="file", file=world.folder / "keys" / "other")
    open_parcels(world.key, copy=world.folder / "none", deployment="prod", environ={})
    world.store.fail()
    _, copy = world.agent()
    assert "its key is not to be had" in world.told.pop()
    assert f"remove {world.path}" in world.hints.pop()
    copy.close()
    assert world.path.read_bytes() == data
    world.key = right
    assert world.agent()[0].read(REGION).is_stale


def test_a_key_file_is_made_once_and_never_beside_a_copy(world):
    world.has_kept()
    assert oct(world.key.file.stat().st_mode & 0o7777) == "0o600"
    world.key.file.unlink()
    world.agent()
    assert "is missing" in world.told.pop()
    assert not world.key.file.exists()


def test_with_a_credential_the_copy_outlives_the_machine(world):
    (world.folder / "last-good").write_bytes(os.urandom(32))
    (world.folder / "last-good").chmod(0o400)
    world.key = KeySettings(kind="credential", credential="last-good")
    world.has_kept()
    world.store.fail()
    world.start_machine()
    assert world.agent()[0].read(REGION).is_stale


def test_with_the_kernels_keyring_the_copy_outlives_the_agent_and_not_the_machine(world):
    read_key_or_skip()
    world.key = KeySettings(kind="keyring")
    world.has_kept()
    world.store.fail()
    assert world.agent()[0].read(REGION).is_stale
    world.start_machine()
    write_key(lastgood._described("last-good", "prod", world.path), b"-")  # as the kernel forgets it
    cache, _ = world.agent()
    assert "its key is not to be had" in world.told.pop()
    with pytest.raises(BackendUnavailableError):
        cache.read(REGION)


# --- when it is written ----------------------------------------------------------------------------


def test_nothing_is_written_where_nothing_changed(world):
    cache, copy = world.agent()
    assert not copy.keep()
    cache.read(REGION)
    assert copy.keep()
    assert not copy.keep()
    for _ in range(10):
        cache.read(REGION)
    assert not copy.keep()


def test_values_that_are_only_confirmed_are_written_now_and_then(world):
    cache, copy = world.agent()
    cache.read(REGION)
    assert copy.keep()
    cache.refresh(REGION)
    assert not copy.keep()
    world.passes(minutes=6)
    cache.refresh(REGION)
    assert copy.keep()
    world.store.put(REGION, "another")
    cache.refresh(REGION)
    assert copy.keep()


def test_it_is_written_behind_the_agents_back_and_at_its_end(world):
    cache, copy = world.agent()
    copy._debounce = 0.01
    copy.start()
    cache.read(REGION)
    until = time.monotonic() + 20
    while not copy.status().generation and time.monotonic() < until:
        time.sleep(0.01)
    cache.read(ORDERS)
    copy.close()
    assert copy.status().entries == 2


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "strongroom-test", str(folder)]
    done = subprocess.run(mount, capture_output=True, check=False)
    if done.returncode:
        if os.environ.get("CI"):
            pytest.fail("a small disk cannot be mounted here")
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_once_keeps_the_old_copy_and_heals_by_itself(world, small_disk):
    world.state = small_disk
    world.has_kept(REGION)
    data = world.path.read_bytes()
    world.store.put(ORDERS, "postgres://h/" + "x" * 300_000)
    cache, copy = world.agent()
    assert cache.read(ORDERS) is not None
    assert not copy.keep()
    assert not copy.keep()
    (line,) = world.told
    assert "the last good copy is not written" in line
    assert "no space left on device" in line
    assert world.path.read_bytes() == data
    assert sorted(path.name for path in small_disk.iterdir()) == ["generation", "last-good"]
    world.store.put(ORDERS, "postgres://h/x")
    cache.refresh(ORDERS)
    assert copy.keep()
    assert copy.status().trouble == ""


def test_a_machine_is_told_by_a_digest_of_its_id(tmp_path):
    (tmp_path / "id").write_text("3d1219c7c4c5404aaa1f6d2a48adfda4\n")
    assert len(this_host(tmp_path / "id")) == 64
    assert "3d1219c7" not in this_host(tmp_path / "id")
    assert this_host(tmp_path / "none") == ""
