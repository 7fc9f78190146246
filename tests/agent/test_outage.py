"""An agent that is killed while its store is away: tasks go on with what it kept, and files stay."""

from __future__ import annotations

import os

import pytest

from parts.agent import agent, until
from parts.keyring import drop_keys
from parts.openbao import bao  # noqa: F401 -- a fixture
from parts.proxy import Proxy

READ = "import strongroom; print(strongroom.variable({!r}))"
TRIED = (
    "import strongroom\n"
    "try: print(strongroom.variable({!r}))\n"
    "except strongroom.errors.BackendUnavailableError as error: print('unavailable')\n"
)


@pytest.fixture
def store(bao):  # noqa: F811 -- the fixture above
    mount = bao.mount()
    for name in ("region", "pci_card"):
        bao.put(mount, f"variables/{name}", {"value": f"{name}-one"})
    with Proxy("127.0.0.1", bao.port) as proxy:
        proxy.mount = mount
        yield proxy


def settings(store, folder, key: str) -> str:
    return f"""
chain = ["vault"]
[backend.vault]
url = "http://127.0.0.1:{store.port}"
mount_point = "{store.mount}"
auth = {{ method = "token", token = {{ env = "T" }} }}
[agent]
strict = ["pci_*"]
[agent.last_good]
key = {key}
[agent.file.region]
path = "{folder}/region.json"
template = "{folder}/region.in"
"""


@pytest.mark.parametrize("key", ["file", "keyring"])
def test_tasks_go_on_when_store_and_agent_are_gone(store, tmp_path, key):
    tmp_path.chmod(0o700)
    template = tmp_path / "region.in"
    template.touch(mode=0o600)
    template.write_text('{"region": "${variable/region}"}')
    kept = f'{{ file = "{tmp_path}/keys/key" }}' if key == "file" else '"keyring"'
    with agent(tmp_path, settings(store, tmp_path, kept), environ={"T": "root"}) as one:
        for name in ("region", "pci_card"):
            assert one.python(READ.format(name)) == f"{name}-one"
        until(lambda: one.status()["last_good"]["entries"] == 1, told=one.log)
        until(lambda: one.status()["files"][0]["state"] == "written", told=one.log)
        store.become("refuse")
        one.kill()
        one.start()
        status = one.status()
        if key == "keyring" and "keeps no key" in one.log():
            assert not os.environ.get("CI")
            pytest.skip("this kernel keeps no keys for us")
        assert status["last_good"]["restored"] == 1
        assert one.python(READ.format("region")) == "region-one"
        assert one.python(TRIED.format("pci_card")) == "unavailable"
        assert (tmp_path / "region.json").read_text() == '{"region": "region-one"}'
        store.become("pass")
        assert until(lambda: one.python(TRIED.format("pci_card")) != "unavailable")
        assert "-one" not in one.log()
    drop_keys(tmp_path / "agent" / "last-good", "default")
