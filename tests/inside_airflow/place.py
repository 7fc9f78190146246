"""
Real Airflow, 3 and 2, in environments of their own (`.venv-airflow3`, `.venv-airflow2`: scripts/make-peers).

Airflow takes 4 to 6 s to start, so a scenario is batched: ONE process runs a script with many lookups and
Dag runs, tells what it saw as JSON, and each test asserts on one part of that. What was told is kept for the
whole session, for all xdist workers: a scenario runs once, however many tests ask for it. The first
`run_dag` of a process costs 3 ten seconds of a core (it builds its API): scenarios with Dags share one.

    import pytest

    from parts.agent import agent

    SCRIPT = '''
    from airflow.sdk import Variable                    # from airflow.models in 2
    tell(region=caught(Variable.get, "region"))         # {"value"} or {"error", "bases", "text"}
    tell(run=run_dag("reading", conf={"tenant": "a"}))  # {"state", "tasks", "xcoms", "run_id"}
    '''
    DAGS = {"reading.py": "from airflow.sdk import DAG …"}

    @pytest.fixture(scope="session")
    def reading(inside):                                # `inside`: each version in turn, a `Place`
        def make(folder):                               # an empty folder of the scenario, made once
            with agent(folder / "agent", 'chain = ["env"]', environ={"AIRFLOW_VAR_REGION": "eu"}) as one:
                ran = inside.run(folder, SCRIPT, dags=DAGS, environ=inside.backend(socket=one.socket))
                return ran.keep(status=one.status(), log=one.log())
        return inside.once("reading", make)

    def test_a_variable_is_read(reading):
        assert reading.told["region"] == {"value": "eu"}
        assert reading.leaks("s3cret!") == []
        assert reading.kept["status"]

`airflow(3)` and `airflow(2)` (the fixture `airflow`) give one version's `Place`: `place.version`,
`place.python` (its interpreter), `place.command(folder, "connections", "get", "x", environ=…)` (an
`airflow` command line). A script finds `tell`, `caught`, `run_dag`, `bag`, `please`, `until`
(inside/stage.py) and `HOME`, the AIRFLOW_HOME. `please("cut")` has the test do what it handed to the run as
`orders={"cut": proxy.cut}`, in the middle of a task if need be. `run_dag(…, is_supervised=True)`, with
`environ=inside.supervised`, has a real supervisor run each task as a process of its own, with its log file
and the copy of that on standard output.

Each run has an AIRFLOW_HOME of its own, copied from a template that is made once in the session; the user's
home is never touched. Every process of a run stands in a group of its own, and the group
is ended with the run.

Where an environment is missing a test skips with the reason, and fails where `CI` is set.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import select
import shutil
import signal
import sqlite3
import subprocess
import textwrap
import time
import zlib
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

ROOT = Path(__file__).parent.parent.parent
STAGE = Path(__file__).with_name("inside") / "stage.py"
FORKS, SHORTLY = STAGE.with_name("forks.py"), STAGE.with_name("shortly.py")
VERSIONS = (3, 2)
FERNET_KEY = base64.urlsafe_b64encode(b"strongroom-tests-inside-airflow!").decode()
BACKEND = "strongroom.airflow.StrongroomBackend"
_SHORTEST = 5  # characters of a line that is worth looking for; Airflow masks nothing shorter


def environment(version):
    """Give the folder of the environment with Airflow *version*; skip without it, and fail in CI."""
    found = ROOT / f".venv-airflow{version}"
    if (found / ".done").exists():
        return found
    why = f"real Airflow {version} is not here: run scripts/make-peers"
    if os.environ.get("CI"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


def place_in(tmp_path_factory, version):
    """Give the `Place` of Airflow *version* in this session of pytest."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # which all workers share
    return Place(version, base / "inside-airflow")


