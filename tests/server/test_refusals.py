"""What is refused before a handler sees it: it is on record, and tells nothing of the server."""

from __future__ import annotations

import pytest

from parts.server import serving
from strongroom.wire.failure import without_paths

SETTINGS = """
deployment = "prod"
chain = ["native"]

[server.limits]
identity_per_second = 0
stranger_per_second = 0

[deployments.staging]
chain = ["native"]
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("refusals"), SETTINGS) as server:
        yield server


@pytest.fixture(scope="module")
def writer(served):
    return served.token("writer")


def latest(server, token, deployment="prod"):
    """Give the last refusal of a deployment, as its administrator is told."""
    found = server.ask("GET", f"/d/{deployment}/v1/audit?outcome=denied&limit=1", token=token)
    return found.json()["records"][0]


def told(answer):
    return answer.status, answer.json(), answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("token", ["srm_t_wrong", "x", None])
@pytest.mark.parametrize("path", ["/v1/whoami", "/v1/entries", "/v1/read"])
def test_AA04_a_deployment_that_is_not_there_refuses_as_one_that_is(served, path, token):
    method = "POST" if path == "/v1/read" else "GET"
    here = served.ask(method, f"/d/staging{path}", token=token)
    nowhere = served.ask(method, f"/d/nowhere{path}", token=token)
    assert told(here) == told(nowhere)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/entries/variable/region", {"value": "eu"}),
        ("POST", "/v1/tokens", {"name": "evil"}),
        ("POST", "/api/v2/variables", {"key": "region", "value": "eu"}),
        ("DELETE", "/api/v1/variables/region", None),
    ],
)
def test_a_change_refused_in_read_only_mode_is_recorded(served, writer, method, path, body):
    token = writer
    assert served.ask("PUT", "/v1/mode", {"is_read_only": True}, token=token).status == 200
    try:
        assert served.ask(method, path, body, token=token).status == 403
    finally:
        assert served.ask("PUT", "/v1/mode", {"is_read_only": False}, token=token).status == 200
    found = latest(served, writer)
    assert (found["actor"], found["outcome"], found.get("name")) == ("service:writer", "denied", None)
    assert found["reason"].startswith(f"read_only: {method} /")
    assert "region" not in found["reason"]


def test_RT31_a_change_from_another_site_is_recorded_under_whose_session_it_came_with(served, writer):
    access = served.house.deployment("prod").root.access
    access.people.add("anna")
    code = access.login_link("anna")
    session = served.ask("POST", "/v1/login/code", {"code": code.reveal()}).json()["token"]
    headers = {"Cookie": f"strongroom={session}", "Sec-Fetch-Site": "cross-site"}
    answer = served.ask("PUT", "/v1/entries/variable/region", {"value": "eu"}, headers=headers)
    assert (answer.status, answer.code) == (403, "cross_site")
    found = latest(served, writer)
    assert (found["actor"], found["outcome"]) == ("person:anna", "denied")
    assert found["reason"] == "cross_site: PUT /v1/entries/{kind}/{name:path}"


def test_setting_the_mode_from_another_deployment_is_refused_and_recorded_there(served):
    token = served.token("other-root", deployment="staging")
    answer = served.ask("PUT", "/d/staging/v1/mode", {"is_read_only": True}, token=token)
    assert (answer.status, answer.code) == (403, "access_denied")
    found = latest(served, token, "staging")
    assert (found["actor"], found["action"], found["outcome"]) == (
        "service:other-root",
        "administer",
        "denied",
    )


def test_who_asks_is_not_told_where_the_records_are_and_the_log_tells(tmp_path):
    with serving(tmp_path) as server:
        token = server.token()
        (tmp_path / "audit").rename(tmp_path / "moved")
        (tmp_path / "audit").touch()
        body = {"refs": [{"kind": "variable", "name": "region"}]}
        answers = [
            server.ask("POST", "/v1/read", body, token=token),
            server.ask("PUT", "/v1/entries/variable/region", {"value": "eu"}, token=token),
            server.ask("POST", "/api/v2/variables", {"key": "region", "value": "eu"}, token=token),
            server.ask("POST", "/api/v1/variables", {"key": "region", "value": "eu"}, token=token),
        ]
        for answer in answers:
            assert answer.status == 503
            assert str(tmp_path).encode() not in answer.body
        assert str(tmp_path) in server.logged(lambda line: line.get("code") == "not_recorded")["why"]
        (tmp_path / "audit").unlink()
        (tmp_path / "moved").rename(tmp_path / "audit")


def test_who_asks_is_not_told_where_a_broken_file_of_a_backend_is_and_the_log_tells(tmp_path):
    folder = tmp_path / "our files"
    folder.mkdir()
    (folder / "v.json").write_text('{"a": "1"}')
    settings = f"""
deployment = "prod"
chain = ["files", "native"]
[backend.files]
kind = "file"
variables = "{folder / "v.json"}"
"""
    with serving(tmp_path, settings) as server:
        token = server.token("admin", "admin")
        (folder / "v.json").unlink()
        body = {"refs": [{"kind": "variable", "name": "region"}]}
        unopened = [
            server.ask("POST", "/v1/read", body, token=token),
            server.ask("GET", "/v1/entries", token=token),
            server.ask("GET", "/v1/entries/variable/region", token=token),
            server.ask("GET", "/api/v2/variables/region", token=token),
            server.ask("POST", "/v1/backends/check", {}, token=token),
            server.ask("POST", "/v1/explain", body["refs"][0], token=token),
        ]
        (folder / "v.json").write_text('{"a": "1"}')
        (folder / "v.json").chmod(0o666)
        denied = [
            server.ask("POST", "/v1/read", body, token=token),
            server.ask("GET", "/v1/entries/variable/region", token=token),
        ]
        for answer in [*unopened, *denied]:
            assert b"our files" not in answer.body
            assert str(tmp_path).encode() not in answer.body
        assert b"the file [path] of the backend files cannot be opened" in unopened[0].body
        told = server.logged(lambda line: line.get("code") == "backend_unavailable")
        assert str(folder / "v.json") in told["why"]


def test_a_message_without_its_paths_says_all_the_rest():
    assert without_paths("the file /a b/c.d/e of the backend x cannot be opened: no /f") == (
        "the file [path] of the backend x cannot be opened: no [path]"
    )
    assert without_paths("chmod o-w '/a b/c'") == "chmod o-w '[path]'"
    kept = "https://vault:8200/v1 has no auth/approle, so 1 / 2 of team/name"
    assert without_paths(kept) == kept
