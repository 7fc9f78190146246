"""The page "Strongroom" inside real Airflow: who may see it, what it tells, and what it never tells."""

import json
import re

import pytest

from parts.agent import agent

CANARY = "c4n4ry-t3xt"
OURS = {
    "AIRFLOW_CONN_ORDERS_DB": f"postgres://u:{CANARY}@db/orders",
    "AIRFLOW_CONN_BROKEN": f"{CANARY} is no connection",
    "AIRFLOW_VAR_REGION": CANARY,
}
OF_AIRFLOW = {
    "AIRFLOW_CONN_ORDERS_DB": f"postgres://u:{CANARY}@other/orders",
    "AIRFLOW_CONN_ONLY_HERE": f"http://u:{CANARY}@h",
    "AIRFLOW_VAR_LEVEL": CANARY,
}
FILE = f"region={CANARY}\nowner={CANARY}\n"
SETTINGS = 'chain = ["env", "dotenv"]\n[backend.dotenv]\nkind = "file"\nvariables = "{path}"\n'

# What importing the plugin loads, when Airflow has been imported.
LIGHT = """
    import os, sys, time
    import airflow.plugins_manager, airflow.configuration
    before, begun = set(sys.modules), time.perf_counter()
    import strongroom.airflow.plugin
    loaded = sorted(name for name in set(sys.modules) - before if not name.startswith("airflow."))
    tell(loaded=loaded, seconds=time.perf_counter() - begun)
"""

ROWS = f"""
    from airflow.models.connection import Connection
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session

    with create_session() as session:
        extra = '{{"key": "{CANARY}"}}'
        session.add(Connection(conn_id="orders_db", conn_type="mysql", password="{CANARY}", extra=extra))
        session.add(Connection(conn_id="warehouse", conn_type="snowflake", password="{CANARY}"))
        session.add(Variable(key="region", val="{CANARY}"))
        session.add(Variable(key="Tenant", val="{CANARY}"))
"""

# Three ways in which Airflow may be told of a backend, looked at in one process.
OTHERWISE = """
    from strongroom.airflow import places

    def looked(**settings):
        for name in ("BACKEND", "BACKEND_KWARGS"):
            os.environ.pop("AIRFLOW__SECRETS__" + name, None)
        os.environ.update({"AIRFLOW__SECRETS__" + name: value for name, value in settings.items()})
        places._known.clear()
        return ask("inventory", by="admin")

    tell(without=looked())
    ours = "strongroom.airflow.StrongroomBackend"
    tell(wrong=looked(BACKEND=ours, BACKEND_KWARGS='{"sockett": "/x"}'))
    tell(away=looked(BACKEND=ours, BACKEND_KWARGS='{"socket": "/nowhere/agent.sock"}'))
    tell(served=looked(BACKEND=ours, BACKEND_KWARGS='{"url": "http://me:pw@127.0.0.1:9", "token": "x"}'))
    tell(library=looked(BACKEND=ours, BACKEND_KWARGS=os.environ["LIBRARY"]))
    tell(shadow=looked(BACKEND=ours, BACKEND_KWARGS=os.environ["SHADOW"]))
"""

THREE = (
    LIGHT
    + ROWS
    + """
    from airflow.api_fastapi.app import create_app, get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from airflow.configuration import conf
    from starlette.testclient import TestClient

    app = create_app(apps="core")
    client = TestClient(app, base_url="http://testserver")
    BELOW = "/af"

    def headers(by):
        if by in (None, "invalid"):
            return {} if by is None else {"Authorization": "Bearer not.a.token"}
        user = SimpleAuthManagerUser(username="some" + by, role=by)
        return {"Authorization": "Bearer " + get_auth_manager().generate_jwt(user)}

    def ask(path, by, method="GET", cookie=False):
        given = headers(by)
        if cookie:
            given = {"Cookie": "_token=" + given["Authorization"].split()[1]}
        answer = client.request(method, BELOW + "/strongroom/" + path, headers=given, follow_redirects=False)
        return {"status": answer.status_code, "headers": dict(answer.headers), "text": answer.text}
"""
)