class Place:
    """
    One version of Airflow in this session.

    Args:
        version: 3 or 2.
        shared: a folder that all workers of the session share.
    """

    def __init__(self, version, shared):
        self.version = version
        self.python = environment(version) / "bin" / "python"
        self._shared = Path(shared)
        self._shared.mkdir(parents=True, exist_ok=True)
        self._forks = None

    # --- once in a session -------------------------------------------------------------------------------

    def once(self, name, make):
        """
        Give what *make* made, in whichever worker came first; the others wait for it.

        Args:
            name: of the scenario, different for different scenarios; the version need not be in it.
            make: gets an empty folder and gives a `Ran`. What it raises, every asker is told.
        """
        name = f"{self.version}-{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}"
        done = self._shared / f"{name}.json"
        with _locked(self._shared / f"{name}.lock"):
            if not done.exists():
                done.write_text(json.dumps(self._made(self._shared / name, make)))
        outcome = json.loads(done.read_text())
        if "failed" in outcome:
            pytest.fail(f"the scenario {name} failed: {outcome['failed']}", pytrace=False)
        return Ran(Path(outcome["folder"]))

    @staticmethod
    def _made(folder, make):
        folder.mkdir()
        try:
            return {"folder": str(make(folder).folder)}
        except Exception as error:  # noqa: BLE001 -- the other workers are to know it, too
            return {"failed": f"{type(error).__name__}: {error}"}

    # --- homes -------------------------------------------------------------------------------------------

    def home(self, folder, dags=None):
        """Copy the migrated AIRFLOW_HOME into *folder* and write *dags*, texts by file name, beside it."""
        template = self._template()
        home = Path(folder) / "airflow"
        shutil.copytree(template, home)
        config = home / "airflow.cfg"
        config.write_text(config.read_text().replace(str(template), str(home)))
        (home / "dags").mkdir()
        for name, text in (dags or {}).items():
            file = home / "dags" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text))
        return home

    def _template(self):
        home = self._shared / f"template{self.version}" / "airflow"
        with _locked(self._shared / f"template{self.version}.lock"):
            if not (home / ".made").exists():
                home.mkdir(parents=True)
                # Any command writes airflow.cfg where there is none, but `version`.
                command = ["-m", "airflow", "config", "get-value", "core", "executor"]
                ran = self._ran(home.parent, command, self.environ(home), 180)
                assert ran.status == 0, ran.told_of_itself()
                shutil.rmtree(home / "logs", ignore_errors=True)
                self._copy_database(home / "airflow.db")
                (home / ".made").touch()
        return home

    def _copy_database(self, path):
        """Copy what `airflow db migrate` of this version makes: tests/data holds one, with entries in it."""
        path.unlink(missing_ok=True)
        shutil.copyfile(ROOT / "tests" / "data" / f"airflow{self.version}" / "airflow.db", path)
        with closing(sqlite3.connect(path, isolation_level=None)) as opened:
            for statement in ("DELETE FROM connection", "DELETE FROM variable", "VACUUM"):
                opened.execute(statement)

    def environ(self, home):
        """Give the environment of a process of this Airflow at *home*, with no secrets backend."""
        return {
            "PATH": f"{self.python.parent}:{os.environ['PATH']}",
            "HOME": str(Path(home).parent),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": f"{home}/dags",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
            "AIRFLOW__CORE__FERNET_KEY": FERNET_KEY,
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
            "AIRFLOW__LOGGING__BASE_LOG_FOLDER": f"{home}/logs",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            "PYTHONUTF8": "1",
        }

    @staticmethod
    def backend(**options):
        """Give the two settings that put us in: the class, and *options* as its JSON."""
        given = {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}
        return {
            "AIRFLOW__SECRETS__BACKEND": BACKEND,
            "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps(given),
        }

    @staticmethod
    def coordinated(**options):
        """Give the third setting, of Airflow 3: our coordinator for every task, with *options*."""
        ours = {"classpath": "strongroom.airflow.StrongroomCoordinator", "kwargs": options}
        return {
            "AIRFLOW__SDK__COORDINATORS": json.dumps({"strongroom": ours}),
            "AIRFLOW__SDK__QUEUE_TO_COORDINATOR": json.dumps({"default": "strongroom"}),
        }

    @property
    def supervised(self):
        """Give the environment in which `run_dag(…, is_supervised=True)` works."""
        return {
            "AIRFLOW__CORE__EXECUTOR": "supervised.Supervised",
            "AIRFLOW__API_AUTH__JWT_SECRET": "of the tests " * 6,
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",  # for which a supervisor stays after its task
        }

    # --- runs --------------------------------------------------------------------------------------------

    def run(
        self, folder, script, *, environ=None, dags=None, home=None, orders=None, seconds=180, is_fresh=False
    ):
        """
        Run *script* in one process of this Airflow, and give what it told.

        Args:
            folder: where the run leaves what it writes.
            script: Python text, which may be indented.
            environ: of the process beside what Airflow needs here.
            dags: texts of Dag files by name, for a new home.
            home: an AIRFLOW_HOME made before, by `home()`; a new one if unsaid.
            orders: what the script may have done by `please(name)`: a function by name; gives JSON.
            seconds: after which the run has failed.
            is_fresh: in a process in which nothing was loaded before, for what looks at what is loaded.
        """
        folder = Path(folder)
        home = home or self.home(folder, dags)
        file = folder / "script.py"
        file.write_text(textwrap.dedent(script))
        program = [STAGE, file, folder / "told.json"]
        ran = self._ran(folder, program, self.environ(home) | (environ or {}), seconds, orders, is_fresh)
        assert ran.status == 0, ran.told_of_itself()
        return ran

    def command(self, folder, *arguments, environ=None, home=None, seconds=180):
        """Run an `airflow` command, whatever its exit status, and give its `Ran`."""
        home = home or self.home(folder)
        program = [SHORTLY] if arguments[:2] == ("dags", "test") else ["-m", "airflow"]
        environ = self.environ(home) | (environ or {})
        return self._ran(Path(folder), [*program, *arguments], environ, seconds)

    def _ran(self, folder, program, environ, seconds, orders=None, is_fresh=False):
        wanted = folder / "orders"
        wanted.mkdir(exist_ok=True)
        (folder / "ran").write_text(json.dumps({"home": environ["AIRFLOW_HOME"], "status": None}))
        process = self.start(folder, program, environ, is_fresh=is_fresh)
        try:
            status = _waited(process, seconds, wanted, orders or {})
        finally:
            end_group(process)
        (folder / "ran").write_text(json.dumps({"home": environ["AIRFLOW_HOME"], "status": status}))
        return Ran(folder)

    def start(self, folder, program, environ, *, out="stdout", err="stderr", is_fresh=False):
        """
        Start *program* in a process and group of its own, and give the process.

        Args:
            folder: in which it starts and leaves its output.
            program: a script and its arguments, or "-m" and a module with its.
            environ: of the process, all of it.
            out: what its output is called in *folder*.
            err: likewise.
            is_fresh: by the interpreter, and not as a fork (inside/forks.py).
        """
        program = [str(part) for part in program]
        environ = {key: str(value) for key, value in environ.items()}
        if not is_fresh:
            self._forks = self._forks or Forks(self.python)
            return self._forks.start(program, environ, folder, folder / out, folder / err)
        with (folder / out).open("wb") as stdout, (folder / err).open("wb") as stderr:
            return subprocess.Popen(
                [str(self.python), *program],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=folder,
                start_new_session=True,
            )

    def close(self):
        """End what starts its processes."""
        if self._forks is not None:
            self._forks.close()


