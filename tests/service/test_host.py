"""What one agent serves: whom, by whose decision, kept over a reload, told in its status."""

from __future__ import annotations

import asyncio
import json
import os
import socket

import pytest

from parts.bell import until
from strongroom.assembly import create_room, open_host
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    SettingsError,
    StrongroomError,
)
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.policy import Assurance, Run
from strongroom.service.entries import Change
from strongroom.settings import load

ME = os.geteuid()
REGION = Ref("variable", "region")
ORDERS = Ref("connection", "orders_db")
FILE = """
chain = ["file"]
[backend.file]
variables_file_path = "variables.json"
connections_file_path = "connections.json"
"""


class Records:
    """A recorder that keeps what it is given, and tells which waited for the disk."""

    def __init__(self, _settings=None):
        self.events = []
        self.strict = []
        self.is_closed = False

    def append(self, *events):
        self.events += events

    async def aappend(self, *events):
        self.append(*events)

    def append_strict(self, *events):
        self.append(*events)
        self.strict += events

    async def aappend_strict(self, *events):
        self.append_strict(*events)

    def status(self):
        return {"state": "kept in memory"}

    def close(self):
        self.is_closed = True


class Home:
    """A folder with settings, and the hosts opened in it."""

    def __init__(self, folder):
        self.folder = folder
        self.environ = {"STRONGROOM_HOME": str(folder), "HOME": str(folder), "AIRFLOW_VAR_FROM_ENV": "e"}
        self.records = Records()
        self.hosts = []
        self.troubles = []
        self.variables(region="eu")
        (folder / "connections.json").write_text(json.dumps({"orders_db": "postgres://me:pw@db/orders"}))

    def variables(self, **values):
        (self.folder / "variables.json").write_text(json.dumps(values))

    def settings(self, text=FILE):
        path = self.folder / "strongroom.toml"
        path.write_text(text)
        return load(path, environ=self.environ)

    def host(self, text=FILE, *, is_started=True, **options):
        options.setdefault("recorder", lambda _settings: self.records)
        host = open_host(
            self.settings(text),
            environ=self.environ,
            on_trouble=lambda what, error: self.troubles.append((what, error)),
            **options,
        )
        self.hosts.append(host)
        if is_started:
            host.start()
        return host

    def policy(self, text):
        (self.folder / "pay.cedar").write_text(text)
        return FILE + '[agent]\npolicy = "pay.cedar"\n'


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path)
    yield home
    for host in home.hosts:
        host.close()


def text(host, ref=REGION, *, uid=ME, run=None):
    entry = host.reader(uid, run).read(ref)
    return None if entry is None else entry.secret.reveal()


# --- in front of any chain ---------------------------------------------------------------------------------


def test_host_serves_files_without_server_or_store(home):
    host = home.host()
    assert text(host) == "eu"
    assert text(host, ORDERS) == "postgres://me:pw@db/orders"
    assert text(host, Ref("variable", "nowhere")) is None


def test_host_serves_the_environment(home):
    assert text(home.host('chain = ["env"]\n'), Ref("variable", "from_env")) == "e"


def test_host_opens_without_any_settings(home):
    assert text(home.host(""), Ref("variable", "from_env")) == "e"


def test_host_asks_the_backends_though_the_environment_names_an_agent(home):
    home.environ["STRONGROOM_SOCKET"] = "/nowhere/agent.sock"
    assert text(home.host()) == "eu"


def test_deployment_of_the_file_is_named(home):
    settings = """
deployment = "prod"
chain = ["env"]
[deployments.staging]
chain = ["file"]
[deployments.staging.backend.file]
variables_file_path = "variables.json"
"""
    home.settings(settings)
    host = open_host(home.folder / "strongroom.toml", environ=home.environ, deployment="staging")
    home.hosts.append(host)
    assert (host.deployment, text(host)) == ("staging", "eu")
    assert (host.settings.agent.state / "audit").is_dir()


def test_backend_that_can_never_work_refuses_the_start(home):
    with pytest.raises((BackendConfigError, SettingsError)):
        home.host('chain = ["nothing"]\n')


def test_on_a_loop_a_batch_answers_each_and_may_pass_the_cache(home):
    host = home.host()
    reader = host.reader(ME, None)

    async def read():
        first = await reader.aread_many([REGION, ORDERS, Ref("variable", "nowhere")])
        home.variables(region="us", other="x")
        again = await reader.aread_many([REGION])
        anew = await reader.aread_many([REGION], anew=True)
        return [one.outcome for one in first], again[0].entry.secret.reveal(), anew[0].entry.secret.reveal()

    assert asyncio.run(read()) == (["found", "found", "absent"], "eu", "us")


