"""People, tokens, roles and sessions over HTTP."""

from __future__ import annotations

from urllib.parse import quote

import pytest

PASSWORD = "four plain words here"


def login(api, name, password=PASSWORD, **more):
    return api.ask("POST", "/login", {"name": name, "password": password}, role=None, **more)


def add(api, name, *roles):
    body = {"name": name, "password": PASSWORD, "roles": [{"name": role} for role in roles]}
    answer = api.ask("POST", "/actors", body)
    assert answer.status == 201, answer.body
    return answer.json()


# --- people ------------------------------------------------------------------------------------------------


def test_a_person_is_added_seen_locked_out_and_taken_away(api):
    added = add(api, "berta", "viewer")
    assert (added["id"], added["roles"]) == ("person:berta", [{"name": "viewer", "team": None}])
    assert api.ask("GET", "/actors/person:berta").json() == added
    assert api.ask("GET", "/actors/berta").json()["id"] == "person:berta"
    token = login(api, "berta").json()["token"]
    assert api.ask("GET", "/whoami", token=token).json()["actor"] == "person:berta"
    assert api.ask("PATCH", "/actors/person:berta", {"is_enabled": False}).json()["is_enabled"] is False
    assert api.ask("GET", "/whoami", token=token).status == 401
    assert login(api, "berta").status == 401
    assert api.ask("DELETE", "/actors/person:berta").status == 204
    assert api.ask("GET", "/actors/person:berta").status == 404


@pytest.mark.parametrize(
    "name", ["Clara", "CLARA", "\uff43lara", "cl\u0430ra", " clara", "clara ", "cla\u200bra"]
)
def test_AA06_AA07_twins_of_a_name_are_one_account_or_refused(api, name):
    if api.ask("GET", "/actors/clara").status == 404:
        add(api, "clara")
    answer = api.ask("POST", "/actors", {"name": name})
    assert answer.status in (400, 409), answer.body


def test_nobody_but_the_person_and_an_administrator_sets_a_password(api):
    add(api, "dora")
    add(api, "emil", "viewer")
    emil = login(api, "emil").json()["token"]
    path = "/actors/person:dora/password"
    assert api.ask("POST", path, {"password": "another four plain words"}, token=emil).status == 403
    assert login(api, "dora").status == 200
    assert api.ask("POST", path, {"password": "another four plain words"}).status == 204
    assert login(api, "dora").status == 401


def test_AA11_ones_own_password_needs_the_old_one_and_ends_every_session(api):
    add(api, "fritz")
    first, second = (login(api, "fritz").json()["token"] for _ in range(2))
    path = "/actors/person:fritz/password"
    fresh = "another four plain words"
    assert api.ask("POST", path, {"password": fresh}, token=first).status == 422
    assert api.ask("POST", path, {"password": fresh, "old_password": "wrong"}, token=first).status == 401
    body = {"password": fresh, "old_password": PASSWORD}
    assert api.ask("POST", path, body, token=first).status == 204
    assert [api.ask("GET", "/whoami", token=token).status for token in (first, second)] == [401, 401]


def test_RT22_no_answer_about_people_or_tokens_holds_what_proves_them(api):
    add(api, "gerda")
    token = login(api, "gerda").json()["token"]
    for path in ("/actors", "/tokens", "/roles", "/sessions?everybody=true"):
        body = api.ask("GET", path).body
        assert PASSWORD.encode() not in body
        assert token.encode() not in body
        assert b"srm_" not in body


# --- sessions ----------------------------------------------------------------------------------------------


def test_AA10_a_new_login_has_a_new_id_and_ends_the_session_it_came_with(api):
    add(api, "hans")
    old = login(api, "hans").json()
    new = login(api, "hans", token=None, headers={"Authorization": f"Bearer {old['token']}"}).json()
    assert new["id"] != old["id"]
    assert api.ask("GET", "/whoami", token=old["token"]).status == 401
    assert api.ask("GET", "/whoami", token=new["token"]).status == 200


