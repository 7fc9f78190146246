"""Who may, as pages: every one of them answered, acted on and refused over HTTP, without a browser."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from urllib.parse import urlencode

import pytest

from parts.browser import ADA, MEI, furnished
from parts.offices import FINANCE, PASSWORD, peopled
from parts.seat import Seat
from strongroom.model.secret import Secret
from strongroom.policy import Action, Actor, Assurance, Role
from strongroom.policy.grant import Right
from strongroom.service.policies import Draft

PAGES = (
    "/access/people",
    "/access/people/erin",
    "/access/add/person",
    "/access/groups",
    "/access/services",
    "/access/services/ci",
    "/access/tokens",
    "/access/add/token",
    "/access/roles",
    "/access/policies",
    "/access/policies/finance-reads",
    "/access/policies/op",
    "/access/add/policy",
    "/access/grants",
    "/access/tester",
    "/access/tester?who=person:lena.fuchs&action=read&kind=connection&name=finance/x",
    "/access/approvals",
    "/access/approvals?view=all",
    "/access/break-glass",
)
OF_ADMINISTRATORS = tuple(
    path for path in PAGES if re.match(r"/access/(people|add|gr?oups|serv|tok|rol|pol)", path)
)
HOSTILE = "\"><img src=x onerror=alert(1)><script>alert('{{7*7}}')</script>'"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with furnished(tmp_path_factory.mktemp("offices"), entries=False) as server:
        server.root = peopled(server)
        yield server


@pytest.fixture(scope="module")
def ada(house):
    return Seat(house, ADA)


@pytest.fixture(scope="module")
def mei(house):
    return Seat(house, MEI)


def text_of(answer):
    """What a page says, without its marks."""
    plain = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", answer.body.decode(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", plain)))


def told(house, n=30):
    return [(one.actor, one.outcome, one.reason) for one in house.root.audit.tail(n)]


# --- every page ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_answered_to_an_administrator(ada, path):
    answer = ada.get(path)
    assert answer.status == 200, text_of(answer)[-400:]
    assert answer.headers["cache-control"] == "no-store"
    assert b"<h1>" in answer.body
    assert b"strongroom access " in answer.body  # the twin
    assert answer.body.count(b'aria-current="page"') >= 2


@pytest.mark.parametrize("path", OF_ADMINISTRATORS)
def test_who_does_not_administer_is_told_so(mei, path):
    assert mei.get(path).status == 403


def test_who_does_not_administer_has_the_tabs_that_are_for_everybody(mei):
    answer = mei.get("/access")
    assert (answer.status, answer.headers["location"]) == (303, "/access/tester")
    page = mei.get("/access/tester")
    for word in ("Grants", "Tester", "Approvals", "Break-glass"):
        assert word in text_of(page)
    assert "/access/policies" not in page.body.decode()
    assert mei.get("/access/grants").status == mei.get("/access/approvals").status == 200


def test_an_administrator_begins_with_the_people(ada):
    assert ada.get("/access").headers["location"] == "/access/people"


@pytest.mark.parametrize(
    "path", ["/access/people/nobody", "/access/services/nobody", "/access/tokens/0", "/access/policies/no"]
)
def test_what_is_not_there_is_told(ada, path):
    assert ada.get(path).status == 404


@pytest.mark.parametrize("path", ["/access/people", "/access/policies", "/access/roles", "/access/tokens"])
def test_a_search_is_answered_with_its_lines_alone(ada, path):
    answer = ada.get(f"{path}?q=e", htmx="lines")
    assert answer.status == 200
    assert b"<html" not in answer.body
    assert b"<table" in answer.body


def test_a_search_that_finds_nothing_says_how_to_see_all(ada):
    assert "Clear the search to see all 8" in text_of(ada.get("/access/people?q=zzz"))


def test_a_list_comes_in_pages(house, ada):
    for at in range(55):
        house.root.access.people.add(f"crowd-{at:02}")
    first, second = ada.get("/access/people?q=crowd"), ada.get("/access/people?q=crowd&page=2")
    assert re.search("Lines 1.50 of 55", text_of(first))
    assert re.search("Lines 51.55 of 55", text_of(second))
    assert "crowd-54" not in text_of(first)
    for page in ("0", "-3", "x", "99999"):
        assert ada.get(f"/access/people?q=crowd&page={page}").status == 200
    for at in range(55):
        house.root.access.people.delete(f"crowd-{at:02}")


def test_an_address_of_another_deployment_stays_there(house):
    house.house.deployment("staging").root.access.people.add("sue", Secret(PASSWORD), roles=[Role("admin")])
    sue = Seat(house, "person:sue", deployment="staging")
    page = sue.get("/d/staging/access/people")
    assert page.status == 200
    assert "erin" not in text_of(page)
    assert 'href="/d/staging/access/people/sue"' in page.body.decode()


# --- people ----------------------------------------------------------------------------------------------


def test_a_person_is_added_with_a_role_and_shown(house, ada):
    fields = {"name": "Nina", "role": "op", "team": "data", "password": "a phrase of four words"}
    answer = ada.post("/access/people", fields)
    assert (answer.status, answer.headers["location"]) == (303, "/access/people/nina")
    assert house.root.access.people.find("nina").roles == (Role("op", "data"),)
    assert "Added nina" in text_of(ada.get("/access/people/nina"))
    assert any(reason == "add person nina as op of data" for _, _, reason in told(house))


@pytest.mark.parametrize(
    ("fields", "said", "at"),
    [
        ({"name": ""}, "name", "f-name"),
        ({"name": "../etc"}, "name", "f-name"),
        ({"name": "erin"}, "There is a person erin already", "f-name"),
        ({"name": "kurt", "password": "k9!x"}, "password", "f-password"),
        ({"name": "kurt", "role": "Admin"}, "spelling", "f-role"),
        ({"name": "kurt", "role": "adm1n"}, "looks like", "f-role"),
        ({"name": "kurt", "role": "op", "team": "No Team"}, "team", "f-team"),
    ],
)
def test_a_wrong_person_is_refused_at_the_field_and_nothing_typed_is_lost(house, ada, fields, said, at):
    answer = ada.post("/access/people", fields)
    assert answer.status in (400, 409, 413, 422)
    body = answer.body.decode()
    assert said in text_of(answer)
    field = re.search(rf'<input[^>]*id="{at}"[^>]*>', body)[0]
    assert 'aria-invalid="true"' in field
    for name, value in fields.items():
        if name != "password":
            assert f'name="{name}"' in body
            assert html.escape(value) in body
    if "password" in fields:
        assert fields["password"] not in body
    assert "kurt" not in [row.name for row in house.root.access.people.list()]


def test_letting_somebody_in_no_more_can_be_undone(house, ada):
    house.root.access.people.add("ulla", Secret(PASSWORD))
    answer = ada.post("/access/person/disable/ulla")
    assert answer.status == 303
    assert house.root.access.people.find("ulla").is_disabled
    page = ada.get("/access/people/ulla").body.decode()
    assert 'action="/access/person/enable/ulla"' in page
    assert "is let in no more" in page
    assert ada.post("/access/person/enable/ulla").status == 303
    assert not house.root.access.people.find("ulla").is_disabled


def test_deleting_takes_the_name_typed(house, ada):
    house.root.access.people.add("gone", Secret(PASSWORD))
    asked = text_of(ada.get("/access/people/gone?ask=delete"))
    assert "Type gone to go on" in asked
    for typed in ("", "Gone", "gon"):
        answer = ada.post("/access/person/delete/gone", {"typed": typed})
        assert answer.status == 422
        assert "exactly as it is written" in text_of(answer)
    assert ada.post("/access/person/delete/gone", {"typed": "gone"}).headers["location"] == "/access/people"
    assert "gone" not in [row.name for row in house.root.access.people.list()]


def test_a_password_is_set_and_stands_in_no_page(house, ada):
    house.root.access.people.add("petra", Secret(PASSWORD))
    canary = "canary phrase of five words"
    answer = ada.post("/access/password/petra", {"password": canary})
    assert answer.status == 303
    assert canary.encode() not in answer.body + ada.get("/access/people/petra").body
    assert canary not in house.log
    house.house.deployment().access.login("petra", Secret(canary), source="10.1.2.3")
    refused = ada.post("/access/password/petra", {"password": "short"})
    assert refused.status in (400, 413, 422)
    assert 'value="short"' not in refused.body.decode()


def test_ones_own_password_takes_the_old_one(ada):
    page = ada.get("/access/people/alice")
    assert b'name="old_password"' in page.body
    refused = ada.post(
        "/access/password/alice", {"old_password": "not that one", "password": "five words are a phrase"}
    )
    assert refused.status in (400, 401, 403, 422)


def test_an_act_that_is_none_and_an_act_by_link_do_nothing(ada):
    assert ada.post("/access/person/promote/erin").status == 404
    assert ada.get("/access/person/disable/erin").status == 405


# --- roles -----------------------------------------------------------------------------------------------


def test_a_role_is_given_and_taken_with_undo(house, ada):
    fields = {"actor": "person:frank", "role": "op", "team": "data", "back": "person:frank"}
    answer = ada.post("/access/roles/grant", fields)
    assert answer.headers["location"] == "/access/people/frank"
    page = ada.get("/access/people/frank")
    assert "has the role op (data)" in text_of(page)
    assert 'action="/access/roles/revoke"' in page.body.decode()
    assert ada.post("/access/roles/revoke", fields | {"back": ""}).headers["location"] == "/access/roles"
    assert Role("op", "data") not in house.root.access.people.find("frank").roles


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"actor": "anna", "role": "op"}, "An actor has a kind and a name"),
        ({"actor": "person:nobody", "role": "op"}, "There is no person nobody"),
        ({"actor": "person:dave", "role": "Op"}, "spelling"),
        ({"actor": "person:dave", "role": ""}, "role"),
    ],
)
def test_a_wrong_role_is_refused_with_what_was_typed(ada, fields, said):
    answer = ada.post("/access/roles/grant", fields)
    assert answer.status in (400, 404, 422)
    assert said in text_of(answer)
    assert f'value="{fields["actor"]}"' in answer.body.decode()


def test_the_way_back_leads_nowhere_else(ada):
    for back in ("https://evil.example", "//evil.example", "person:", "agent:x"):
        answer = ada.post(
            "/access/roles/grant", {"actor": "person:bob", "role": "user", "team": "", "back": back}
        )
        assert answer.headers["location"] == "/access/roles"


def test_roles_name_the_policies_that_speak_of_them(ada):
    page = ada.get("/access/roles?q=finance").body.decode()
    assert 'href="/access/policies/finance-reads"' in page


# --- services and tokens ---------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_stands_nowhere_after(house, ada):
    answer = ada.post(
        "/access/tokens", {"name": "deployer", "role": "reader", "expires": "30d", "actions": "read"}
    )
    assert answer.status == 200
    found = set(re.findall(r"srm_t_[A-Za-z0-9_-]+", answer.body.decode()))
    assert len(found) == 1
    token = found.pop()
    assert answer.headers["cache-control"] == "no-store"
    assert answer.body.decode().count(token) == 1  # in one element's text: no attribute, no script
    assert f">{token}<" in answer.body.decode()
    assert house.ask("GET", "/v1/whoami", token=token).json()["actor"] == "service:deployer"
    for path in ("/access/tokens", "/access/services/deployer", "/audit", "/access/people"):
        assert token.encode() not in ada.get(path).body
    assert token not in house.log


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "ci"}, "has a token"),
        ({"name": ""}, "name"),
        ({"name": "x1", "expires": "soon"}, "no span of time"),
        ({"name": "x1", "expires": "99999d"}, "ten years"),
        ({"name": "x1", "actions": "fly"}, "unknown actions"),
        ({"name": "x1", "comment": "c" * 300}, "250"),
        ({"name": "x1", "role": "Reader"}, "spelling"),
    ],
)
def test_a_wrong_token_is_not_issued(house, ada, fields, said):
    answer = ada.post("/access/tokens", {"expires": "90d", **fields})
    assert answer.status in (400, 409, 413, 422)
    assert said in text_of(answer)
    assert "srm_t_" not in answer.body.decode()
    assert "x1" not in [row.name for row in house.root.access.tokens.list()]


def test_revoking_takes_the_name_of_the_service(house, ada):
    row = next(row for row in house.root.access.tokens.list() if row.name == "etl-prod")
    assert ada.post(f"/access/token/revoke/{row.id}", {"typed": "etl"}).status == 422
    assert ada.post(f"/access/token/revoke/{row.id}", {"typed": "etl-prod"}).status == 303
    assert "etl-prod" not in [one.name for one in house.root.access.tokens.list()]


def test_a_service_is_let_in_no_more_and_again(house, ada):
    assert ada.post("/access/service/disable/ci").status == 303
    assert next(row for row in house.root.access.services.list() if row.name == "ci").is_disabled
    assert 'action="/access/service/enable/ci"' in ada.get("/access/services/ci").body.decode()
    assert ada.post("/access/service/enable/ci").status == 303
    assert ada.post("/access/service/enable/nobody").status == 404


# --- policies --------------------------------------------------------------------------------------------

GOOD = '@id("ops-list") permit (principal in Role::"op", action == Action::"list", resource is Entry);'
CLAIMS = (
    '@id("claims") permit (principal, action == Action::"read", resource) when { context.run.dag_id == "x" };'
)


def test_what_is_typed_is_checked_with_its_line(ada):
    text = '@id("x")\npermit (\n  principal in Role::"op",\n  action == Action::"reed",\n  resource\n);\n'
    answer = ada.post("/access/check", {"id": "x", "text": text}, htmx="remarks")
    assert answer.status == 200
    assert b"<html" not in answer.body
    said = text_of(answer)
    assert "there is no action reed" in said
    assert "did you mean read" in said
    assert 'data-line="4"' in answer.body.decode()
    assert "cannot be saved" in said


def test_a_doubt_does_not_stand_in_the_way(ada):
    said = text_of(ada.post("/access/check", {"id": "claims", "text": CLAIMS}, htmx="remarks"))
    assert "anybody may say" in said
    assert "can be saved" in said


def test_checking_changes_nothing_and_needs_no_fresh_proof(house):
    stale = Seat(house, ADA, proven=timedelta(minutes=30))
    assert stale.post("/access/check", {"id": "ops-list", "text": GOOD}, htmx="remarks").status == 200
    answer = stale.post(
        "/access/simulate", {"is_new": "yes", "text": GOOD, "is_enabled": "yes"}, htmx="simulated"
    )
    assert answer.status == 200
    assert "would turn" in text_of(answer)
    assert "ops-list" not in [one.id for one in house.root.policies.list()]


def test_without_script_the_button_checks_and_keeps_what_was_typed(ada):
    answer = ada.post("/access/check", {"is_new": "yes", "id": "x", "text": "permit (", "comment": "why not"})
    assert answer.status == 200
    page = answer.body.decode()
    assert "<html" in page
    assert "permit (" in page
    assert 'value="why not"' in page


def test_a_policy_is_written_switched_and_deleted(house, ada):
    answer = ada.post(
        "/access/policies", {"is_new": "yes", "text": GOOD, "is_enabled": "yes", "comment": "4711"}
    )
    assert answer.headers["location"] == "/access/policies/ops-list"
    assert "Saved ops-list" in text_of(ada.get("/access/policies/ops-list"))
    assert ada.post("/access/policy/disable/ops-list").status == 303
    assert not house.root.policies.show("ops-list").is_enabled
    assert ada.post("/access/policy/enable/ops-list").status == 303
    version = house.root.policies.show("ops-list").version
    assert ada.post("/access/policy/delete/ops-list", {"typed": "ops", "version": version}).status == 422
    done = ada.post("/access/policy/delete/ops-list", {"typed": "ops-list", "version": version})
    assert done.headers["location"] == "/access/policies"
    assert ada.get("/access/policies/ops-list").status == 404


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"text": ""}, "policy"),
        ({"text": "permit ("}, "no Cedar"),
        ({"text": GOOD, "id": "Ops"}, "ops"),
        ({"text": GOOD.replace("ops-list", "op"), "id": "op"}, "comes with the product"),
        ({"text": GOOD.replace("ops-list", "adm1n"), "id": "adm1n"}, "looks like"),
        ({"text": "x" * 70_000}, "65536"),
        ({"text": GOOD, "description": "a\tb"}, "description"),
    ],
)
def test_a_wrong_policy_is_refused_and_still_there_to_correct(house, ada, fields, said):
    before = [one.id for one in house.root.policies.list()]
    answer = ada.post(
        "/access/policies", {"is_new": "yes", "is_enabled": "yes", "comment": "because", **fields}
    )
    assert answer.status in (400, 409, 413, 422)
    assert said in text_of(answer)
    assert 'value="because"' in answer.body.decode()
    assert (
        html.escape(fields["text"][:60], quote=False) in html.unescape(answer.body.decode())
        or not fields["text"]
    )
    assert [one.id for one in house.root.policies.list()] == before


def test_of_two_who_write_the_second_sees_both_and_loses_nothing(house, ada):
    house.root.policies.put(Draft(GOOD.replace("ops-list", "shared"), "shared"))
    seen = house.root.policies.show("shared").version
    theirs = GOOD.replace("ops-list", "shared").replace("list", "describe", 1)
    house.root.policies.put(Draft(theirs.replace('"describe"', '"list"') + "\n// theirs", "shared"))
    mine = GOOD.replace("ops-list", "shared") + "\n// mine"
    answer = ada.post(
        "/access/policies",
        {"id": "shared", "version": seen, "text": mine, "is_enabled": "yes", "comment": "c"},
    )
    assert answer.status == 409
    said, body = text_of(answer), answer.body.decode()
    assert "Yours is still here" in said
    assert "// theirs" in said
    assert "// mine" in said
    assert "Save mine over it" in said
    now = re.search(r'name="version" value="(\d+)"', body)[1]
    assert now == house.root.policies.show("shared").version
    again = ada.post(
        "/access/policies",
        {"id": "shared", "version": now, "text": mine, "is_enabled": "yes", "comment": "c"},
    )
    assert again.status == 303
    assert house.root.policies.show("shared").text.endswith("// mine")


def test_a_policy_that_was_deleted_meanwhile_can_be_written_anew(house, ada):
    text = GOOD.replace("ops-list", "fleeting")
    house.root.policies.put(Draft(text, "fleeting"))
    version = house.root.policies.show("fleeting").version
    house.root.policies.delete("fleeting")
    answer = ada.post(
        "/access/policies", {"id": "fleeting", "version": version, "text": text, "is_enabled": "yes"}
    )
    assert answer.status == 409
    assert "deleted meanwhile" in text_of(answer)
    assert 'name="is_new"' in answer.body.decode()


def test_nobody_writes_himself_out(house, ada):
    text = 'forbid (principal == Person::"alice", action == Action::"administer", resource);'
    answer = ada.post("/access/policies", {"is_new": "yes", "id": "oops", "text": text, "is_enabled": "yes"})
    assert answer.status == 409
    assert "no longer administer" in text_of(answer)


def test_what_ships_can_be_switched_and_not_written(ada):
    page = ada.get("/access/policies/op").body.decode()
    assert "readonly" in page
    assert 'form="editor"' not in page
    assert "copied=op" in page
    assert "/access/policy/disable/local-owner" not in ada.get("/access/policies/local-owner").body.decode()


def test_a_copy_begins_with_the_text_of_another(ada):
    page = html.unescape(ada.get("/access/add/policy?copied=finance-reads").body.decode())
    assert 'Role::"finance"' in page
    assert 'name="is_new"' in page


ONLY_RUNS = """
permit (principal in Role::"viewer", action == Action::"read", resource in Folder::"runs")
when {
  context.run.assurance >= 2 && context has source && context.source.isInRange(ip("10.0.0.0/8"))
};
"""


# --- tester ----------------------------------------------------------------------------------------------


def ask(seat, htmx="answer", **query):
    return text_of(seat.get(f"/access/tester?{urlencode(query)}", htmx=htmx))


def test_the_tester_says_yes_and_by_what(ada):
    said = ask(ada, who="person:lena.fuchs", action="read", kind="connection", name="finance/ledger")
    assert "Yes: person:lena.fuchs may read connection finance/ledger" in said
    assert "Allowed by finance-reads" in said


def test_the_tester_says_no_and_what_would_help(ada):
    said = ask(ada, who="person:dave", action="read", kind="connection", name="finance/ledger")
    assert "No: person:dave may not read connection finance/ledger" in said
    assert "No policy allows it" in said
    assert "For who has the role finance" in said
    assert "Give it" in said


def test_the_tester_tells_bounds_of_a_token(ada):
    said = ask(ada, who="service:ci", action="read", kind="variable", name="prod/x")
    assert "Outside the bounds of its token" in said


def test_the_tester_tells_what_a_request_brings_beside(house, ada):
    house.root.policies.put(Draft(ONLY_RUNS, "only-runs"))
    question = {"who": "person:dave", "action": "read", "kind": "variable", "name": "runs/a"}
    said = ask(ada, **question)
    assert "Its conditions do not hold: only-runs" in said
    assert "run.assurance" in said
    assert "source" in said
    assert "Yes:" in ask(ada, **question, level="2", source="10.2.3.4")


def test_the_tester_names_a_right_for_a_time(house, ada):
    said = ask(ada, who="person:lena.fuchs", action="reveal", kind="connection", name="finance/ledger")
    assert "Yes:" in said
    assert "a right for a time" in said


def test_the_room_is_a_question_too(ada):
    assert "may administer the room" in ask(ada, who="person:alice", action="administer", kind="")


def test_who_does_not_administer_asks_of_himself_alone(mei):
    assert "No: person:dave may not read" in ask(mei, action="read", kind="variable", name="x")
    assert mei.get("/access/tester?who=person:alice&action=read&kind=variable&name=x").status == 403


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"action": "fly"}, "no such action"),
        ({"action": "read", "kind": "secret", "name": "x"}, "no such kind"),
        ({"action": "read", "kind": "variable"}, "An entry has a kind and a name"),
        ({"action": "read", "kind": "variable", "name": "a//b"}, "name"),
        ({"action": "read", "who": "root", "kind": "variable", "name": "x"}, "Who acts is person:NAME"),
        ({"action": "read", "kind": "variable", "name": "x", "level": "9"}, "no such level"),
        ({"action": "read", "kind": "variable", "name": "x", "team": "No Team"}, "team"),
    ],
)
def test_a_wrong_question_is_told_and_kept(ada, query, said):
    answer = ada.get(f"/access/tester?{urlencode(query)}")
    assert answer.status in (400, 422)
    assert said in text_of(answer)


def test_the_twin_of_a_question_is_that_question(ada):
    page = html.unescape(
        ada.get(
            "/access/tester?who=person:dave&action=read&kind=variable&name=a%20b&dag=d&level=2"
        ).body.decode()
    )
    assert "strongroom access why read variable 'a b' --as person:dave --dag-id d --assurance 2" in page


# --- grants ----------------------------------------------------------------------------------------------

GRANT = {
    "actor": "person:dave",
    "actions": ["read"],
    "names": "pay/*",
    "span": "2h",
    "reason": "incident 4711",
}


def test_a_right_for_a_time_is_given_and_ended(house, ada, mei):
    assert ada.post("/access/grants", GRANT).headers["location"] == "/access/grants"
    grant = next(one for one in house.root.policies.grants.list() if one.right.actor == "person:dave")
    assert grant.right == Right("person:dave", (Action.READ,), (), ("pay/*",))
    assert "Give back" in text_of(mei.get("/access/grants"))
    assert mei.post(f"/access/grant/end/{grant.id}").status == 303
    assert mei.post(f"/access/grant/end/{grant.id}").status in (403, 404)


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"actor": "person:nobody"}, "Nobody is known as person:nobody"),
        ({"actions": ["administer"]}, "A grant names one action"),
        ({"actions": []}, "A grant names one action"),
        ({"names": "pay*"}, "pattern"),
        ({"span": "40d"}, "30 days"),
        ({"span": "-1h"}, "no span of time"),
        ({"reason": ""}, "needs a reason"),
        ({"kinds": ["secret"]}, "no such kind"),
    ],
)
def test_a_wrong_right_is_refused_with_what_was_typed(house, ada, over, said):
    answer = ada.post("/access/grants", GRANT | over)
    assert answer.status in (400, 404, 422)
    assert said in text_of(answer)
    assert all(one.right.actor != "person:dave" for one in house.root.policies.grants.list())


# --- two people ------------------------------------------------------------------------------------------


@pytest.fixture
def two(house):
    """Changes take two people, and another administrator has asked for one."""
    house.root.access.people.add("second.admin", Secret(PASSWORD), roles=[Role("admin")])
    house.root.policies.require_two("two-person-changes", is_on=True)
    other = house.house.room(None, Actor("person:second.admin", Assurance.HOST_USER, (Role("admin"),)))
    text = FINANCE.replace('Action::"read"', 'Action::"read", Action::"reveal"')
    yield other.policies.put(Draft(text, "finance-reads", comment="ticket 4712"))
    house.root.policies.require_two("two-person-changes", is_on=False)
    for one in house.root.policies.approvals.list():
        if one.state == "pending":
            house.root.policies.approvals.reject(one.id)
    house.root.access.people.delete("second.admin")


def test_a_request_shows_exactly_what_would_be_done(ada, two):
    page = ada.get(f"/access/approvals/{two.id}")
    said = text_of(page)
    assert "policy finance-reads: ticket 4712" in said
    assert '+ action in [Action::"read", Action::"reveal"' in said.replace("new: ", "+ ")
    assert "Approve" in said
    assert f'name="seen" value="{two.content_hash}"' in page.body.decode()


def test_what_was_looked_at_is_agreed_to_and_done(house, ada, two):
    wrong = ada.post(f"/access/approval/approve/{two.id}", {"seen": "0" * 64})
    assert wrong.status == 409
    assert "look at it again" in text_of(wrong).lower()
    assert ada.post(f"/access/approval/approve/{two.id}", {"seen": two.content_hash}).status == 303
    assert "reveal" in house.root.policies.show("finance-reads").text
    assert ada.post(f"/access/approval/approve/{two.id}", {"seen": two.content_hash}).status == 409
    house.root.policies.put(Draft(FINANCE, "finance-reads"))


def test_nobody_approves_his_own(house, two):
    second = Seat(house, "person:second.admin")
    page = text_of(second.get(f"/access/approvals/{two.id}"))
    assert "Nobody approves what he asked for himself" in page
    assert "Take back" in page
    assert second.post(f"/access/approval/approve/{two.id}", {"seen": two.content_hash}).status == 403
    assert second.post(f"/access/approval/reject/{two.id}").status == 303


def test_a_change_that_takes_two_leads_to_its_request(house, ada, two):
    answer = ada.post("/access/policies", {"is_new": "yes", "text": GOOD, "is_enabled": "yes"})
    assert answer.headers["location"].startswith("/access/approvals/a_")
    assert "A second person has to agree" in text_of(ada.get(answer.headers["location"]))
    assert "Ask for approval" in text_of(ada.get("/access/add/policy"))
    switch = ada.post("/access/require/changes", {"is_on": ""})
    assert switch.headers["location"].startswith("/access/approvals/a_")
    page = text_of(ada.get("/access/approvals"))
    assert "Switch what takes two people" in page


def test_reveals_are_made_to_take_two_and_one_again(house, ada):
    assert ada.post("/access/require/reveal", {"is_on": "yes"}).status == 303
    assert house.root.policies.switches()["two-person-reveal"]
    assert ada.post("/access/require/reveal", {"is_on": ""}).status == 303
    assert not house.root.policies.switches()["two-person-reveal"]
    assert ada.post("/access/require/everything", {"is_on": "yes"}).status == 404


# --- break-glass -----------------------------------------------------------------------------------------


def test_the_glass_is_broken_for_a_reason_seen_by_all_and_ended(house, ada):
    jon = Seat(house, "person:bob")
    assert "Break the glass" in text_of(jon.get("/access/break-glass"))
    refused = jon.post("/access/break-glass", {"reason": "", "span": "30m"})
    assert refused.status in (400, 422)
    assert "takes a reason" in text_of(refused)
    assert (
        jon.post("/access/break-glass", {"reason": "INC-42: no admin answers", "span": "30m"}).status == 303
    )
    assert "You are an administrator by break-glass: INC-42" in text_of(jon.get("/access/break-glass"))
    assert jon.get("/access/people").status == 200
    assert "INC-42" in text_of(ada.get("/access/break-glass"))
    assert jon.post("/access/break-glass", {"reason": "again", "span": "30m"}).status == 409
    assert ada.post("/access/glass/end/person:bob").status == 303
    assert jon.get("/access/people").status == 403
    assert ada.post("/access/glass/end/person:bob").status == 404


def test_who_may_not_break_it_is_told_what_would_let_him(mei):
    said = text_of(mei.get("/access/break-glass"))
    assert "No policy lets you" in said
    assert 'Action::"break_glass"' in said
    assert mei.post("/access/break-glass", {"reason": "x", "span": "30m"}).status == 403


# --- forms of ours, and nobody else's --------------------------------------------------------------------

ACTS = (
    ("/access/people", {"name": "forged"}),
    ("/access/person/disable/erin", {}),
    ("/access/password/erin", {"password": "a phrase of four words"}),
    ("/access/roles/grant", {"actor": "person:dave", "role": "admin", "team": "", "back": ""}),
    ("/access/roles/revoke", {"actor": "person:erin", "role": "viewer", "team": "", "back": ""}),
    ("/access/tokens", {"name": "forged", "expires": "90d"}),
    ("/access/service/disable/ci", {}),
    ("/access/policies", {"is_new": "yes", "text": GOOD, "is_enabled": "yes"}),
    ("/access/policy/disable/viewer", {}),
    ("/access/grants", GRANT),
    ("/access/require/reveal", {"is_on": "yes"}),
    ("/access/break-glass", {"reason": "x", "span": "30m"}),
)
GIVING = tuple(
    act
    for act in ACTS
    if act[0] not in ("/access/person/disable/erin", "/access/roles/revoke", "/access/service/disable/ci")
)


def standing(house):
    room = house.root
    return (
        room.policies.revision,
        [(row.name, row.is_disabled, row.roles) for row in room.access.people.list()],
        [row.id for row in room.access.tokens.list()],
        [(row.name, row.is_disabled) for row in room.access.services.list()],
        room.access.break_glass.list(),
    )


@pytest.mark.parametrize(("path", "fields"), ACTS)
def test_a_form_of_somebody_elses_does_nothing(house, ada, path, fields):
    before = standing(house)
    assert ada.post(path, fields, csrf="x").status == 403
    assert ada.post(path, fields, headers={"Sec-Fetch-Site": "cross-site"}).status == 403
    assert ada.post(path, fields, headers={"Origin": "https://evil.example"}).status == 403
    assert ada.post(path, {**fields, "unheard": "of"}).status in (400, 403, 422)
    assert standing(house) == before


@pytest.mark.parametrize(("path", "fields"), GIVING)
def test_what_gives_asks_who_it_is_once_more(house, path, fields):
    stale, before = Seat(house, ADA, proven=timedelta(minutes=30)), standing(house)
    answer = stale.post(path, fields)
    assert answer.status == 403
    assert b'type="password"' in answer.body  # the panel that asks
    assert "srm_t_" not in answer.body.decode()
    assert standing(house) == before


@pytest.mark.parametrize(("path", "fields"), [act for act in ACTS if act[0] != "/access/break-glass"])
def test_who_does_not_administer_changes_nothing(house, mei, path, fields):
    before = standing(house)
    assert mei.post(path, fields).status == 403
    assert standing(house) == before


def test_what_people_write_is_shown_as_text(house, ada):
    house.root.access.tokens.issue("hostile", roles=[Role("reader")], comment=HOSTILE)
    house.root.policies.put(
        Draft(f"// {HOSTILE}\n" + GOOD.replace("ops-list", "hostile"), "hostile", description=HOSTILE)
    )
    house.root.policies.grants.add(
        Right("person:dave", (Action.READ,)), lasting=timedelta(hours=1), reason=HOSTILE
    )
    row = next(row for row in house.root.access.tokens.list() if row.name == "hostile")
    paths = (
        f"/access/tokens/{row.id}",
        "/access/policies",
        "/access/policies/hostile",
        "/access/grants",
        "/access/tester?action=read&kind=variable&name=%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E",
        "/access/people?q=%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E",
    )
    for path in paths:
        body = ada.get(path).body.decode()
        assert "<img src=x" not in body, path
        assert "alert(1)</script>" not in body
        assert "49" not in re.findall(r"alert\('(\d+)'\)", html.unescape(body))
    found = next(one for one in house.root.policies.grants.list() if one.reason == HOSTILE)
    house.root.policies.grants.revoke(found.id)
