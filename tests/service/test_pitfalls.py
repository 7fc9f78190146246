"""Each pitfall on real files, settings and databases: found where it is, and not found where it is not."""

from __future__ import annotations

import ast
import re
import sqlite3
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from parts.project import CANARY, Project
from strongroom.assembly import create_room
from strongroom.insight import hygiene
from strongroom.insight.finding import NAMES, Surroundings
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref

ROOT = Path(__file__).parents[2]
REGION = Ref("variable", "region")
NOW = datetime.now(timezone.utc)

PITFALLS = {}


def pitfall(name: str, *, is_deep: bool = False):
    """Register how a project is spoilt so that exactly this is found."""

    def keep(spoil):
        PITFALLS[f"{name}-{len(PITFALLS)}"] = (name, spoil, is_deep)
        return spoil

    return keep


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path).make()


def test_a_project_as_it_should_be_has_nothing_to_mend(project):
    project.environ["STRONGROOM_DEPLOYMENT"] = "default"
    found = project.examine(is_deep=True)
    assert [finding for finding in found if finding.level in ("error", "warning")] == []
    assert {finding.name for finding in found if finding.level == "note"} == {"local-owner"}


@pitfall("audit-log")
def _(project):
    (segment,) = (project.work / "data/audit").glob("*.jsonl")
    segment.write_bytes(segment.read_bytes().replace(b'"init"', b'"xxxx"'))


@pitfall("backend-trouble")
def _(project):
    project.settings('[backend.files]\nkind = "file"\nconnections = "nowhere.json"\n')
    project.chain("env", "native", "files")


@pitfall("check-failed")
def _(project):
    project.write("airflow/airflow.cfg", f"{CANARY} is no option\n")


@pitfall("clash")
def _(project):
    project.environ["AIRFLOW_VAR_REGION"] = "eu"
    project.put(Ref("variable", "Region"), "x")
    project.put(REGION, "x")


@pitfall("empty-fernet-key")
def _(project):
    project.environ["AIRFLOW__CORE__FERNET_KEY"] = ""


@pitfall("empty-fernet-key")
def _(project):
    project.write("airflow/airflow.cfg", "[core]\nfernet_key =\n")


@pitfall("empty-fernet-key")
def _(project):
    project.write("airflow/airflow.cfg", "[core]\nload_examples = False\n")


@pitfall("expired-entry")
def _(project):
    project.put(REGION, "x", metadata=Metadata(not_after=NOW - timedelta(days=1)))


@pitfall("expiring-entry")
def _(project):
    project.put(REGION, "x", metadata=Metadata(not_after=NOW + timedelta(days=3)))


@pitfall("reminder-due")
def _(project):
    project.put(REGION, "x", metadata=Metadata(remind_at=NOW - timedelta(days=1)))


@pitfall("falls-through")
def _(project):
    project.settings('[backend.env]\non_unavailable = "next"\n')


@pitfall("follows-links")
def _(project):
    project.write("work/keys/variables.json", "{}")
    project.settings(
        '[backend.files]\nkind = "file"\nvariables = "keys/variables.json"\nfollow_symlinks = true\n'
    )


@pitfall("key-beside-store")
def _(project):
    key, path = project.work / "keys/key", project.work / "strongroom.toml"
    key.rename(project.work / "data/key")
    path.write_text(path.read_text().replace("keys/key", "data/key"))


@pitfall("literal-in-dag")
def _(project):
    project.write("work/dags/bad.py", f'hook = Hook(password="{CANARY}")\n')


@pitfall("literal-in-dag")
def _(project):
    project.write("airflow/dags/bad.py", f'uri = "postgres://svc:{CANARY}@db/x"\n')


@pitfall("literal-in-image")
def _(project):
    project.write("work/Dockerfile", f"FROM scratch\nENV DB_PASSWORD={CANARY}\n")


@pitfall("local-owner")
def _(project):
    pass


@pitfall("long-ttl")
def _(project):
    project.settings("[cache]\nttl = 3601\n")


@pitfall("long-stale")
def _(project):
    project.settings("[cache]\nstale_if_error = 86401\n")


@pitfall("long-revoke-bound")
def _(project):
    project.settings("[access]\nrevoke_bound = 301\n")


@pitfall("long-absent-ttl")
def _(project):
    project.settings("[cache]\nabsent_ttl = 301\n")


@pitfall("no-store")
def _(project):
    (project.work / "data/store.db").unlink()
    project.chain("env")


@pitfall("plain-http")
def _(project):
    project.settings('[backend.vault]\nurl = "http://vault.corp:8200"\n')


@pitfall("plain-http")
def _(project):
    project.environ["AIRFLOW__SECRETS__BACKEND"] = "a.B"
    project.environ["AIRFLOW__SECRETS__BACKEND_KWARGS"] = '{"url": "http://vault.corp:8200"}'


