from __future__ import annotations

import os
import resource
import signal
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from strongroom.errors import ConflictError, InvalidInputError
from strongroom.model.secret import Secret
from strongroom.service.discovery import Discovery, Place
from strongroom.service.discovery.place import Surroundings
from strongroom.service.proposal import propose, write
from strongroom.settings import SecretSource, consent, load, options

CANARY = "canary-41bb"


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def project(home):
    folder = home / "project"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def proposal(home, project):
    """Propose settings over places in a project that lies, as most do, in the user's home."""

    def proposal(*places: Place, has_team: bool = True, has_store: bool = False):
        around = Surroundings(environ={}, cwd=project, home=home)
        found = Discovery(places=places, around=around)
        return propose(
            found, [place.name for place in places], deployment="prod", has_store=has_store, has_team=has_team
        )

    return proposal


@dataclass(frozen=True, kw_only=True)
class WithToken:
    url: str = ""
    token: Secret


def place(name: str, kind: str = "", **table: object) -> Place:
    return Place(title=name, name=name, kind=kind or name, table=table)


def secret(kind: str, text: str) -> SecretSource:
    return SecretSource(kind=kind, argument=(text,), key="")


def loaded(project: Path, home: Path):
    needed = consent(environ={"HOME": str(home)}, cwd=project)
    if needed is not None:
        needed.give()
    return load(environ={"HOME": str(home)}, cwd=project)


def test_the_teams_file_holds_no_secret_and_no_place_in_a_home(proposal, project, home):
    vault = Place(
        title="v",
        name="vault",
        kind="vault",
        is_first=True,
        table={
            "url": "https://v:8200",
            "token": secret("text", CANARY),
            "verify": home / "ca.pem",
            "kv_engine_version": 2,
            "connections_path": ["a", "b"],
            "gcp_keyfile_dict": {"private": CANARY},
        },
    )
    metastore = Place(
        title="m",
        name="m",
        kind="airflow_metastore",
        is_personal=True,
        table={"airflow_home": home / "airflow"},
    )
    made = proposal(vault, metastore, place("files", "file", variables_file_path=Path("/etc/v.json")))
    (team,) = made.team
    assert (team.path, team.mode) == (project / "strongroom.toml", 0o644)
    assert team.shown == (
        "# Settings of Strongroom: docs/settings.md says what else may stand here.\n"
        'deployment = "prod"\nchain = ["vault", "env", "files"]\n\n'
        '[backend.vault]\nurl = "https://v:8200"\nkv_engine_version = 2\nconnections_path = ["a", "b"]\n\n'
        '[backend.files]\nkind = "file"\nvariables_file_path = "/etc/v.json"\n'
    )
    assert [file.path.name for file in made.mine] == [".gitignore", "vault-token", "strongroom.toml"]
    assert {file.mode for file in made.mine} == {0o600}
    assert CANARY not in repr(made) + made.mine[1].shown


def test_what_was_proposed_is_read_back_as_it_was_found(proposal, project, home):
    mine = Place(
        title="d", name="dotenv", kind="file", is_personal=True, table={"environment": project / ".env"}
    )
    vault = place(
        "vault",
        url="https://v",
        token=secret("text", CANARY),
        secret_id=secret("env", "ID"),
        ca=project / "ca",
    )
    made = proposal(vault, mine, has_store=True)
    write(made.team)
    assert loaded(project, home).chain == ("env", "native", "vault")
    write(made.mine)
    found = loaded(project, home)
    assert (found.deployment, found.chain) == ("prod", ("env", "native", "vault", "dotenv"))
    assert found.backend["dotenv"].path("environment") == project / ".env"
    assert found.backend["vault"].path("ca") == project / "ca"
    assert found.backend["vault"].options["secret_id"] == {"env": "ID"}
    source = found.backend["vault"].options["token"]
    assert source == {"file": "vault-token"}
    assert (project / ".strongroom/vault-token").read_text() == CANARY


def test_the_personal_folder_is_closed_and_keeps_itself_out_of_git(proposal, project):
    before = os.umask(0)
    try:
        made = proposal(place("vault", url="https://v", token=secret("text", CANARY)))
        write([*made.team, *made.mine])
    finally:
        os.umask(before)
    folder = project / ".strongroom"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE((project / "strongroom.toml").stat().st_mode) == 0o644
    assert (folder / ".gitignore").read_text() == "*\n"


def test_without_the_teams_part_mine_holds_everything(proposal, project, home):
    made = proposal(place("vault", url="https://v"), has_team=False)
    write(made.mine)
    found = loaded(project, home)
    assert found.source is None
    assert found.chain == ("env", "vault")
    assert found.backend["vault"].options["url"] == "https://v"


def test_where_nothing_is_personal_no_folder_is_proposed(proposal):
    assert proposal(place("vault", url="https://v")).mine == ()


def test_what_stands_is_neither_proposed_nor_written_over(proposal, project):
    vault = place("vault", url="https://v", token=secret("text", CANARY))
    made = proposal(vault)
    write([*made.team, *made.mine])
    again = proposal(vault)
    assert (again.team, again.mine) == ((), ())
    (project / "strongroom.toml").write_text("# mine\n")
    with pytest.raises(ConflictError, match="exists already"):
        write(made.team)
    assert (project / "strongroom.toml").read_text() == "# mine\n"


def test_a_writing_that_was_interrupted_can_be_done_again(proposal, project, home):
    made = proposal(place("vault", url="https://v", token=secret("text", CANARY)))
    write(made.mine[:-1])
    assert loaded(project, home).personal is None
    (project / ".strongroom/vault-token").write_text("half")
    write(made.mine)
    found = loaded(project, home)
    assert found.personal == project / ".strongroom/strongroom.toml"
    made_again = options(found.backend["vault"], WithToken, environ={})
    assert made_again.token.reveal() == CANARY


def test_a_settings_file_that_cannot_be_written_whole_is_not_there_at_all(proposal, project, full_disk):
    made = proposal(place("vault", url="https://v"))
    with full_disk(), pytest.raises(InvalidInputError, match="cannot be written"):
        write(made.team)
    assert list(project.iterdir()) == []


@pytest.fixture
def full_disk():
    """Let no file of this process grow, as on a disk that is full."""

    @contextmanager
    def full_disk():
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1][1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before[1])
            signal.signal(signal.SIGXFSZ, before[0])

    return full_disk