def test_AA11_a_session_is_dead_after_logout(api):
    add(api, "ida")
    token = login(api, "ida").json()["token"]
    answer = api.ask("POST", "/logout", token=token)
    assert answer.status == 204
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert api.ask("GET", "/whoami", token=token).status == 401


def test_a_browser_keeps_its_session_in_a_cookie_that_no_script_reads(api):
    add(api, "jens")
    answer = login(api, "jens", headers={"Sec-Fetch-Site": "same-origin"})
    assert answer.json()["token"] == ""
    cookie = answer.headers["set-cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/"))
    pair = cookie.partition(";")[0]
    assert api.ask("GET", "/whoami", role=None, headers={"Cookie": pair}).json()["actor"] == "person:jens"


def test_a_change_with_a_cookie_must_come_from_our_own_pages(api):
    add(api, "karl", "admin")
    answer = login(api, "karl", headers={"Sec-Fetch-Site": "same-origin"})
    cookie = {"Cookie": answer.headers["set-cookie"].partition(";")[0]}
    ask = lambda **headers: api.ask(  # noqa: E731 -- one line, called four times
        "PUT", "/entries/variable/csrf", {"value": "x"}, role=None, headers=cookie | headers
    )
    assert ask().code == "cross_site"
    assert ask(**{"Sec-Fetch-Site": "cross-site"}).code == "cross_site"
    assert ask(Origin="https://evil.example.com").code == "cross_site"
    assert ask(**{"Sec-Fetch-Site": "same-origin"}).status == 200


def test_one_sees_and_ends_ones_own_sessions_and_nobody_elses(api):
    add(api, "lena")
    add(api, "mia")
    lena, mia = login(api, "lena").json(), login(api, "mia").json()
    own = api.ask("GET", "/sessions", token=lena["token"]).json()["sessions"]
    assert [(one["id"], one["is_current"]) for one in own] == [(lena["id"], True)]
    for query in ({"actor": "person:mia"}, {"everybody": "true"}):
        assert api.ask("GET", "/sessions", query=query, token=lena["token"]).status == 403
    assert api.ask("DELETE", f"/sessions/{mia['id']}", token=lena["token"]).status in (403, 404)
    assert api.ask("DELETE", f"/sessions/{lena['id']}", token=lena["token"]).status == 204
    assert api.ask("GET", "/whoami", token=lena["token"]).status == 401


def test_AA09_a_login_code_is_good_once(api):
    code = api.house.deployment().root.access.login_link().reveal()
    first = api.ask("POST", "/login/code", {"code": code}, role=None)
    assert first.status == 200
    for text in (code, f" {code}", code):
        assert api.ask("POST", "/login/code", {"code": text}, role=None).status == 401


# --- tokens and roles ----------------------------------------------------------------------------------


def test_a_token_is_shown_once_and_dead_once_it_is_revoked(api):
    body = {"name": "nightly", "roles": [{"name": "viewer"}], "expires_in": 3600}
    issued = api.ask("POST", "/tokens", body)
    assert issued.status == 201
    token, id_ = issued.json()["token"], issued.json()["id"]
    assert api.ask("GET", "/whoami", token=token).json()["actor"] == "service:nightly"
    (listed,) = [one for one in api.ask("GET", "/tokens").json()["tokens"] if one["id"] == id_]
    assert "token" not in listed
    assert api.ask("DELETE", f"/tokens/{id_}").status == 204
    assert api.ask("GET", "/whoami", token=token).status == 401
    assert api.ask("DELETE", f"/tokens/{id_}").status == 404


def test_a_token_asked_for_twice_with_one_key_is_issued_once_and_never_shown_again(api):
    body, key = {"name": "once"}, {"Idempotency-Key": "token-1"}
    assert api.ask("POST", "/tokens", body, headers=key).status == 201
    again = api.ask("POST", "/tokens", body, headers=key)
    assert again.status == 409
    assert b"srm_" not in again.body