# --- who ---------------------------------------------------------------------------------------------------


def test_own_user_and_root_may_connect_and_nobody_else(home):
    host = home.host()
    assert host.may_connect(ME, [])
    assert host.may_connect(0, [])
    assert not host.may_connect(54321, [54321, 100])
    assert not host.may_connect(4_294_967_295, [])  # what the kernel says of a peer it cannot tell


def test_users_and_groups_of_the_settings_may_connect(home):
    host = home.host(FILE + '[agent]\nusers = [50000, "root"]\ngroups = [60000]\n')
    assert host.may_connect(50000, [])
    assert host.may_connect(54321, [1, 60000])
    assert not host.may_connect(54321, [1])


def test_user_that_this_machine_does_not_know_is_a_wrong_setting(home):
    with pytest.raises(SettingsError, match=r"agent\.users") as caught:
        home.host(FILE + '[agent]\nusers = ["nobody-of-this-name"]\n')
    assert "nobody-of-this-name" not in str(caught.value)


def test_reader_is_remembered_by_user_and_run(home):
    host = home.host()
    run = Run(Assurance.CLAIMED, dag_id="load")
    assert host.reader(ME, None) is host.reader(ME, None)
    assert host.reader(ME, run) is host.reader(ME, Run(Assurance.CLAIMED, dag_id="load"))
    assert host.reader(ME, run) is not host.reader(ME, None)
    assert host.reader(ME, run).actor.run == run
    assert host.reader(7, None).actor.id == "local:7"
    assert host.reader(7, None).actor.assurance is Assurance.HOST_USER


def test_remembered_readers_are_bounded(home):
    host = home.host(is_started=False)
    for number in range(5000):
        host.reader(ME, Run(Assurance.CLAIMED, run_id=str(number)))
    assert len(host.reading.readers()) <= 4096


# --- who decides -------------------------------------------------------------------------------------------


def test_without_a_policy_whoever_may_connect_may_read(home):
    host = home.host()
    assert text(host, uid=54321) == "eu"
    assert host.explain(54321, None, REGION).policies == ("host-user",)
    assert host.status().decided_by == "owner"


PAY = """
@id("pay.region")
permit (principal == Local::"51000", action in [Action::"read", Action::"describe"], resource is Entry)
when { resource.name == "region" };
"""


def test_cedar_file_decides_and_denies_what_it_does_not_allow(home):
    host = home.host(home.policy(PAY))
    assert text(host, uid=51000) == "eu"
    with pytest.raises(AccessDeniedError):
        text(host, ORDERS, uid=51000)
    with pytest.raises(AccessDeniedError):
        text(host, uid=51001)
    assert host.status().decided_by == "file"
    assert [event.outcome for event in home.records.events] == ["found", "denied", "denied"]


def test_cedar_file_may_ask_for_the_run(home):
    host = home.host(
        home.policy('permit (principal, action, resource) when { context.run.dag_id == "load" };')
    )
    assert text(host, run=Run(Assurance.CLAIMED, dag_id="load")) == "eu"
    with pytest.raises(AccessDeniedError):
        text(host, run=Run(Assurance.CLAIMED, dag_id="other"))


def test_nothing_is_looked_up_before_it_is_allowed(home):
    host = home.host(home.policy(PAY))
    with pytest.raises(AccessDeniedError):
        text(host, ORDERS)
    assert host.cache.statistics().misses == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("permit (principal, action", "no Cedar"),
        ('@id("other")\npermit (principal, action, resource);', "@id is not pay"),
        ("permit (principal, action, resource) when { resource.colour == 1 };", "line 1"),
        ("", "no policy"),
        ("\udcff", "UTF-8"),
        ("//" + "x" * 1_100_000, "over"),
    ],
)
def test_wrong_policy_file_refuses_the_start_and_says_where(home, content, said):
    settings = home.policy("")
    (home.folder / "pay.cedar").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(SettingsError, match=r"agent\.policy") as caught:
        home.host(settings)
    assert said in str(caught.value)
    assert caught.value.key == "agent.policy"


def test_missing_policy_file_refuses_the_start(home):
    with pytest.raises(SettingsError, match="cannot be read"):
        home.host(FILE + '[agent]\npolicy = "gone.cedar"\n')


# --- what is on record -------------------------------------------------------------------------------------


