"""
The chain env → vault → native over the 60 + 18 real entries of an Airflow: who answers, who is hidden,
and what is said while Vault is up, refuses, or is gone.

Vault is a real OpenBao with Raft and TLS, logged in to by AppRole. What is expected is read from
Airflow's own export with `json` alone.
"""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

import strongroom
from parts.openbao import Raft, bao_raft, binary, until  # noqa: F401 -- a fixture
from strongroom.errors import AccessDeniedError, BackendUnavailableError, NotFoundError
from strongroom.model.ref import Ref
from test_acceptance import DATA, JOB, as_fields, as_import_stores

PLACES = ("env", "vault", "native")
CONNECTIONS = {
    name: as_fields(item)
    for name, item in json.loads((DATA / "airflow3" / "connections.json").read_text()).items()
}
VARIABLES = {
    name: as_import_stores(item)[0]
    for name, item in json.loads((DATA / "airflow3" / "variables.json").read_text()).items()
}
KINDS = {"connection": CONNECTIONS, "variable": VARIABLES}
HIDDEN = {"connection": {"conn_type": "http", "host": "hidden"}, "variable": "hidden"}

# Several commands in one process, as starting Python is most of a command's time: what each printed.
BATCH = """
import contextlib, io, json, sys
from strongroom.cli.main import main

told = []
commands, environ = json.load(sys.stdin)
for arguments in commands:
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    err = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments, environ)
    told.append([code, out.buffer.getvalue().decode(), err.getvalue()])
json.dump(told, sys.stdout)
"""


@dataclass
class Deployment:
    """
    Settings, a server and what stands where.

    Args:
        held: by (kind, name): the places that hold it, the first of which answers.
    """

    folder: object
    server: Raft
    policy: str
    rules: str
    environ: dict[str, str]
    held: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)

    def config(self, **vault):
        """Write settings whose `[backend.vault]` says *vault* too, and give their file."""
        said = "\n".join(f"{key} = {json.dumps(value)}" for key, value in vault.items())
        path = self.folder / "strongroom.toml"
        path.write_text(self.settings + said + "\n")
        return path

    def names(self, *, first=None, kind=None):
        return [
            (which, name)
            for (which, name), places in self.held.items()
            if (first is None or places[0] == first) and kind in (None, which)
        ]

    def allow(self, rules):
        self.server.api("PUT", f"sys/policies/acl/{self.policy}", {"policy": rules})

    def stop(self):
        os.kill(self.server.pid, signal.SIGKILL)
        until(lambda: self.server.health() is None, what="the server to be gone")

    def commands(self, *commands, config, environ=None):
        """Run commands in one process and give (exit code, output, errors) of each."""
        arguments = [[*map(str, command), "--config", str(config)] for command in commands]
        stdin = json.dumps([arguments, self.environ if environ is None else environ])
        return json.loads(self.process("-c", BATCH, stdin=stdin))

    def process(self, *arguments, stdin=None):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout


@pytest.fixture
def deployment(bao_raft, tmp_path):  # noqa: F811 -- the fixture
    return _deploy(bao_raft, tmp_path)


@pytest.fixture
def stoppable(tmp_path):
    binary()  # skips where there is none
    server = Raft()
    try:
        yield _deploy(server, tmp_path)
    finally:
        server.stop()


def _deploy(server, folder):
    mount = server.mount(version=2)
    rules = f'path "{mount}/*" {{ capabilities = ["read", "list"] }}'
    policy = server.policy(rules)
    role = server.role(policy)
    (folder / "secret-id").write_text(role.secret_id())
    (folder / "secret-id").chmod(0o600)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder / "no home"),
        "STRONGROOM_HOME": str(folder / "room"),
    }
    made = Deployment(folder, server, policy, rules, environ)
    made.settings = f"""
chain = ["env", "vault", "native"]

[cache]
ttl = 0
absent_ttl = 0

[backend.vault]
url = "{server.url}"
ca = "{server.ca}"
mount_point = "{mount}"
auth = {{ method = "approle", mount_point = "{role.mount}", role_id = "{role.role_id}", \
secret_id = {{ file = "secret-id" }} }}
"""
    _spread(made, mount)
    return made


