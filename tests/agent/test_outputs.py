"""Files for those who cannot ask: what stands in them, who may see them, what becomes of them in trouble."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from parts.agent import until
from strongroom.agent.outputs import Outputs, write_files
from strongroom.assembly.host import open_host
from strongroom.errors import AccessDeniedError, BackendConfigError
from strongroom.model.entry import Entry
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.settings import load
from strongroom.testing.fakes import utc_now

CANARY = "canary-3f9a71c2"
CHAIN = """
chain = ["vars"]
[backend.vars]
kind = "file"
variables = "v.json"
connections = "c.json"
"""
AWAY = """
chain = ["vault"]
[backend.vault]
url = "http://127.0.0.1:9"
auth = { method = "token", token = { env = "T" } }
"""
REGION = Ref("variable", "region")
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")


class Place:
    """A folder with settings, values and files; hosts are opened and closed on it."""

    def __init__(self, folder: Path) -> None:
        folder.chmod(0o755)
        self.folder = folder
        self.out = folder / "out"
        self.out.mkdir(mode=0o755)
        self.values = {"region": "eu-west-1", "token": f"{CANARY}"}
        self.connections = {
            "orders_db": f"postgres://ana:{CANARY}%22@db.example.com:5432/orders?sslmode=require"
        }
        self.files = ""
        self.chain = (
            'chain = ["vars"]\n[backend.vars]\nkind = "file"\nvariables = "v.json"\nconnections = "c.json"\n'
        )
        self.agent = ""
        self.said: list[str] = []
        self.hosts = []
        self.put()

    def put(self, **values: str) -> None:
        self.values |= values
        for name, found in (("v.json", self.values), ("c.json", self.connections)):
            path = self.folder / f"{name}.new"
            path.touch(mode=0o600)
            path.write_text(json.dumps(found))
            path.rename(self.folder / name)

    def file(self, name: str, **settings: object) -> Path:
        """Add a file to the settings; give where it stands."""
        path = Path(str(settings.pop("path", self.out / name)))
        lines = [f"{key} = {json.dumps(value)}" for key, value in {"path": str(path), **settings}.items()]
        self.files += f"[agent.file.{name.replace('.', '-')}]\n" + "\n".join(lines) + "\n"
        return path

    def template(self, text: str | bytes, mode: int = 0o600) -> str:
        path = self.folder / "template"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        return str(path)

    def settings(self):
        config = self.folder / "strongroom.toml"
        config.touch(mode=0o600)
        config.write_text(self.chain + f'[agent]\nstate = "{self.folder}/state"\n' + self.agent + self.files)
        return load(str(config), environ={"STRONGROOM_HOME": str(self.folder / "home")})

    def host(self):
        (self.folder / "state").mkdir(mode=0o700, exist_ok=True)
        self.hosts.append(open_host(self.settings(), environ={}))
        return self.hosts[-1]

    def write(self) -> dict[str, object]:
        """Write the files once, as an agent that is started and ended; give what was wrong with each."""
        host = self.host()
        found = dict(write_files(host))
        self.close()
        return found

    def outputs(self, host=None, environ=None) -> Outputs:
        """Keep the files, as an agent does."""
        host = host or self.host()
        made = Outputs(host, environ=environ or dict(os.environ), say=self.say)
        host.start()
        made.start()
        self.hosts.append(made)
        return made

    def say(self, event: str, *, level: str = "info", **facts: object) -> None:
        self.said.append(f"{level} {event} {facts}")

    def close(self) -> None:
        while self.hosts:
            self.hosts.pop().close()


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    yield made
    made.close()
    assert not any(CANARY in line for line in made.said)


def state_of(outputs: Outputs, name: str):
    return next(file for file in outputs.status() if file.name == name)


def well(outputs: Outputs) -> bool:
    return all(file.state == "written" and not file.trouble for file in outputs.status())


# --- what stands in them ---------------------------------------------------------------------------


def test_a_variable_stands_in_its_file_as_it_is(place):
    path = place.file("region", variable="region")
    assert place.write() == {"region": None}
    assert path.read_bytes() == b"eu-west-1"


def test_a_connection_stands_in_its_file_in_the_format_that_is_said(place):
    paths = {form: place.file(form, connection="orders_db", format=form) for form in FORMS}
    assert set(place.write().values()) == {None}
    assert json.loads(paths["json"].read_text())["password"] == f'{CANARY}"'
    assert paths["uri"].read_text() == (
        f"postgres://ana:{CANARY}%22@db.example.com:5432/orders?sslmode=require"
    )
    shell = f'. {paths["env"]}; . {paths["fields"]}; printf "%s|" "$AIRFLOW_CONN_ORDERS_DB"'
    shell += ' "$ORDERS_DB_PASSWORD"'
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    whole, password, _ = done.stdout.split("|")
    assert json.loads(whole)["host"] == "db.example.com"
    assert password == f'{CANARY}"'
    assert paths["fields"].read_text().splitlines()[-2:] == [
        "ORDERS_DB_PORT=5432",
        'ORDERS_DB_EXTRA=\'{"sslmode": "require"}\'',
    ]


FORMS = ("json", "uri", "env", "fields")


def test_a_template_is_filled_in_by_the_format_of_its_file(place):
    template = place.template(
        "host: ${connection.host/orders_db}\nport: ${connection.port/orders_db}\n"
        'password: "${connection.password/orders_db}"\nssl: ${connection.extra.sslmode/orders_db}\n'
        "literal: $${HOME}\n"
    )
    path = place.file("app.yaml", template=template)
    plain = place.file("app.conf", template=template)
    assert set(place.write().values()) == {None}
    assert path.read_text() == (
        f'host: "db.example.com"\nport: 5432\npassword: "{CANARY}\\""\nssl: "require"\nliteral: ${{HOME}}\n'
    )
    assert f'password: "{CANARY}""' in plain.read_text()


def test_another_escape_may_be_said(place):
    path = place.file("x.conf", template=place.template('{"p": ${variable/token}}'), escape="json")
    place.write()
    assert json.loads(path.read_text()) == {"p": CANARY}


# --- who may see them ------------------------------------------------------------------------------


def test_a_file_is_only_its_owners_unless_another_mode_is_said(place):
    before = os.umask(0)
    try:
        private, shared = place.file("a", variable="region"), place.file("b", variable="region", mode="0640")
        place.write()
    finally:
        os.umask(before)
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert stat.S_IMODE(shared.stat().st_mode) == 0o640
    assert sorted(path.name for path in place.out.iterdir()) == ["a", "b"]


@ROOT_ONLY
def test_a_file_is_given_to_its_owner_and_read_for_him(place):
    path = place.file("a", variable="region", owner="12345", group="12346")
    assert place.write() == {"a": None}
    found = path.stat()
    assert (found.st_uid, found.st_gid) == (12345, 12346)
    records = "".join(each.read_text() for each in (place.folder / "state" / "audit").rglob("*.jsonl"))
    assert '"local:12345"' in records


@ROOT_ONLY
def test_policy_decides_about_the_owner_of_the_file(place):
    policy = place.folder / "policy.cedar"
    policy.write_text('permit (principal == Local::"0", action, resource is Entry);')
    policy.chmod(0o600)
    place.agent = f'policy = "{policy}"\n'
    mine, others = place.file("a", variable="region"), place.file("b", variable="region", owner="12345")
    found = place.write()
    assert found["a"] is None
    assert isinstance(found["b"], AccessDeniedError)
    assert (mine.exists(), others.exists()) == (True, False)


def test_a_symbolic_link_is_never_written_through(place):
    victim = place.folder / "victim"
    victim.write_text("mine")
    link = place.file("link", variable="region")
    link.symlink_to(victim)
    (place.folder / "way").symlink_to(place.out)
    place.file("behind", variable="region", path=place.folder / "way" / "file")
    found = place.write()
    assert "is a symbolic link" in str(found["link"])
    assert "is reached through a symbolic link" in str(found["behind"]) or os.geteuid() == 0
    assert victim.read_text() == "mine"
    assert link.is_symlink()


@ROOT_ONLY
def test_a_link_of_another_user_on_the_way_is_refused(place):
    theirs = place.folder / "theirs"
    theirs.mkdir()
    (theirs / "etc").symlink_to(place.out)
    os.lchown(theirs / "etc", 12345, 12345)
    os.chown(theirs, 12345, 12345)
    place.file("a", variable="region", path=theirs / "etc" / "passwd")
    assert "is reached through a symbolic link" in str(place.write()["a"])
    assert list(place.out.iterdir()) == []


def test_a_folder_everybody_may_write_to_is_refused_unless_it_is_sticky(place):
    path = place.file("a", variable="region")
    place.out.chmod(0o777)
    assert "everybody may write to" in str(place.write()["a"])
    assert not path.exists()
    place.out.chmod(0o1777)
    assert place.write() == {"a": None}


def test_a_folder_that_is_meant_to_be_shared_is_taken_as_it_is(place):
    path = place.file("a", variable="region", shared=True)
    place.out.chmod(0o777)
    assert place.write() == {"a": None}
    path.unlink()
    path.symlink_to(place.folder / "elsewhere")
    assert "is a symbolic link" in str(place.write()["a"])


@ROOT_ONLY
def test_a_template_on_a_read_only_mount_is_read_through_its_links(place):
    mount = place.folder / "mount"
    mount.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(mount)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this sandbox lets not even root mount")
    try:
        # As a ConfigMap looks in a pod.
        (mount / "..2026").mkdir()
        (mount / "..2026" / "app.in").write_text("${variable/region}")
        (mount / "..data").symlink_to("..2026")
        (mount / "app.in").symlink_to("..data/app.in")
        mount.chmod(0o777)
        path = place.file("a", template=str(mount / "app.in"))
        assert "everybody may write to" in str(place.write()["a"])
        subprocess.run(["mount", "-o", "remount,ro", str(mount)], check=True)
        assert place.write() == {"a": None}
        assert path.read_text() == "eu-west-1"
    finally:
        subprocess.run(["umount", str(mount)], check=True)


@ROOT_ONLY
def test_a_name_that_somebody_took_in_a_sticky_folder_is_refused(place):
    path = place.file("a", variable="region")
    place.out.chmod(0o1777)
    path.write_text("theirs")
    os.chown(path, 12345, 12345)
    assert "belongs to another user" in str(place.write()["a"])
    assert path.read_text() == "theirs"


@ROOT_ONLY
def test_a_folder_of_another_user_is_refused_unless_the_file_is_his(place):
    os.chown(place.out, 12345, 12345)
    path = place.file("a", variable="region")
    assert "belongs to another user" in str(place.write()["a"])
    place.files = ""
    place.file("a", variable="region", owner="12345")
    assert place.write() == {"a": None}
    assert path.stat().st_uid == 12345


def test_a_template_others_may_change_or_that_is_no_text_is_refused(place):
    place.file("a", template=place.template("x", mode=0o666))
    assert "is open to other users" in str(place.write()["a"])
    place.template(b"\xff\xfe")
    assert "is not UTF-8" in str(place.write()["a"])
    (place.folder / "template").unlink()
    assert "is not there" in str(place.write()["a"])


def test_what_cannot_be_written_says_what_to_do(place):
    place.file("a", variable="region", path=place.folder / "nowhere" / "a")
    (place.folder / "taken").mkdir()
    place.file("b", variable="region", path=place.folder / "taken")
    place.file("c", variable="nothing")
    place.file("d", variable="region", owner="nobody-of-that-name")
    place.file("e", template=place.template("${connection.host/orders_db} ${HOME}"))
    place.file("f", connection="orders_db", format="env", path=place.out / "f")
    found = {name: str(error) for name, error in place.write().items()}
    assert "the folder of" in found["a"]
    assert "is no regular file" in found["b"]
    assert 'variable "nothing" is in no backend' in found["c"]
    assert "its owner is nobody" in found["d"]
    assert "is no reference" in found["e"]
    assert found["f"] == "None"


# --- when it changes -------------------------------------------------------------------------------


def changed(place, outputs, **values):
    """Change values in the store, and have the host hear of it as from a store that tells."""
    place.put(**values)
    host = outputs._host
    host.freshness.drop(*(Ref("variable", name) for name in values))


def test_a_change_is_written_whole_and_whoever_wants_to_know_is_told(place):
    told = place.folder / "told"
    program = [sys.executable, "-c", TELL, str(told)]
    path = place.file("a", variable="token", on_change=program)
    outputs = place.outputs(environ={"PATH": os.environ["PATH"], "VAULT_TOKEN": CANARY})
    until(lambda: told.exists() and well(outputs))
    before = path.stat().st_ino
    until(lambda: outputs._host.freshness.followed)
    changed(place, outputs, token=f"{CANARY}-2")
    until(lambda: len(told.read_text().splitlines()) == 2)
    assert path.read_text() == f"{CANARY}-2"
    assert path.stat().st_ino != before
    for line in told.read_text().splitlines():
        heard = json.loads(line)
        assert heard["environ"]["STRONGROOM_FILE"] == "a"
        assert heard["environ"]["STRONGROOM_FILE_PATH"] == str(path)
        assert set(heard["environ"]) - {"LC_CTYPE"} == {"PATH", "STRONGROOM_FILE", "STRONGROOM_FILE_PATH"}
        assert CANARY not in line


TELL = (
    "import json, os, sys; open(sys.argv[1], 'a').write(json.dumps({'environ': dict(os.environ), 'argv':"
    " sys.argv}) + '\\n')"
)


def test_a_template_is_written_anew_when_any_of_its_entries_changes(place):
    path = place.file("a.json", template=place.template('["${variable/region}", "${variable/token}"]'))
    outputs = place.outputs()
    until(lambda: well(outputs) and outputs._host.freshness.followed == 2)
    changed(place, outputs, region="us-east-1")
    until(lambda: "us-east-1" in path.read_text())


def test_where_nothing_changed_nothing_is_written_and_nobody_told(place):
    told = place.folder / "told"
    path = place.file("a", variable="region", on_change=[sys.executable, "-c", TELL, str(told)])
    first = place.outputs()
    until(lambda: well(first))
    before = path.stat()
    place.close()
    outputs = place.outputs()
    until(lambda: well(outputs))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert len(told.read_text().splitlines()) == 1


def test_a_file_that_somebody_changed_or_opened_is_put_right_at_the_start(place):
    path = place.file("a", variable="region")
    place.write()
    path.write_text("other")
    path.chmod(0o644)
    place.write()
    assert path.read_text() == "eu-west-1"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failure_keeps_the_last_good_file_and_heals_by_itself(place):
    path = place.file("a", variable="region")
    outputs = place.outputs()
    until(lambda: well(outputs) and outputs._host.freshness.followed)
    del place.values["region"]
    place.put()
    outputs._host.freshness.drop(REGION)
    until(lambda: state_of(outputs, "a").state == "failed")
    assert path.read_text() == "eu-west-1"
    assert "is in no backend" in state_of(outputs, "a").trouble
    assert sum("is not as it should be" in line for line in place.said) == 1
    changed(place, outputs, region="back")
    until(lambda: well(outputs))
    assert path.read_text() == "back"


def test_a_stale_value_makes_a_file_and_never_replaces_one(place):
    place.chain = AWAY
    there, missing = place.file("there", variable="region"), place.file("missing", variable="region")
    there.touch(mode=0o600)
    there.write_text("newer")
    (place.folder / "state").mkdir(mode=0o700)
    host = open_host(place.settings(), environ={"T": "x"})
    place.hosts.append(host)
    entry = Entry(ref=REGION, secret=Secret("from before"), backend="vault", read_at=utc_now())
    assert host.cache.restore(REGION, entry, age=timedelta(hours=1), left=timedelta(hours=1))
    found = dict(write_files(host))
    assert "only known from before an outage" in str(found["there"])
    assert there.read_text() == "newer"
    assert found["missing"] is None
    assert missing.read_text() == "from before"


def test_a_program_that_fails_is_told_of_and_run_again(place):
    flag = place.folder / "flag"
    path = place.file("a", variable="region", on_change=["test", "-e", str(flag)])
    outputs = place.outputs()
    until(lambda: "ended with 1" in state_of(outputs, "a").trouble)
    assert state_of(outputs, "a").state == "written"
    assert path.exists()
    flag.touch()
    until(lambda: well(outputs))


def test_a_program_that_is_not_there_is_told_of(place):
    place.file("a", variable="region", on_change=["/no/such/program"])
    outputs = place.outputs()
    until(lambda: "cannot be run: no such file" in state_of(outputs, "a").trouble)


LISTENER = """
import signal
signal.signal(signal.SIGHUP, lambda *_: print('hup', flush=True))
print('ready', flush=True)
while True: signal.pause()
"""


@pytest.fixture
def listener(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", LISTENER], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    (tmp_path / "pid").write_text(f"{process.pid}\n")
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_signal_reaches_the_process_that_wrote_its_id_down(place, listener):
    place.file("a", variable="region", signal="HUP", pid_file=str(place.folder / "pid"))
    outputs = place.outputs()
    assert listener.stdout.readline() == "hup\n"
    until(lambda: well(outputs))


@pytest.mark.parametrize("text", ["1\n", "0", "-1", "", "x", "999999999999", "own"])
def test_a_file_that_holds_the_id_of_no_process_of_anybodys_signals_none(place, text):
    (place.folder / "pid").write_text(str(os.getpid()) if text == "own" else text)
    place.file("a", variable="region", signal="HUP", pid_file=str(place.folder / "pid"))
    outputs = place.outputs()
    until(lambda: "holds the id of no process" in state_of(outputs, "a").trouble)


@ROOT_ONLY
def test_whoever_writes_the_id_cannot_have_anothers_process_signalled(place, listener):
    os.chown(place.folder / "pid", 12345, 12345)
    place.file("a", variable="region", signal="HUP", pid_file=str(place.folder / "pid"))
    outputs = place.outputs()
    until(lambda: "of another user than its writer" in state_of(outputs, "a").trouble)
    listener.send_signal(signal.SIGKILL)
    assert listener.stdout.read() == ""


def test_settings_that_are_taken_anew_bring_new_files_and_leave_old_ones(place):
    old = place.file("old", variable="region")
    host = place.host()
    outputs = place.outputs(host)
    until(lambda: well(outputs))
    place.files = ""
    new = place.file("new", variable="token")
    host.reload(place.settings())
    outputs.renew()
    until(lambda: new.exists() and well(outputs))
    assert [file.name for file in outputs.status()] == ["new"]
    assert old.read_text() == "eu-west-1"


def test_an_agent_without_files_runs_no_thread_for_them(place):
    outputs = place.outputs()
    assert outputs._thread is None
    place.file("a", variable="region")
    outputs._host.reload(place.settings())
    outputs.renew()
    until(lambda: outputs.status() and well(outputs))


def test_a_full_disk_keeps_the_old_file_and_leaves_nothing_beside_it(place):
    path = place.file("a", variable="token")
    place.write()
    folder = place.out
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0755", "strongroom-test", str(folder)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        assert place.write() == {"a": None}
        place.put(token="x" * 200_000)
        assert "no space left on device" in str(place.write()["a"])
        assert path.read_text() == CANARY
        assert [each.name for each in folder.iterdir()] == ["a"]
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_what_a_crash_left_behind_is_gone_with_the_next_file(place):
    path = place.file("a", variable="region")
    (place.out / ".a.strongroom-new").write_text("half")
    assert place.write() == {"a": None}
    assert [each.name for each in place.out.iterdir()] == [path.name]


def test_a_file_may_not_be_longer_than_its_name_allows(place):
    place.file("a", variable="region", path=place.out / ("n" * 250))
    assert isinstance(place.write()["a"], BackendConfigError)
