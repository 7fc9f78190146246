"""Agents, keys, backups and the doctor as pages: shown, acted on, refused, and what is shown only once."""

from __future__ import annotations

import html
import re
from datetime import timedelta

import pytest

from parts.browser import ADA, MEI, SETTINGS, barriers, browsing, furnished
from parts.seat import Seat
from strongroom.model.secret import Secret

PAGES = (
    "/agents",
    "/agents/worker-04",
    "/agents/worker-04?ask=revoke",
    "/agent/invite",
    "/settings/keys",
    "/settings/keys?ask=rotate",
    "/settings/keys?ask=wrap",
    "/settings/backup",
    "/settings/doctor",
)
PICTURED = {"/settings/keys", "/settings/backup", "/settings/doctor"}  # test_barriers looks at these
HOSTILE = "\"><img src=x onerror=alert(1)><script>alert('{{7*7}}')</script>'"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    from strongroom.assembly import backup  # noqa: PLC0415, F401 -- so that its absence is told here
    from strongroom.crypto.recovery import new_identity  # noqa: PLC0415 -- as above

    folder = tmp_path_factory.mktemp("house")
    recipient = new_identity()[1]
    settings = f'{SETTINGS}\n[backup]\nrecipients = ["{recipient}"]\nfolder = "{folder}/backups"\n'
    (folder / "backups").mkdir(mode=0o700)
    with furnished(folder, settings, entries=False) as server:
        root = server.house.deployment().root
        root.access.agents.admit("worker-04", comment=HOSTILE)
        yield server


@pytest.fixture(scope="module")
def ada(house):
    return Seat(house, ADA)


def text_of(answer):
    plain = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", answer.body.decode(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", plain)))


# --- every page ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_answered_to_an_administrator(ada, path):
    answer = ada.get(path)
    assert answer.status == 200
    assert b"<img src=x" not in answer.body


@pytest.mark.parametrize("path", ["/agents", "/agents/worker-04", "/agent/invite"])
def test_agents_are_for_administrators(house, path):
    assert Seat(house, MEI).get(path).status == 403


@pytest.mark.parametrize("path", ["/settings/keys", "/settings/backup", "/settings/doctor"])
def test_settings_tell_a_viewer_what_he_may_and_offer_no_act(house, path):
    answer = Seat(house, MEI).get(path)
    assert answer.status in (200, 403)
    assert b'action="/settings/keys/' not in answer.body
    assert b'action="/settings/backup' not in answer.body
    assert b'action="/settings/doctor' not in answer.body


@pytest.mark.parametrize("path", ["/agents/nobody", "/agents/..%2f", "/settings/keys?ask=destroy&id=zz"])
def test_what_is_not_there_is_said(ada, path):
    assert ada.get(path).status in (400, 404)


@pytest.mark.parametrize("path", ["/agents?other=1", "/settings/keys?x=1", "/settings/doctor?x=1"])
def test_what_is_not_known_is_refused(ada, path):
    assert ada.get(path).status == 400


# --- agents ----------------------------------------------------------------------------------------------


def test_an_invitation_is_shown_once_and_stands_in_no_address(house, ada):
    answer = ada.post("/agent/invite", {"name": "worker-05", "role": "reader", "how": "code"})
    assert answer.status == 200
    (code,) = re.findall(r'id="code-text">([^<]+)<', answer.body.decode())
    assert answer.headers["cache-control"] == "no-store"
    assert code not in str(answer.headers)
    listed = ada.get("/agents")
    assert code.encode() not in listed.body
    assert "worker-05" in text_of(listed)
    assert f"strongroom agent enrol --url {house.address}" in text_of(answer)


def test_an_invitation_can_be_withdrawn(ada):
    ada.post("/agent/invite", {"name": "worker-06", "how": "code"})
    assert ada.post("/agent/withdraw/worker-06").status == 303
    assert "Took back the invitation of worker-06" in text_of(ada.get("/agents"))


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": ""}, 400),
        ({"name": "worker-04"}, 409),
        ({"name": "x" * 65}, 413),
        ({"name": "a", "actions": "fly"}, 400),
        ({"name": "a", "names": "\x00"}, 422),
        ({"name": "a", "other": "1"}, 422),
    ],
)
def test_a_wrong_invitation_keeps_what_was_typed(ada, fields, status):
    answer = ada.post("/agent/invite", {"comment": "who this is", **fields})
    assert answer.status == status
    if "other" not in fields and "names" not in fields:
        assert b'value="who this is"' in answer.body


def test_an_agent_is_revoked_only_when_its_name_is_typed(house, ada):
    root = house.house.deployment().root
    root.access.agents.admit("worker-09")
    assert ada.post("/agent/revoke/worker-09", {"typed": "worker-9"}).status == 422
    assert [row.name for row in root.access.agents.list() if row.name == "worker-09"]
    assert ada.post("/agent/revoke/worker-09", {"typed": "worker-09"}).status == 303
    assert not [row.name for row in root.access.agents.list() if row.name == "worker-09"]


def test_whether_an_agent_listens_is_told(house, ada):
    feed = house.house.deployment().feed
    assert "Never logged in" in text_of(ada.get("/agents"))
    with feed.attendance.one("agent:worker-04"):
        assert "Listens" in text_of(ada.get("/agents"))
    assert "Not any more; it stopped" in text_of(ada.get("/agents/worker-04"))


def test_an_agent_that_came_and_went_needs_attention(house):
    feed = house.house.deployment().feed
    with feed.attendance.one("agent:gone"):
        assert feed.attendance.of("agent:gone").is_here
    found = feed.attendance.of("agent:gone")
    assert not found.is_here
    assert found.left_at is not None