TWO = (
    LIGHT
    + ROWS
    + """
    from airflow.configuration import conf
    from airflow.www.app import create_app

    app = create_app(testing=True)
    app.config["WTF_CSRF_ENABLED"] = False
    clients = {}
    with app.app_context():
        manager = app.appbuilder.sm
        for role in ("Admin", "Op", "Viewer"):
            manager.add_user(role.lower(), role, "x", role + "@example.com", manager.find_role(role), "p")

    def client_of(by):
        if by not in clients:
            clients[by] = app.test_client()
            if by == "invalid":
                clients[by].set_cookie("session", "not.a.session")
            elif by is not None:
                made = clients[by].post("/login/", data={"username": by, "password": "p"})
                assert made.status_code == 302, made.status_code
        return clients[by]

    def ask(path, by, method="GET", cookie=False):
        answer = client_of(by).open("/strongroom/" + path, method=method)
        headers = {name.lower(): value for name, value in answer.headers}
        return {"status": answer.status_code, "headers": headers, "text": answer.get_data(as_text=True)}
"""
)

ASKED = """
    for by in (None, "invalid", "viewer", "op", "admin"):
        tell(**{f"page by {by}": ask("", by), f"inventory by {by}": ask("inventory", by)})
    tell(cookie=ask("inventory", "admin", cookie=True))
    for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
        for by in ("admin", None):
            tell(**{f"{method} by {by}": ask("inventory", by, method)})
    for path in ("nowhere", "inventory/", "../strongroom/page.html"):
        tell(**{f"path {path}": ask(path, "admin"), f"path {path} by None": ask(path, None)})
    refused = ["kind=dag", "page=0", "page=x", "size=201", "only=all", "search=" + "x" * 201, "more=1"]
    for query in [*refused, "page=1&page=2", "search=%ff"]:
        tell(**{f"query {query}": ask("inventory?" + query, "admin")})
    taken = ["search=ORDERS", "kind=variable", "place=metadata", "only=hidden", "only=problems"]
    for query in [*taken, "size=2&page=2", "page=99"]:
        tell(**{f"list {query}": ask("inventory?" + query, "admin")})
"""

PLUGINS3 = """
    listed = client.get(BELOW + "/api/v2/plugins", headers=headers("admin")).json()["plugins"]
    tell(plugin=[each for each in listed if each["name"] == "strongroom"])
    del os.environ["AIRFLOW__API__BASE_URL"]
    tell(**{"below nothing": strongroom.airflow.plugin._href()})
"""
PLUGINS2 = """
    def menu(by):
        return "/strongroom/" in client_of(by).get("/home", follow_redirects=True).get_data(as_text=True)

    tell(menu=menu("admin"), menu_of_viewer=menu("viewer"))
"""
UNGUARDED2 = """
    import airflow.www.auth
    del airflow.www.auth.has_access  # as an Airflow in which it has another name
    del sys.modules["strongroom.airflow.page_flask"]
    tell(unguarded=strongroom.airflow.plugin.StrongroomPlugin.appbuilder_views)
"""
UNGUARDED3 = """
    import airflow.api_fastapi.core_api.security as security
    from strongroom.airflow.page_fastapi import application
    del security.requires_access_connection  # as an Airflow in which it has another name
    client = TestClient(application())
    tell(unguarded=[client.get(path).status_code for path in ("/", "/inventory", "/x")])
"""


@pytest.fixture(scope="session")
def seen(inside):
    def make(folder):
        path = folder / "values.env"
        path.touch(mode=0o600)
        path.write_text(FILE)
        of_library = {"chain": ["dotenv"], "backend": {"dotenv": {"kind": "file", "variables": str(path)}}}
        old = "airflow.providers.hashicorp.secrets.vault.VaultBackend"
        script = (THREE if inside.version == 3 else TWO) + ASKED
        script += (PLUGINS3 if inside.version == 3 else PLUGINS2) + OTHERWISE
        script += UNGUARDED3 if inside.version == 3 else UNGUARDED2
        (folder / "agent").mkdir()
        with agent(folder / "agent", SETTINGS.format(path=path), environ=OURS) as one:
            one.python("import strongroom; strongroom.variable('owner')")
            environ = OF_AIRFLOW | inside.backend(socket=one.socket)
            environ |= {"AIRFLOW__API__BASE_URL": "http://testserver/af"}
            environ |= {"LIBRARY": json.dumps(of_library)}
            environ |= {"SHADOW": json.dumps({**of_library, "mode": "shadow", "shadow_backend": old})}
            return inside.run(folder, script, environ=environ, is_fresh=True)

    return inside.once("plugin", make)


def entries(answer):
    assert answer["status"] == 200, answer
    return [
        (row["kind"], row["name"], row["place"], row["shadowed_by"])
        for row in json.loads(answer["text"])["entries"]
    ]


