"""The manifests that are shipped: read by kubectl, joined up, and their settings used by the agent itself."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from parts.agent import missing
from strongroom.model.filling import references_in
from strongroom.settings import load

FOLDER = Path(__file__).parent.parent.parent / "examples" / "kubernetes"
NAMES = sorted(path.name for path in FOLDER.glob("*.yaml"))


def documents(name: str) -> list[dict]:
    return list(YAML(typ="safe", pure=True).load_all((FOLDER / name).read_text()))


def config_maps(name: str) -> dict[str, dict[str, str]]:
    found = documents(name)
    return {one["metadata"]["name"]: one["data"] for one in found if one["kind"] == "ConfigMap"}


def pods(name: str) -> list[dict]:
    """Give the spec of every pod that *name* makes, that of a template in a ConfigMap too."""
    found = [one["spec"]["template"]["spec"] for one in documents(name) if one["kind"] != "ConfigMap"]
    templates = [
        text for data in config_maps(name).values() for key, text in data.items() if "pod_template" in key
    ]
    return found + [YAML(typ="safe", pure=True).load(text)["spec"] for text in templates]


def containers(pod: dict) -> list[dict]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def ours(name: str) -> dict:
    return next(
        one for pod in pods(name) for one in containers(pod) if one["image"].startswith("strongroom:")
    )


def test_there_are_the_three_ways():
    assert NAMES == ["init-container.yaml", "kubernetes-executor.yaml", "sidecar.yaml"]


@pytest.mark.parametrize("name", NAMES)
def test_kubectl_reads_it(name, tmp_path):
    if shutil.which("kubectl") is None:
        missing("kubectl is not installed")
    # `kubectl create --dry-run=client` asks a cluster what kinds there are; this one asks nobody.
    shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{name}]\n")
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(
        ["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr
    read = list(YAML(typ="safe", pure=True).load_all(done.stdout))
    assert sorted(map(json.dumps, read)) == sorted(map(json.dumps, sorted_keys(documents(name))))


def sorted_keys(value):
    return json.loads(json.dumps(value, sort_keys=True))


@pytest.mark.parametrize("name", NAMES)
def test_every_mount_has_its_volume_and_every_volume_its_source(name):
    known = {"configMap", "secret", "emptyDir", "hostPath"}
    for pod in pods(name):
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounted = {mount["name"] for one in containers(pod) for mount in one.get("volumeMounts", [])}
        assert mounted == set(volumes)
        for volume in volumes.values():
            assert len(known & set(volume)) == 1
            if "configMap" in volume:
                assert volume["configMap"]["name"] in config_maps(name)


@pytest.mark.parametrize("name", NAMES)
def test_our_container_has_no_more_than_it_needs(name):
    security = ours(name)["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"]["drop"] == ["ALL"]
    for pod in pods(name):
        assert not pod.get("hostNetwork")
        assert not pod.get("hostPID")


@pytest.mark.parametrize("name", NAMES)
def test_its_settings_are_settings_and_its_paths_are_mounted(name, tmp_path):
    (data,) = (data for data in config_maps(name).values() if "strongroom.toml" in data)
    path = tmp_path / "strongroom.toml"
    path.touch(mode=0o600)
    path.write_text(data["strongroom.toml"])
    settings = load(str(path), environ={"STRONGROOM_HOME": str(tmp_path)})
    mounts = [mount["mountPath"] for mount in ours(name)["volumeMounts"]] + ["/dev/shm"]
    agent = settings.agent
    used = [agent.state, *(file.path for file in agent.file.values())]
    used += [agent.socket] if "--once" not in ours(name)["args"] else []
    used += [file.template for file in agent.file.values() if file.template]
    assert all(any(one.is_relative_to(mount) for mount in mounts) for one in used)
    for file in agent.file.values():
        if file.template is not None:
            assert references_in(data[file.template.name])


def test_the_programs_find_the_socket_where_the_agent_makes_it():
    for name in ("sidecar.yaml", "kubernetes-executor.yaml"):
        (text,) = (
            data["strongroom.toml"] for data in config_maps(name).values() if "strongroom.toml" in data
        )
        named = {
            each["value"]
            for pod in pods(name)
            for one in containers(pod)
            for each in one.get("env", [])
            if each["name"] == "STRONGROOM_SOCKET"
        }
        assert len(named) == 1
        assert f'socket = "{named.pop()}"' in text


def test_the_init_container_writes_its_files(tmp_path):
    """As in the pod, but for the store, which is a file here, and the folders, which are below another."""
    data = config_maps("init-container.yaml")["report-strongroom"]
    secrets, settings = tmp_path / "secrets", tmp_path / "etc"
    secrets.mkdir()
    secrets.chmod(0o777)  # as an emptyDir is
    settings.mkdir(mode=0o755)
    (settings / "report.toml.in").write_text(data["report.toml.in"])
    text = (
        data["strongroom.toml"].replace("/secrets/", f"{secrets}/").replace("/etc/strongroom", str(settings))
    )
    text = text.replace("/dev/shm", str(tmp_path)).partition("[agent]")
    store = 'chain = ["file"]\n[backend.file]\nconnections = "c.json"\n[agent]'
    (settings / "strongroom.toml").write_text(store + text[2])
    connections = {"orders_db": "postgres://u:p%22w@db:5432/x", "smtp": "smtp://u:s%22@mail:587"}
    (settings / "c.json").touch(mode=0o600)
    (settings / "c.json").write_text(json.dumps(connections))
    args = [each.replace("/etc/strongroom", str(settings)) for each in ours("init-container.yaml")["args"]]
    done = subprocess.run(
        [sys.executable, "-m", "strongroom", *args],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((secrets / "database.json").read_text())["password"] == 'p"w'
    assert (secrets / "report.toml").read_text() == ('[smtp]\nhost = "mail"\nport = 587\npassword = "s\\""\n')