# --- keys ------------------------------------------------------------------------------------------------


def test_a_key_is_replaced_and_the_job_told(house, ada):
    answer = ada.post("/settings/keys/rotate", {"team": "", "reason": HOSTILE})
    assert answer.status == 303
    text = text_of(ada.get("/settings/keys"))
    assert "A new key seals from now on" in text
    assert "Moving to the new key" in text
    assert "Opens only" in text


def test_a_team_that_has_no_key_is_said_at_the_form(ada):
    answer = ada.post("/settings/keys/rotate", {"team": "nobody"})
    assert answer.status in (400, 404, 409)


def test_keys_are_wrapped_anew(ada):
    assert ada.post("/settings/keys/wrap", {"reason": "a new host"}).status == 303


def test_a_key_goes_only_when_nothing_hangs_on_it_and_its_id_is_typed(house, ada):
    keys = house.house.deployment().root.keys
    keys.rewrap(rate=0)
    old = next(one for one in keys.status() if one.state == "deactivated")
    whole = keys.remains(old.id[:8]).key
    assert ada.post(f"/settings/keys/destroy/{whole}", {"typed": "0000"}).status == 422
    assert ada.post(f"/settings/keys/destroy/{whole[:8]}", {"typed": whole[:8]}).status == 422
    asked = ada.get(f"/settings/keys?ask=destroy&id={whole}")
    assert "Destroy key" in text_of(asked)
    answer = ada.post(f"/settings/keys/destroy/{whole}", {"typed": whole[:8]})
    assert answer.status in (303, 409)  # people who have not signed in since hold it


@pytest.mark.parametrize(
    "path", ["/settings/keys/rotate", "/settings/keys/wrap", "/settings/backup", "/agent/invite"]
)
def test_RT30_what_touches_keys_asks_for_a_proof_of_now(house, path):
    stale = Seat(house, ADA, proven=timedelta(hours=2))
    answer = stale.post(path, {"name": "worker-11"} if "invite" in path else {})
    assert answer.status in (401, 403)
    assert house.house.deployment().root.access.agents.list() != []
    assert "worker-11" not in text_of(stale.get("/agents"))


@pytest.mark.parametrize(
    "path",
    ["/settings/keys/rotate", "/settings/keys/wrap", "/settings/backup", "/settings/doctor", "/agent/invite"],
)
def test_acts_are_refused_to_a_viewer(house, path):
    fields = {"name": "x"} if "invite" in path else {}
    assert Seat(house, MEI).post(path, fields).status == 403


# --- backups ---------------------------------------------------------------------------------------------


def test_a_backup_is_made_and_listed(house, ada):
    assert "There is no backup yet" in text_of(ada.get("/settings/backup"))
    answer = ada.post("/settings/backup")
    assert answer.status == 200
    text = text_of(answer)
    (file,) = set(re.findall(r"prod-\d{8}T\d{6}Z\.srb", text))
    assert f"Made {file}" in text
    assert file in text_of(ada.get("/settings/backup"))
    assert "The newest backup" in text_of(ada.get("/settings/backup"))


def test_a_house_without_a_folder_says_what_to_set(tmp_path):
    with furnished(tmp_path, entries=False) as server:
        seat = Seat(server, ADA)
        answer = seat.get("/settings/backup")
        assert answer.status == 200
        assert "The settings name no folder" in text_of(answer)
        assert seat.post("/settings/backup").status == 409


# --- the doctor ------------------------------------------------------------------------------------------


def test_the_doctor_looks_and_what_he_found_stays(house, ada):
    assert "Nobody has looked" in text_of(ada.get("/settings/doctor"))
    assert ada.post("/settings/doctor").status == 303
    text = text_of(ada.get("/settings/doctor"))
    assert "single-key" in text
    assert "alice looked" in text
    assert "local-owner" not in text


def test_a_deep_look_is_on_record_as_reads(house, ada):
    ada.post("/settings/doctor", {"deep": "yes"})
    assert "had connections read" in text_of(ada.get("/settings/doctor"))


def test_the_doctor_of_a_server_asks_who_may(house):
    from strongroom.errors import AccessDeniedError  # noqa: PLC0415 -- one test
    from strongroom.policy import Actor, Assurance, Role  # noqa: PLC0415 -- as above

    mei = Actor(MEI, Assurance.HOST_USER, (Role("viewer"),))
    room = house.house.room(None, mei)
    for act in (room.doctor.report, room.doctor.examine, room.doctor.run):
        with pytest.raises(AccessDeniedError):
            act()


# --- in a browser ----------------------------------------------------------------------------------------


def test_every_page_is_accessible_and_fits(page):
    found = {}
    for path in PAGES:
        if path not in PICTURED:
            page.goto(path)
            if wrong := barriers(page):
                found[path] = wrong
    assert found == {}


def test_without_script_an_agent_is_invited(chromium, house):
    with browsing(chromium, house, script=False) as page:
        page.goto("/agents")
        page.get_by_role("link", name="Invite an agent").click()
        page.get_by_label("Host").fill("worker-21")
        page.get_by_role("button", name="Invite").click()
        assert page.locator("#code-text").inner_text()
        page.get_by_role("link", name="I have it").click()
        assert page.locator("#code-text").count() == 0


def test_secrets_of_people_are_nowhere(house, ada):
    assert Secret("four plain words here").reveal() not in "".join(
        ada.get(path).body.decode() for path in PAGES
    )