@pitfall("tls-unverified")
def _(project):
    project.settings('[backend.vault]\nurl = "https://vault.corp:8200"\nverify = false\n')


@pitfall("plain-text-metastore")
def _(project):
    project.metastore(CANARY)


@pitfall("wrong-fernet-key")
def _(project):
    project.metastore(CANARY, key=Project(project.folder).fernet)


@pitfall("readable-by-others")
def _(project):
    (project.work / "keys/key").chmod(0o640)


@pitfall("readable-by-others")
def _(project):
    (project.work / ".env").chmod(0o644)


@pitfall("readable-by-others")
def _(project):
    (project.airflow / "airflow.cfg").chmod(0o644)


@pitfall("readable-by-others")
def _(project):
    project.write("work/keys/token", CANARY, mode=0o644)
    project.settings('[backend.vault]\nurl = "https://v"\nauth = { secret_id = { file = "keys/token" } }\n')


@pitfall("readable-by-others")
def _(project):
    settings = f"airflow:\n  connections:\n    - conn_id: x\n      conn_password: {CANARY}\n"
    project.write("work/airflow_settings.yaml", settings, mode=0o644)


@pitfall("room-closed")
def _(project):
    (project.work / "strongroom.toml").write_text("[")


@pitfall("scan-incomplete")
def _(project):
    project.write("work/dags/large.py", "#" * 1_100_000)


@pitfall("secret-in-environment")
def _(project):
    project.environ |= {"STRONGROOM_DEPLOYMENT": "live", "AIRFLOW_VAR_API_TOKEN": CANARY}
    project.write("work/strongroom.toml", 'deployment = "live"\nchain = ["env"]\n', mode=0o644)


@pitfall("secret-in-environment")
def _(project):
    project.environ["AIRFLOW_CONN_DB"] = f"postgres://svc:{CANARY}@db/x"
    project.write("work/strongroom.toml", 'deployment = "live"\nchain = ["env"]\n', mode=0o644)


@pitfall("secret-in-git")
def _(project):
    project.write("work/.gitignore", "keys/\n.strongroom/\n", mode=0o644)


@pitfall("secret-in-git")
def _(project):
    project.git("add", "-f", ".env")


@pitfall("secret-in-git")
def _(project):
    project.write("work/.gitignore", ".env\n.strongroom/\n", mode=0o644)


@pitfall("secret-in-git")
def _(project):
    project.write("work/.gitignore", ".env\nkeys/\n", mode=0o644)


@pitfall("settings-file")
def _(project):
    (project.work / "strongroom.toml").chmod(0o664)


@pitfall("shadowed")
def _(project):
    project.put(REGION, "x")
    project.environ["AIRFLOW_VAR_REGION"] = "eu"


@pitfall("single-key")
def _(project):
    path = project.work / "strongroom.toml"
    (project.work / "data/store.db").unlink()
    (project.work / "keys/key").unlink()
    path.write_text(re.sub(r"  \{ kind = .passphrase.*\n", "", path.read_text()))
    create_room(environ=project.environ, cwd=project.work).close()


@pitfall("static-cloud-key")
def _(project):
    project.environ["AWS_ACCESS_KEY_ID"] = CANARY


@pitfall("static-cloud-key")
def _(project):
    project.write("home/.aws/credentials", f"[default]\naws_access_key_id = {CANARY}\n")


@pitfall("static-cloud-key")
def _(project):
    key = project.write("home/key.json", f'{{"type": "service_account", "private_key": "{CANARY}"}}')
    project.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(key)


@pitfall("static-cloud-key")
def _(project):
    project.environ["AZURE_CLIENT_SECRET"] = CANARY


@pitfall("static-cloud-key", is_deep=True)
def _(project):
    project.put(Ref("connection", "lake"), f'{{"conn_type": "aws", "login": "x", "password": "{CANARY}"}}')


@pitfall("static-cloud-key", is_deep=True)
def _(project):
    extra = f'{{"conn_type": "google_cloud_platform", "extra": {{"keyfile_dict": "{CANARY}"}}}}'
    project.put(Ref("connection", "lake"), extra)


@pitfall("static-cloud-key", is_deep=True)
def _(project):
    extra = f'{{"conn_type": "wasb", "extra": {{"account_key": "{CANARY}"}}}}'
    project.put(Ref("connection", "lake"), extra)


@pitfall("tampered-entry")
def _(project):
    project.put(REGION, "x")
    with sqlite3.connect(project.work / "data/store.db") as store:
        (table,) = [
            name
            for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            if "current_version" in {row[1] for row in store.execute(f"PRAGMA table_info({name})")}
        ]
        store.execute(f"UPDATE {table} SET description = 'other' WHERE name = 'region'")
    store.close()