# --- who may see it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["page", "inventory"])
def test_nobody_sees_anything_who_may_not_read_connections(seen, inside, path):
    statuses = {by: seen.told[f"{path} by {by}"]["status"] for by in ("None", "invalid", "viewer")}
    refused = (401, 403, 403) if inside.version == 3 else (302, 302, 302)
    assert tuple(statuses.values()) == refused
    for by in statuses:
        answer = seen.told[f"{path} by {by}"]
        assert "orders_db" not in answer["text"]
        assert "<script>" not in answer["text"] or inside.version == 2


@pytest.mark.parametrize("path", ["page", "inventory"])
def test_who_may_read_connections_sees_it(seen, path):
    assert [seen.told[f"{path} by {by}"]["status"] for by in ("op", "admin")] == [200, 200]


def test_a_browser_is_known_by_its_cookie(seen):
    assert seen.told["cookie"]["status"] == 200


def test_every_path_and_method_has_the_guard_before_it(seen, inside):
    told = seen.told
    refused = (401,) if inside.version == 3 else (302,)
    for name in [name for name in told if name.endswith(" by None")]:
        assert told[name]["status"] in refused, name


def test_only_get_and_head_are_answered(seen):
    told = seen.told
    assert (told["HEAD by admin"]["status"], told["HEAD by admin"]["text"]) == (200, "")
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert told[f"{method} by admin"]["status"] == 405
        assert told[f"{method} by admin"]["headers"]["allow"] == "GET, HEAD"
    assert told["path nowhere"]["status"] == told["path inventory/"]["status"] == 404


def test_no_answer_is_kept_or_framed_elsewhere_or_loads_anything(seen, inside):
    for name, answer in seen.told.items():
        if not isinstance(answer, dict) or "headers" not in answer or answer["status"] == 302:
            continue
        if "page.html" in name:
            continue
        assert answer["headers"]["cache-control"] == "no-store", name
        assert answer["headers"]["x-content-type-options"] == "nosniff", name
        assert "default-src 'none'" in answer["headers"]["content-security-policy"], name
    page = seen.told["page by admin"]
    policy = page["headers"]["content-security-policy"]
    assert "frame-ancestors 'self'" in policy
    assert "unsafe" not in policy
    assert re.findall(r"(?:src|href)=[\"']?(?:https?:)?//", page["text"]) == []
    assert re.findall(r"<[^>]*\s(?:on\w+|style)=", page["text"]) == []


def test_nothing_is_served_where_no_guard_is_known(seen, inside):
    assert seen.told["unguarded"] == ([503, 503, 503] if inside.version == 3 else [])


def test_the_plugin_is_there_and_loads_nothing_until_it_is_asked(seen, inside):
    heavy = (
        "fastapi",
        "flask",
        "sqlalchemy",
        "msgspec",
        "strongroom.caller",
        "strongroom.service",
        "cryptography",
    )
    assert [name for name in seen.told["loaded"] if name.startswith(heavy)] == []
    assert seen.told["seconds"] < 1
    if inside.version == 3:
        (plugin,) = seen.told["plugin"]
        (view,) = plugin["external_views"]
        assert (view["url_route"], view["destination"]) == ("strongroom", "nav")
        # This Airflow stands below a path, and so does what the view leads to.
        assert (view["href"], seen.told["below nothing"]) == ("/af/strongroom/", "/strongroom/")
    else:
        assert (seen.told["menu"], seen.told["menu_of_viewer"]) == (True, False)


# --- what it tells -----------------------------------------------------------------------------------


def test_every_place_is_told_in_the_order_airflow_asks(seen):
    told = json.loads(seen.told["inventory by admin"]["text"])
    assert [(place["order"], place["id"]) for place in told["places"]] == [
        (1, "strongroom:env"),
        (2, "strongroom:dotenv"),
        (3, "environment"),
        (4, "metadata"),
    ]
    assert (told["asked"], told["shows_variables"]) == ("agent", True)


def test_every_name_is_told_with_what_hides_it(seen):
    found = [row for row in entries(seen.told["inventory by admin"]) if row[1] not in ("level", "only_here")]
    assert found == [
        ("variable", "Tenant", "metadata", None),
        ("connection", "broken", "strongroom:env", None),
        ("connection", "orders_db", "strongroom:env", None),
        ("connection", "orders_db", "environment", "strongroom:env"),
        ("connection", "orders_db", "metadata", "strongroom:env"),
        ("variable", "owner", "strongroom:dotenv", None),
        ("variable", "region", "strongroom:env", None),
        ("variable", "region", "strongroom:dotenv", "strongroom:env"),
        ("variable", "region", "metadata", "strongroom:env"),
        ("connection", "warehouse", "metadata", None),
    ]