class Forks:
    """What starts processes by forking one that has loaded what Airflow stands on; inside/forks.py."""

    def __init__(self, python):
        self._ended = {}
        self._told = b""
        self._process = subprocess.Popen(
            [str(python), str(FORKS)],
            env={"PATH": os.environ["PATH"], "PYTHONUTF8": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=FORKS.parent,
            start_new_session=True,
        )

    def start(self, program, environ, folder, out, err):
        """Give a `Fork` that runs *program*."""
        asked = {"program": program, "environ": environ}
        asked |= {"folder": str(folder), "out": str(out), "err": str(err)}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        while "status" in (answer := self._answer(None)):
            """Another one has ended, which is kept."""
        return Fork(self, answer["pid"])

    def status(self, pid, timeout):
        """Give the exit status of *pid*, or None when it has not ended after *timeout* seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while pid not in self._ended:
            if self._answer(deadline) is None:
                return None
        return self._ended[pid]

    def _answer(self, deadline):
        """Give the next line that is told, and keep it when something has ended; None at *deadline*."""
        while b"\n" not in self._told:
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            if not select.select([self._process.stdout], [], [], left)[0]:
                return None
            read = os.read(self._process.stdout.fileno(), 65536)
            assert read, f"{FORKS.name} ended with {self._process.wait(10)}"
            self._told += read
        line, _, self._told = self._told.partition(b"\n")
        answer = json.loads(line)
        if "status" in answer:
            self._ended[answer["pid"]] = answer["status"]
        return answer

    def close(self):
        """End it; what it started goes on."""
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


class Fork:
    """A process that `Forks` started, with the part of a Popen that is wanted here."""

    def __init__(self, forks, pid):
        self._forks = forks
        self.pid = pid

    def poll(self):
        """Give the exit status; None while it runs."""
        return self._forks.status(self.pid, 0)

    def wait(self, timeout=None):
        """Give the exit status when it has ended."""
        status = self._forks.status(self.pid, timeout)
        if status is None:
            raise subprocess.TimeoutExpired(FORKS.name, timeout)
        return status


class Ran:
    """
    What one run left behind.

    Attributes:
        folder: of the run. home: its AIRFLOW_HOME.
        status: the exit status; None when it was ended for taking too long.
        told: what its script told.
        kept: what the test that made it kept beside that.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        ran = json.loads((self.folder / "ran").read_text())
        self.home, self.status = Path(ran["home"]), ran["status"]

    @property
    def told(self):
        return json.loads((self.folder / "told.json").read_text())

    @property
    def kept(self):
        file = self.folder / "kept.json"
        return json.loads(file.read_text()) if file.exists() else {}

    def keep(self, **facts):
        """Keep *facts*, as JSON, for whoever asserts on this run."""
        (self.folder / "kept.json").write_text(json.dumps({**self.kept, **facts}, default=str))
        return self

    @property
    def out(self):
        return (self.folder / "stdout").read_text(errors="replace")

    @property
    def err(self):
        return (self.folder / "stderr").read_text(errors="replace")

    @property
    def logs(self):
        """Give the text of every file below the log folder, by its path there."""
        folder = self.home / "logs"
        files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.is_symlink()]
        return {str(file.relative_to(folder)): file.read_text(errors="replace") for file in files}

    @property
    def database(self):
        """Give the bytes of the metadata database's files, and of its cells by table and column."""
        cells = {f"airflow.db{end}": b"" for end in ("", "-wal", "-journal")}
        for name in cells:
            with suppress(FileNotFoundError):
                cells[name] = (self.home / name).read_bytes()
        with closing(sqlite3.connect(self.home / "airflow.db")) as opened:
            for (table,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                found = opened.execute(f'SELECT * FROM "{table}"')
                columns = [column[0] for column in found.description]
                for row in found:
                    for column, value in zip(columns, row, strict=True):
                        if isinstance(value, (str, bytes)):
                            where = f"{table}.{column}"
                            cells[where] = cells.get(where, b"") + _opened(value) + b"\n"
        return cells

    def leaks(self, *secrets, beside=(), without=()):
        """
        Give where a secret is found in any of its forms: output, log files, metadata database.

        Args:
            beside: more texts to look through, pairs of a name and a text.
            without: names of places that are not looked into: "stdout", "stderr", "logs", "database".
        """
        places = {"stdout": self.out, "stderr": self.err, **dict(beside)}
        if "logs" not in without:
            places |= {f"logs/{name}": text for name, text in self.logs.items()}
        if "database" not in without:
            places |= self.database
        looked = {
            name: text.encode() if isinstance(text, str) else text
            for name, text in places.items()
            if name not in without
        }
        return sorted(
            f"{name}: {form}"
            for name, text in looked.items()
            for secret in secrets
            for form, looks in forms(secret).items()
            if looks.encode() in text
        )

    def told_of_itself(self):
        """Give the end of its output, for a failed assertion."""
        ended = "took too long" if self.status is None else f"ended with {self.status}"
        return f"{ended}\n{self.out[-3000:]}\n{self.err[-6000:]}"


def forms(secret):
    """Give how *secret* may look in a text, by the name of the form; equal ones once."""
    escaped = json.dumps(secret)[1:-1]
    looks = {
        "plain": secret,
        "percent": quote(secret, safe=""),
        "plus": quote_plus(secret),
        "base64": base64.b64encode(secret.encode()).decode(),
        "base64url": base64.urlsafe_b64encode(secret.encode()).decode(),
        "json": escaped,
        "json in json": json.dumps(escaped)[1:-1],
        "repr": repr(secret)[1:-1],
        # The fences of a PEM are in every PEM.
        **{f"line {n}": line for n, line in enumerate(secret.splitlines(), 1) if line[:5] != "-----"},
    }
    found = {}
    for name, look in looks.items():
        if len(look) >= _SHORTEST and look not in found.values():
            found[name] = look
    return found


def end_group(process):
    """End *process* and everything it started that stayed in its group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)


def _waited(process, seconds, wanted, orders):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not orders:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(deadline - time.monotonic())
            return None
        with suppress(subprocess.TimeoutExpired):
            return process.wait(0.02)
        for order in wanted.glob("*.order"):
            done = order.with_suffix(".done")
            if not done.exists():
                answer = json.dumps(orders[order.read_text()]())
                done.with_suffix(".answer").write_text(answer)
                done.with_suffix(".answer").rename(done)
    return None


@contextmanager
def _locked(file):
    with file.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _opened(value):
    raw = value.encode(errors="surrogatepass") if isinstance(value, str) else value
    with suppress(zlib.error):  # serialized Dags may be compressed
        return raw + zlib.decompress(raw)
    return raw