@pitfall("token-in-backend-kwargs")
def _(project):
    project.environ["AIRFLOW__SECRETS__BACKEND"] = "a.B"
    project.environ["AIRFLOW__SECRETS__BACKEND_KWARGS"] = f'{{"token": "{CANARY}"}}'


@pitfall("token-in-backend-kwargs")
def _(project):
    project.environ["AIRFLOW__SECRETS__BACKEND"] = "a.B"
    project.environ["AIRFLOW__SECRETS__BACKEND_KWARG__SECRET_ID"] = CANARY


@pitfall("token-in-backend-kwargs")
def _(project):
    config = f"[core]\nfernet_key = {project.fernet}\n[secrets]\nbackend = a.B\n"
    project.write(
        "airflow/airflow.cfg", config + f'backend_kwargs = {{"auth": {{"password": "{CANARY}"}}}}\n'
    )


@pitfall("unparsable-entry")
def _(project):
    project.environ["AIRFLOW_CONN_BROKEN"] = f"postgres://svc:{CANARY}@db:port/x"


@pitfall("vault-token-in-environment")
def _(project):
    project.environ["VAULT_TOKEN"] = CANARY


@pytest.mark.parametrize("case", PITFALLS)
def test_each_pitfall_is_found_by_its_name_with_a_fix_and_without_the_secret(project, case):
    name, spoil, is_deep = PITFALLS[case]
    spoil(project)
    found = project.examine(is_deep=is_deep)
    (first, *_) = [finding for finding in found if finding.name == name and finding.level != "ok"]
    assert first.docs == f"docs/doctor.md#{name}"
    assert first.fix or name in ("local-owner", "reminder-due")
    assert CANARY not in repr(found)


@pytest.mark.parametrize(
    "name",
    [
        ".strongroom/'; touch ran; '",
        ".strongroom/$(touch ran)",
        ".strongroom/-x",
        "$(touch ran)/secret",
        "plain/[a] *?\\",
        "plain/!not",
        "plain/#not",
    ],
)
def test_a_fix_that_is_typed_mends_what_it_is_for_whatever_a_stranger_named_the_file(project, name):
    path = project.write(f"work/{name}", CANARY, mode=0o644)
    project.write("work/.gitignore", ".env\nkeys/\n", mode=0o644)
    files = [hygiene.SecretFile(path, "the file")]
    around = Surroundings(environ=project.environ, cwd=project.work, home=project.home)

    def look() -> list:
        found = [*hygiene.open_to_others(files), *hygiene.in_git(files, around)]
        return [finding for finding in found if finding.level != "note" and str(path) in finding.what]

    def mend() -> None:
        for finding in look():
            typed = finding.fix.partition("; ignore it")[0]
            subprocess.run(typed, shell=True, check=True, cwd=project.folder, env=project.environ)

    assert len(look()) == 2
    mend()
    assert look() == []
    project.git("add", "-f", "--", f"./{name}")
    assert [finding.level for finding in look()] == ["error"]
    mend()
    assert look() == []
    assert not list(project.folder.rglob("ran"))


# Found on parts that no project has by itself; each has its test in test_doctor.py.
ELSEWHERE = {
    "agent-trouble",
    "connection-lint",
    "ending-certificate",
    "ending-token",
    "missing-extra",
    "not-listable",
    "owned-by-another",
}


def _headings() -> list[str]:
    text = (ROOT / "docs/doctor.md").read_text(encoding="utf-8")
    return re.findall(r"^### ([a-z-]+)$", text, re.MULTILINE)


def test_every_finding_is_documented_and_every_documented_one_is_produced_by_a_test():
    assert sorted(_headings()) == sorted(NAMES)
    assert {name for name, *_ in PITFALLS.values()} | ELSEWHERE == set(NAMES)


def test_the_code_makes_no_finding_of_another_name():
    for tree in _sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Finding":
                (name,) = [keyword.value for keyword in node.keywords if keyword.arg == "name"]
                said = {one.value for one in ast.walk(name) if isinstance(one, ast.Constant)}
                assert said <= set(NAMES) | {"certificate"}


def test_every_name_is_one_that_the_code_makes():
    said = {one.value for tree in _sources() for one in ast.walk(tree) if isinstance(one, ast.Constant)}
    # What could not be looked at is made in the file of the names itself.
    assert set(NAMES) - said == {"check-failed"}


def _sources() -> list[ast.Module]:
    source = ROOT / "src/strongroom"
    paths = [path for path in source.glob("insight/*.py") if path.name != "finding.py"]
    paths += [source / "service/doctor.py", source / "service/symptoms.py"]
    paths += [source / "remote/examined.py", source / "remote/examined_host.py"]
    return [ast.parse(path.read_text(encoding="utf-8")) for path in paths]