def _spread(made, mount):
    """Let each third of the entries stand in one place, and every fifth hide another below it."""
    native = {"connection": {}, "variable": {}}
    for kind, items in KINDS.items():
        for number, (name, item) in enumerate(items.items()):
            place = PLACES[(number + number // 3) % 3]
            below = PLACES[PLACES.index(place) + 1 :] if number % 5 == 0 else ()
            made.held[kind, name] = (place, *below)
            for where in (place, *below):
                value = item if where == place else HIDDEN[kind]
                if where == "env":
                    _into_environment(made.environ, kind, name, value)
                elif where == "vault":
                    _into_vault(made.server, mount, kind, name, value, as_uri=number % 2)
                else:
                    native[kind][name] = value
    _into_native(made, native)


def _into_native(made, native):
    alone = made.folder / "native.toml"
    alone.write_text('chain = ["native"]\n')
    commands = [["init"]]
    for kind, items in native.items():
        file = made.folder / f"{kind}s.json"
        file.write_text(json.dumps(items))
        commands.append([f"{kind}s", "import", file])
    environ = {key: value for key, value in made.environ.items() if not key.startswith("AIRFLOW_")}
    told = made.commands(*commands, config=alone, environ=environ)
    assert [code for code, *_ in told] == [0, 0, 0], told


def _into_environment(environ, kind, name, value):
    prefix = "AIRFLOW_CONN_" if kind == "connection" else "AIRFLOW_VAR_"
    environ[prefix + name.upper()] = value if kind == "variable" else json.dumps(value)


def _into_vault(server, mount, kind, name, value, *, as_uri):
    field_of = {"variable": {"value": value}, "connection": value}
    held = {"conn_uri": json.dumps(value)} if as_uri and kind == "connection" else field_of[kind]
    server.put(mount, f"{kind}s/{name}", held)


@contextmanager
def opened(made, **vault):
    with (
        strongroom.open_room(made.config(**vault), environ=made.environ) as room,
        strongroom.use_room(room),
    ):
        yield room


def read(kind, name):
    """Read through the public face."""
    if kind == "variable":
        return strongroom.variable(name)
    return strongroom.connection(name).to_dict(reveal=True)


def failure(kind, name):
    """Give the class of what reading it raises, or None."""
    try:
        read(kind, name)
    except (AccessDeniedError, BackendUnavailableError, NotFoundError) as error:
        return type(error)
    return None


def full(fields):
    """Give all fields of a connection, as the commands and the public face do."""
    return {**dict.fromkeys(CONNECTIONS["aws_0"]), **fields}


# --- while Vault answers -------------------------------------------------------------------------


def test_every_real_entry_is_read_from_the_first_place_that_holds_it(deployment):
    assert (len(CONNECTIONS), len(VARIABLES)) == (60, 18)
    assert set(deployment.held.values()) == {
        ("env",),
        ("env", "vault", "native"),
        ("vault",),
        ("vault", "native"),
        ("native",),
    }
    with opened(deployment) as room:
        for kind, name in deployment.held:
            assert read(kind, name) == KINDS[kind][name], name
            explained = room.lookup.explain(Ref(kind, name))
            assert (explained.backend, *explained.shadows) == deployment.held[kind, name]
        with pytest.raises(NotFoundError) as caught:
            strongroom.connection("nowhere")
    assert [place for place, _ in caught.value.asked] == list(PLACES)
    _check_commands(deployment)
    _check_job(deployment)


def _check_commands(made):
    config = made.config()
    names = list(made.held)
    told = made.commands(*(["read", name, f"--{kind}"] for kind, name in names), config=config)
    for (kind, name), (code, out, err) in zip(names, told, strict=True):
        found = full(json.loads(out)) if kind == "connection" else out
        assert (code, err, found) == (0, "", KINDS[kind][name]), name
    some = names[::3]  # of every place and both kinds, as each command opens a room and logs in
    assert {made.held[one] for one in some} == set(made.held.values())
    told = made.commands(*(["explain", *one, "--output", "json"] for one in some), config=config)
    for one, (code, out, _) in zip(some, told, strict=True):
        why = json.loads(out)
        assert (code, why["backend"], *why["shadows"]) == (0, *made.held[one])
    shown = [name for kind, name in some if kind == "connection"]
    told = made.commands(*(["connections", "get", name, "-o", "json"] for name in shown), config=config)
    for name, (code, out, _) in zip(shown, told, strict=True):
        record = json.loads(out)
        assert (code, record["backend"]) == (0, made.held["connection", name][0])
        assert (record["host"], record["login"]) == (CONNECTIONS[name]["host"], CONNECTIONS[name]["login"])
        assert record["password"] in (None, "***")


def _check_job(made):
    (made.folder / "job.py").write_text(JOB)
    config = str(made.config())
    made.process(
        *(
            "-m",
            "strongroom",
            "run",
            "--config",
            config,
            "--all",
            "--",
            sys.executable,
            "job.py",
            "given.json",
        )
    )
    given = json.loads((made.folder / "given.json").read_text())
    assert given["variables"] == {name.upper(): text for name, text in VARIABLES.items()}
    assert given["connections"] == {name.upper(): item for name, item in CONNECTIONS.items()}


# --- while it does not ---------------------------------------------------------------------------


def test_a_refusal_of_vault_is_the_end_and_native_is_never_asked(deployment):
    deployment.allow('path "nothing" { capabilities = ["read"] }')
    for on_unavailable in ("stale", "next"):
        with opened(deployment, on_unavailable=on_unavailable) as room:
            for kind, name in deployment.held:
                is_above = deployment.held[kind, name][0] == "env"
                assert failure(kind, name) is (None if is_above else AccessDeniedError), name
            explained = room.lookup.explain(Ref(*deployment.names(first="native")[0]))
    assert explained.asked == (("env", "absent"), ("vault", "denied"))
    deployment.allow(deployment.rules)
    with opened(deployment):
        assert [failure(*one) for one in deployment.held] == [None] * 78


def test_without_vault_what_it_might_hold_is_unavailable_unless_it_was_read_before(stoppable):
    before = [one for number, one in enumerate(stoppable.held) if number % 2]
    with opened(stoppable) as room:
        for one in before:
            read(*one)
        stoppable.stop()
        _check_stale(stoppable, room, before)
    for said in ("stop", "stale"):  # a room of its own has read nothing before
        with opened(stoppable, on_unavailable=said):
            for one, places in stoppable.held.items():
                assert failure(*one) is (None if places[0] == "env" else BackendUnavailableError), one
    with opened(stoppable, on_unavailable="next"):
        _check_next(stoppable)


def _check_stale(made, room, before):
    for one, places in made.held.items():
        if one in before or places[0] == "env":
            assert read(*one) == KINDS[one[0]][one[1]], one
            assert room.lookup.entry(Ref(*one)).is_stale is (places[0] != "env")
        else:
            assert failure(*one) is BackendUnavailableError, one
    assert failure("variable", "nowhere") is BackendUnavailableError


def _check_next(made):
    for (kind, name), places in made.held.items():
        left = [place for place in places if place != "vault"]
        if not left:  # nobody else has it, and Vault might
            assert failure(kind, name) is BackendUnavailableError, name
        elif left[0] == places[0]:
            assert read(kind, name) == KINDS[kind][name], name
        else:  # what Vault hid until now
            assert read(kind, name) == (full(HIDDEN[kind]) if kind == "connection" else HIDDEN[kind])
    assert failure("variable", "nowhere") is BackendUnavailableError