def test_an_entry_tells_its_type_its_state_and_when_it_was_read(seen):
    rows = {
        (row["name"], row["place"]): row
        for row in json.loads(seen.told["inventory by admin"]["text"])["entries"]
    }
    assert rows["orders_db", "strongroom:env"]["conn_type"] == "postgres"
    assert rows["orders_db", "strongroom:env"]["shadows"] == ["environment", "metadata"]
    assert rows["orders_db", "metadata"]["conn_type"] == "mysql"
    assert rows["broken", "strongroom:env"]["state"] == "unparsable"
    assert rows["owner", "strongroom:dotenv"]["read_at"] is not None
    assert rows["region", "strongroom:env"]["read_at"] is None


def test_names_are_searched_filtered_and_paged(seen):
    told = seen.told
    assert {row[1] for row in entries(told["list search=ORDERS"])} == {"orders_db"}
    assert {row[0] for row in entries(told["list kind=variable"])} == {"variable"}
    assert {row[2] for row in entries(told["list place=metadata"])} == {"metadata"}
    assert all(row[3] for row in entries(told["list only=hidden"]))
    assert [row[1] for row in entries(told["list only=problems"])] == ["broken"]
    second = json.loads(told["list size=2&page=2"]["text"])
    assert (second["page"], second["first"], len(second["entries"])) == (2, 3, 2)
    last = json.loads(told["list page=99"]["text"])
    assert last["page"] == last["pages"]
    counts = json.loads(told["list place=metadata"]["text"])["counts"]
    assert counts["place"]["strongroom:env"] == 3  # what another choice would show
    assert counts["kind"] == {"connection": 2, "variable": 2}


def test_a_query_that_is_none_is_refused_without_repeating_it(seen):
    for name in [name for name in seen.told if name.startswith("query ")]:
        answer = seen.told[name]
        assert answer["status"] == 400, name
        assert json.loads(answer["text"])["error"]["code"] == "invalid_input"


def test_no_value_and_no_path_is_told_in_any_form(seen):
    assert seen.leaks(CANARY, without=("database",)) == []
    assert CANARY not in json.dumps(seen.told)
    assert str(seen.folder) not in json.dumps(seen.told)


# --- trouble -----------------------------------------------------------------------------------------


def test_without_us_only_airflows_own_places_are_told_and_that_is_said(seen):
    told = json.loads(seen.told["without"]["text"])
    assert [place["id"] for place in told["places"]] == ["environment", "metadata"]
    assert "does not ask Strongroom" in told["notes"][0]["text"]
    assert ("connection", "orders_db", "metadata", "environment") in entries(seen.told["without"])


@pytest.mark.parametrize(("name", "said"), [("wrong", "no option sockett"), ("away", "agent")])
def test_trouble_of_ours_is_told_and_airflows_places_are_listed(seen, name, said):
    told = json.loads(seen.told[name]["text"])
    assert told["notes"][0]["level"] == "bad"
    assert said in told["notes"][0]["text"]
    assert ("connection", "warehouse", "metadata", None) in entries(seen.told[name])


def test_the_address_of_our_server_is_told_without_who_signs_in_there(seen):
    assert json.loads(seen.told["served"]["text"])["server"] == "http://127.0.0.1:9"
    assert json.loads(seen.told["library"]["text"])["server"] == ""
    assert "pw" not in json.loads(seen.told["served"]["text"])["server"]


def test_the_stores_of_this_machine_are_told_without_an_agent(seen):
    told = json.loads(seen.told["library"]["text"])
    assert told["asked"] == "library"
    assert ("variable", "region", "metadata", "strongroom:dotenv") in entries(seen.told["library"])


def test_in_shadow_mode_ours_neither_answers_nor_hides(seen):
    told = json.loads(seen.told["shadow"]["text"])
    first = told["places"][0]
    assert (first["order"], first["id"]) == (0, "strongroom:dotenv")
    assert ("variable", "region", "metadata", None) in entries(seen.told["shadow"])
    assert any("Shadow mode" in note["text"] for note in told["notes"])