@pytest.mark.parametrize("seconds", [0, -1, 10**12])
def test_a_token_lasts_from_a_second_to_ten_years(api, seconds):
    assert api.ask("POST", "/tokens", {"name": "forever", "expires_in": seconds}).status in (413, 422)


def test_a_scope_bounds_a_token_whatever_its_role_may(api):
    scope = {"actions": ["read"], "kinds": ["variable"], "names": ["ok/*"]}
    body = {"name": "bounded", "roles": [{"name": "admin"}], "scope": scope}
    token = api.ask("POST", "/tokens", body).json()["token"]
    api.put("variable", "ok/a", {"value": "1"})
    api.put("variable", "no", {"value": "2"})
    refs = [{"kind": "variable", "name": name} for name in ("ok/a", "no")]
    results = api.ask("POST", "/read", {"refs": refs}, token=token).json()["results"]
    assert [one["outcome"] for one in results] == ["found", "denied"]
    assert api.ask("GET", "/actors", token=token).status == 403
    assert api.ask("PUT", "/entries/variable/ok/a", {"value": "3"}, token=token).status == 403


def test_a_role_is_given_and_taken_and_counts_at_once(api):
    add(api, "nina")
    path = "/roles/admin/members/person:nina"
    assert api.ask("PUT", path).status == 204
    token = login(api, "nina").json()["token"]
    assert api.ask("GET", "/actors", token=token).status == 200
    roles = {one["name"]: one["members"] for one in api.ask("GET", "/roles").json()["roles"]}
    assert ("person:nina", None) in [(one["actor"], one["team"]) for one in roles["admin"]]
    assert api.ask("DELETE", path).status == 204
    assert api.ask("GET", "/actors", token=token).status in (401, 403)


@pytest.mark.parametrize("role", ["Admin", " admin", "ADMIN", "\u0430dmin"])
def test_AA07_a_role_that_looks_like_another_is_refused(api, role):
    assert api.ask("PUT", f"/roles/{quote(role)}/members/service:api-viewer").status == 400


# --- questions ---------------------------------------------------------------------------------------------


def test_anybody_may_ask_what_he_himself_may(api):
    ask = lambda role, **body: api.ask("POST", "/can", body, role=role)  # noqa: E731
    own = ask("viewer", action="read", kind="variable", name="x").json()
    assert (own["is_allowed"], own["policies"]) == (False, [])
    assert own["revision"]
    assert ask("viewer", action="read", kind="variable", name="x", actor="service:api-admin").status == 403
    assert ask("admin", action="read", kind="variable", name="x", actor="service:api-reader").json()[
        "is_allowed"
    ]
    room = ask("viewer", action="list").json()
    assert (room["is_allowed"], room["policies"]) == (True, ["viewer"])