def test_uses_are_recorded_and_repeats_are_counted_at_the_end(home):
    host = home.host()
    for _ in range(5):
        text(host)
    assert [(event.actor, event.name, event.outcome) for event in home.records.events] == [
        (f"local:{ME}", "region", "found")
    ]
    host.close()
    assert home.records.events[-1].count == 4
    assert home.records.is_closed


def test_without_another_recorder_the_record_stands_in_the_state_folder(home):
    host = home.host(recorder=None)
    text(host)
    assert (host.settings.agent.state / "audit").is_dir()


STRICT = FILE + '[agent]\nstrict = ["pay/*"]\n'


def test_uses_of_strict_names_wait_for_the_disk(home):
    home.variables(**{"region": "eu", "pay/key": "x"})
    host = home.host(STRICT)
    text(host)
    text(host, Ref("variable", "pay/key"))
    assert [event.name for event in home.records.strict] == ["pay/key"]
    assert host.is_strict(Ref("variable", "pay/key"))
    assert not host.is_strict(REGION)


def test_strict_uses_of_a_batch_wait_for_the_disk_on_a_loop(home):
    home.variables(**{"region": "eu", "pay/key": "x"})
    reader = home.host(STRICT).reader(ME, None)
    asyncio.run(reader.aread_many([REGION, Ref("variable", "pay/key")]))
    assert len(home.records.strict) == len(home.records.events)


def test_entry_tagged_strict_is_strict(home):
    home.settings('chain = ["native"]\n')
    with create_room(home.folder / "strongroom.toml", environ=home.environ) as room:
        room.entries.write(Change(ref=REGION, secret=Secret("eu"), metadata=Metadata(tags=("strict",))))
    host = home.host('chain = ["native"]\n')
    assert text(host) == "eu"
    assert [event.name for event in home.records.strict] == ["region"]


# --- reload ------------------------------------------------------------------------------------------------


def test_reload_keeps_what_is_remembered(home):
    host = home.host()
    text(host)
    home.variables(region="us")
    before = host.chain
    host.reload(home.settings(FILE + "[cache]\nabsent_ttl = 3\n"))
    assert host.chain is not before
    assert text(host) == "eu"
    assert host.status().reloaded_at is not None
    assert host.cache.lifetimes.absent_ttl.total_seconds() == 3


def test_reload_forgets_what_another_place_answered(home):
    host = home.host()
    text(host)
    (home.folder / "other.json").write_text(json.dumps({"region": "us"}))
    host.reload(home.settings(FILE.replace("variables.json", "other.json")))
    assert text(host) == "us"


def test_reload_forgets_what_a_removed_backend_answered(home):
    host = home.host()
    text(host)
    host.reload(home.settings('chain = ["env"]\n'))
    assert text(host) is None
    assert len(host.cache) == 0


def test_reload_asks_anew_where_a_new_backend_may_answer_first(home):
    home.environ["AIRFLOW_VAR_REGION"] = "env"
    host = home.host()
    assert text(host) == "eu"
    host.reload(home.settings(FILE.replace('["file"]', '["env", "file"]')))
    assert text(host) == "env"


def test_reload_takes_policy_and_people_anew_for_readers_that_are_remembered(home):
    host = home.host()
    reader = host.reader(51000, None)
    assert reader.read(ORDERS) is not None
    assert reader.peek(ORDERS) is not None
    assert not host.may_connect(51000, [])
    host.reload(home.settings(home.policy(PAY) + "users = [51000]\n"))
    assert host.may_connect(51000, [])
    assert reader.peek(ORDERS) is None
    with pytest.raises(AccessDeniedError):
        reader.read(ORDERS)


@pytest.mark.parametrize("trouble", ["policy", "chain", "people"])
def test_reload_that_cannot_be_keeps_the_old_settings_and_tells(home, trouble):
    host = home.host(home.policy(PAY))
    assert text(host, uid=51000) == "eu"
    new = {
        "policy": home.policy("permit (nobody"),
        "chain": 'chain = ["nothing"]\n',
        "people": FILE + '[agent]\nusers = ["nobody-of-this-name"]\n',
    }[trouble]
    settings = home.settings(new)
    before = host.settings
    with pytest.raises(StrongroomError):
        host.reload(settings)
    assert host.settings is before
    assert text(host, uid=51000) == "eu"
    with pytest.raises(AccessDeniedError):
        text(host, ORDERS, uid=51000)
    assert host.status().reload_trouble


def test_reload_that_works_ends_the_trouble(home):
    host = home.host()
    with pytest.raises(StrongroomError):
        host.reload(home.settings('chain = ["nothing"]\n'))
    host.reload(home.settings())
    assert host.status().reload_trouble == ""