def test_who_may_what_with_an_entry_and_what_somebody_may(api):
    api.put("variable", "asked-about", {"value": "x"})
    actors = api.ask("GET", "/access/entry/variable/asked-about").json()["actors"]
    found = {one["actor"]: one for one in actors}
    assert "read" in found["service:api-reader"]["actions"]
    assert "service:api-viewer" not in found
    names, cursor = [], None
    while True:
        query = {"action": "read", "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = api.ask("GET", "/access/actor/service:api-reader", query=query).json()
        names += [(one["kind"], one["name"]) for one in page["entries"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert ("variable", "asked-about") in names
    assert len(names) == len(set(names))


# --- policies ----------------------------------------------------------------------------------------------

TEXT = """
@id("{id}")
permit (principal in Role::"viewer", action == Action::"read", resource is Entry)
when {{ resource.name == "{name}" }};
"""


def test_a_policy_counts_from_its_answer_on_and_no_longer_than_it_stands(api):
    api.put("variable", "policed", {"value": "x"})
    read = lambda: api.ask(  # noqa: E731
        "POST", "/read", {"refs": [{"kind": "variable", "name": "policed"}]}, role="viewer"
    ).json()["results"][0]["outcome"]
    assert read() == "denied"
    made = api.ask("POST", "/policies", {"text": TEXT.format(id="viewers-one", name="policed")})
    assert made.status == 201, made.body
    assert read() == "found"
    version = made.headers["etag"]
    path = "/policies/viewers-one"
    assert api.ask("GET", path).headers["etag"] == version
    text = {"text": TEXT.format(id="viewers-one", name="other")}
    assert api.ask("PUT", path, text, headers={"If-Match": '"nope"'}).status == 412
    assert api.ask("PUT", path, text, headers={"If-Match": version}).status == 200
    assert read() == "denied"
    assert api.ask("DELETE", path, headers={"If-Match": version}).status == 412
    assert api.ask("DELETE", path).status == 200
    assert api.ask("GET", path).status == 404


def test_a_text_that_is_no_policy_is_refused_with_its_place(api):
    answer = api.ask(
        "POST", "/policies/validate", {"text": 'permit (principal, action == Action::"fly", resource);'}
    )
    found = answer.json()
    assert found["is_valid"] is False
    assert found["remarks"][0]["severity"] == "error"
    assert api.ask("POST", "/policies", {"id": "bad", "text": "permit ("}).status in (400, 422)


def test_a_simulation_tells_what_would_turn_and_changes_nothing(api):
    question = {"action": "read", "kind": "variable", "name": "sim", "actor": "service:api-viewer"}
    body = {"put": [{"text": TEXT.format(id="sim", name="sim")}], "questions": [question]}
    found = api.ask("POST", "/policies/simulate", body).json()
    assert (found["before"][0]["is_allowed"], found["after"][0]["is_allowed"]) == (False, True)
    api.put("variable", "sim", {"value": "x"})
    flips = api.ask("POST", "/policies/simulate", {"put": body["put"]}).json()
    assert ("service:api-viewer", "read", "sim") in [
        (one["actor"], one["action"], one["name"]) for one in flips["flips"]
    ]
    assert api.ask("GET", "/policies/sim").status == 404


def test_a_shipped_policy_is_switched_off_and_on(api):
    assert api.ask("PATCH", "/policies/reader", {"is_enabled": False}).json()["is_enabled"] is False
    assert api.ask("PATCH", "/policies/reader", {"is_enabled": True}).json()["is_enabled"] is True
    assert api.ask("DELETE", "/policies/reader").status == 409


def test_a_grant_counts_for_its_time_and_can_be_ended(api):
    api.put("variable", "granted/one", {"value": "x"})
    ask = lambda: api.ask("GET", "/entries/variable/granted/one", role="viewer").status  # noqa: E731
    body = {
        "actor": "service:api-viewer",
        "actions": ["describe"],
        "names": ["granted/*"],
        "seconds": 60,
        "reason": "look",
    }
    made = api.ask("POST", "/grants", body)
    assert made.status == 201, made.body
    assert ask() == 200
    assert api.ask("GET", "/grants", role="viewer").json()["grants"][0]["id"] == made.json()["id"]
    assert api.ask("GET", "/grants", role="op").json()["grants"] == []
    assert api.ask("DELETE", f"/grants/{made.json()['id']}").status == 204
    assert ask() == 403


@pytest.mark.parametrize(
    "change",
    [
        {"seconds": 0},
        {"seconds": 31 * 86_400},
        {"reason": " "},
        {"actions": []},
        {"actions": ["administer"]},
        {"names": ["pay*"]},
    ],
)
def test_PO08_a_grant_that_means_too_much_is_refused(api, change):
    body = {"actor": "service:api-viewer", "actions": ["read"], "seconds": 60, "reason": "x"} | change
    assert api.ask("POST", "/grants", body).status in (400, 422)