# --- kept fresh --------------------------------------------------------------------------------------------


NATIVE = 'chain = ["native"]\n'


@pytest.fixture
def native(home):
    home.settings(NATIVE)
    with create_room(home.folder / "strongroom.toml", environ=home.environ) as room:
        room.entries.write(Change(ref=REGION, secret=Secret("eu")))
        yield room


def test_write_by_another_process_to_the_store_is_served(home, native):
    host = home.host(NATIVE)
    assert text(host) == "eu"
    native.entries.write(Change(ref=REGION, secret=Secret("us")))
    until(lambda: text(host) == "us", seconds=5)


def test_followers_hear_of_a_write_by_another_process(home, native):
    host = home.host(NATIVE)
    text(host)
    woken = []
    end = host.follow(REGION, lambda ref, version: woken.append((ref, version)))
    native.entries.write(Change(ref=REGION, secret=Secret("us")))
    until(lambda: woken, seconds=5)
    assert woken == [(REGION, host.cache.glance(REGION).version)]
    assert host.status().followed == 1
    end()
    assert host.status().followed == 0


def test_reload_goes_on_hearing_of_the_store(home, native):
    host = home.host(NATIVE)
    text(host)
    host.reload(home.settings(NATIVE + "[cache]\nabsent_ttl = 3\n"))
    native.entries.write(Change(ref=REGION, secret=Secret("us")))
    until(lambda: text(host) == "us", seconds=5)


# --- what is told ------------------------------------------------------------------------------------------


def test_flush_forgets_one_or_all_and_tells_how_many(home):
    host = home.host()
    text(host)
    text(host, ORDERS)
    home.variables(region="us")
    assert host.flush(REGION) == 1
    assert host.flush(REGION) == 0
    assert text(host) == "us"
    assert host.flush(None) == 2
    assert host.cache.statistics().entries == 0


def test_explanation_tells_where_from_and_what_is_remembered_and_no_value(home):
    host = home.host()
    text(host)
    told = host.explain(ME, None, REGION)
    assert (told.outcome.value, told.backend) == ("found", "file")
    assert told.remembered.is_fresh
    assert "eu" not in json.dumps(told.to_dict())


def test_status_tells_readers_backends_and_the_record_and_no_value(home):
    host = home.host()
    run = Run(Assurance.CLAIMED, dag_id="load")
    for _ in range(3):
        text(host, run=run)
    text(host, ORDERS, uid=7)
    status = host.status()
    assert status.top_readers == ((f"local:{ME}", "load", 3, "L0"), ("local:7", None, 1, "L1"))
    (backend,) = status.backends
    assert (backend.name, backend.kind, backend.entries) == ("file", "file", 2)
    assert status.spool == {"state": "kept in memory"}
    assert (status.cache.entries, status.oldest_stale) == (2, None)
    assert "pw" not in repr(status)


def test_status_tells_how_old_the_oldest_stale_entry_is(home):
    host = home.host(FILE + "[cache]\nttl = 0.05\n")
    text(host)
    until(lambda: host.status().oldest_stale)


def test_counts_that_cannot_be_recorded_are_told_as_trouble(home):
    class Full(Records):
        def append(self, *events):
            if any(event.count for event in events):
                raise BackendUnavailableError("the disk is full", backend="record")
            super().append(*events)

    home.records = Full()
    host = home.host()
    text(host)
    text(host)
    host.close()
    assert [what for what, _ in home.troubles] == ["counted uses are not on record"]


def test_closing_twice_is_once(home):
    host = home.host()
    host.drain()
    assert text(host) == "eu"
    host.close()
    host.close()


def test_status_tells_of_a_store_that_is_not_asked_for_a_while(home):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        (home.folder / "token").write_text("t")
        (home.folder / "token").chmod(0o600)
        host = home.host(
            f'chain = ["vault"]\n[backend.vault]\nurl = "{url}"\ntoken = {{ file = "token" }}\n'
            'auth_type = "token"\n'
        )
        assert host.status().backends[0].circuit == "closed"
        for number in range(6):
            with pytest.raises(BackendUnavailableError):
                text(host, Ref("variable", f"v{number}"))
    assert host.status().backends[0].circuit == "open"


def test_followers_hear_what_stands_after_a_flush(home):
    host = home.host()
    text(host)
    woken = []
    host.follow(REGION, lambda ref, version: woken.append(ref))
    home.variables(region="us")
    host.flush(None)
    until(lambda: woken)
    assert text(host) == "us"
