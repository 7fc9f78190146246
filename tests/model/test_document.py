"""Airflow's files, read as Airflow reads them or refused with a number, and written without a loss."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.document import (
    connection_of,
    decode,
    form_of,
    format_connections,
    format_variables,
    parse,
    parse_connections,
    parse_variables,
    variable_of,
)
from strongroom.model.extra import Extra
from strongroom.model.secret import Secret
from strongroom.model.variable import Variable

TESTS = Path(__file__).parents[1]
VECTORS = json.loads((TESTS / "vectors" / "airflow_files.json").read_text())
DOTENV = json.loads((TESTS / "vectors" / "dotenv.json").read_text())["cases"]
SHARED = Path(os.environ.get("STRONGROOM_SHARED_DATA", TESTS.parents[1] / "shared" / "data"))
FOLDERS = [TESTS / "data" / "airflow3", TESTS / "data" / "airflow2"]
FOLDERS += [SHARED / name for name in ("airflow3", "airflow2") if (SHARED / name).is_dir()]
CANARY = "cAnArY-91b7"

# Airflow reads these; we refuse them. docs/compatibility.md says why.
REFUSED_BY_US = {
    "json list of none",
    "json duplicate",
    "json nan",
    "json empty text",
    "json port bad",
    "yaml duplicate",
    "yaml name number",
    "yaml name no",
    "yaml login no",
    "json infinity",
    "json huge",
    "json duplicate inside",
    "json description number",
    "json surrogate",
    "yaml binary",
    "yaml numeric name",
    "yaml bool name",
}

EMPTY = dict.fromkeys(["conn_type", "description", "host", "login", "password", "schema", "port", "extra"])
# Airflow reads garbage (a JSON text taken for a URI), or leaves text where a number belongs.
READ_BY_US = {
    "json json text": {"a": EMPTY | {"conn_type": "http"}},
    "json port text": {"a": EMPTY | {"conn_type": "http", "port": 80}},
}
# Airflow keeps quotes and `export ` as part of value and name; `quotes=False` does too.
DOTENV_ROWS = {
    "env export": {"a": "1"},
    "env double quoted": {"a": "b c"},
    "env single quoted": {"a": "b c"},
}


def plain(connection):
    return connection.to_dict(reveal=True)


@pytest.fixture(params=FOLDERS, ids=[f"{folder.parent.name}-{folder.name}" for folder in FOLDERS])
def folder(request):
    return request.param


# --- real exports ------------------------------------------------------------------------------


def test_real_connections_come_in_equal_from_every_lossless_file(folder):
    expected = json.loads((folder / "connections.json").read_text())
    found = {
        name: parse_connections((folder / name).read_text(), form_of(name))
        for name in ("connections.json", "connections.yaml", "connections-json.env")
    }
    for connections in found.values():
        assert len(connections) == 60
        for name, fields in expected.items():
            extra = None if fields["extra"] is None else json.loads(fields["extra"])
            # As Airflow spells a type in every form but this one: docs/compatibility.md, "Files".
            conn_type = fields["conn_type"].replace("-", "_")
            assert plain(connections[name]) == fields | {"extra": extra, "conn_type": conn_type}


def test_real_uri_file_is_read_as_airflow_reads_it(folder):
    major = "airflow3" if folder.name.endswith("3") else "airflow2"
    # Airflow 2 leaves the values of a query as text, which is the reading called sdk.
    dialect = "core" if major == "airflow3" else "sdk"
    found = parse_connections((folder / "connections.env").read_text(), "env", dialect)
    expected = VECTORS["exports"][major]
    assert len(found) == 60
    assert {name: plain(item) for name, item in found.items()} == expected


def test_real_variables_come_in_as_the_import_stores_them(folder):
    items = json.loads((folder / "variables.json").read_text())
    found = parse_variables((folder / "variables.json").read_text(), "json")
    assert len(found) == 18
    for name, item in items.items():
        value, description = item, None
        if isinstance(item, dict) and "value" in item:
            value, description = item["value"], item.get("description")
        text = value if isinstance(value, str) else json.dumps(value, indent=2)
        assert (found[name].value.reveal(), found[name].description) == (text, description)


@pytest.mark.parametrize("serialization", ["uri", "json"])
@pytest.mark.parametrize("form", ["json", "yaml", "env"])
@pytest.mark.parametrize("dialect", ["core", "sdk"])
def test_real_connections_go_out_and_come_in_again_equal(folder, form, serialization, dialect):
    connections = parse_connections((folder / "connections.json").read_text(), "json")
    text = format_connections(connections, form, serialization)
    assert parse_connections(text, form, dialect) == connections


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_real_variables_go_out_and_come_in_again_equal(folder, form):
    variables = parse_variables((folder / "variables.json").read_text(), "json")
    assert parse_variables(format_variables(variables, form), form) == variables


def test_real_variables_go_out_as_env_without_their_descriptions(folder):
    variables = parse_variables((folder / "variables.json").read_text(), "json")
    found = parse_variables(format_variables(variables, "env", descriptions=False), "env")
    assert {name: item.value for name, item in found.items()} == {
        name: item.value for name, item in variables.items()
    }


# --- equal to Airflow, or refused with a number -------------------------------------------------


@pytest.mark.parametrize("case", VECTORS["connections"], ids=lambda case: case["name"])
def test_connections_file_is_equal_to_airflow_or_refused(case):
    expected = case["expected"]
    if case["name"] in READ_BY_US:
        expected = {"connections": READ_BY_US[case["name"]]}
    if "error" in expected or case["name"] in REFUSED_BY_US:
        with pytest.raises(InvalidInputError) as caught:
            parse_connections(case["text"], case["form"])
        assert caught.value.rule
        return
    found = parse_connections(case["text"], case["form"])
    assert {name: plain(item) for name, item in found.items()} == expected["connections"]


@pytest.mark.parametrize("case", VECTORS["variables"], ids=lambda case: case["name"])
def test_variables_file_is_equal_to_airflow_or_refused(case):
    expected = case["expected"]
    if case["name"] in DOTENV_ROWS:
        assert parse(case["text"], "env") == DOTENV_ROWS[case["name"]]
        raw = parse(case["text"], "env", quotes=False)
        assert {n: [v, None] for n, v in raw.items()} == expected["variables"]
        return
    if "error" in expected or case["name"] in REFUSED_BY_US:
        with pytest.raises(InvalidInputError) as caught:
            parse_variables(case["text"], case["form"])
        assert caught.value.rule
        return
    for name, raw in parse(case["text"], case["form"]).items():
        wanted = expected["variables"][name]
        if "error" in wanted or wanted[0] == "Infinity":
            with pytest.raises(InvalidInputError):
                variable_of(name, raw)
            continue
        found = variable_of(name, raw)
        assert [found.value.reveal(), found.description] == wanted


# --- .env beyond Airflow -----------------------------------------------------------------------


@pytest.mark.parametrize("case", DOTENV, ids=lambda case: case["name"])
def test_quoted_dotenv_means_what_python_dotenv_reads(case):
    assert parse(case["text"], "env") == case["expected"]


def test_quotes_can_be_left_as_airflow_reads_them():
    assert parse("export A='x' # y\n", "env", quotes=False) == {"export A": "'x' # y"}


def test_json_connection_in_env_is_a_connection():
    text = 'a={"conn_type": "http", "password": "p w"}\nb=\'{"conn_type": "ftp"}\'\n'
    found = parse_connections(text, "env")
    assert found == {
        "a": Connection(conn_type="http", password=Secret("p w")),
        "b": Connection(conn_type="ftp"),
    }


def test_quoted_value_may_span_lines_and_lines_go_on_counting():
    text = f'A="one\r\ntwo\n# three"\nB=x\n{CANARY}\n'
    with pytest.raises(InvalidInputError, match="no '=' in line 5"):
        parse(text, "env")
    assert parse(text.removesuffix(f"{CANARY}\n"), "env") == {"A": "one\ntwo\n# three", "B": "x"}


@pytest.mark.parametrize("text", [f'A="{CANARY}\nB=x\n', f"A='{CANARY}\\'\n", 'A="'])
def test_quote_without_an_end_is_refused(text):
    with pytest.raises(InvalidInputError, match='value of "A" that begins in line 1 has no end') as caught:
        parse(text, "env")
    assert (caught.value.rule, caught.value.offset) == ("F5", 2)
    assert CANARY not in str(caught.value)


def test_text_after_a_quoted_value_is_refused():
    with pytest.raises(InvalidInputError, match='follows the quoted value of "A" in line 2') as caught:
        parse(f'# c\nA="x" {CANARY}\n', "env")
    assert (caught.value.rule, caught.value.offset) == ("F5", 9)


def test_faults_of_an_env_file_are_told_together():
    with pytest.raises(InvalidInputError) as caught:
        parse("a\nb=\n=c\nd\nok=1\n", "env")
    assert "no '=' in line 1, 4; no value in line 2; no name in line 3" in str(caught.value)
    assert (caught.value.rule, caught.value.offset) == ("F4", 0)


# --- bad files ---------------------------------------------------------------------------------


def test_file_of_64_mebibytes_is_read_and_one_more_byte_is_refused():
    data = bytearray(b" ") * (64 * 1024 * 1024)
    assert len(decode(bytes(data))) == len(data)
    with pytest.raises(InvalidInputError) as caught:
        decode(bytes(data + b" "))
    assert (caught.value.rule, caught.value.limit) == ("F2", 64 * 1024 * 1024)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\xef\xbb\xbf{}", "byte order mark of UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "byte order mark of UTF-16"),
        (b'{"a": "' + CANARY.encode() + b'\xff"}', "not UTF-8"),
        (b"a=\xed\xa0\x80\n", "not UTF-8"),
    ],
)
def test_file_that_is_not_plain_utf8_is_refused(data, what):
    with pytest.raises(InvalidInputError, match=what) as caught:
        decode(data)
    assert caught.value.rule == "F2"
    assert caught.value.hint
    assert caught.value.__context__ is None


@pytest.mark.parametrize("name", ["x", "x.txt", "x.json.bak", "json", ".json.", "x.toml"])
def test_wrongly_named_file_is_refused(name):
    with pytest.raises(InvalidInputError) as caught:
        form_of(name)
    assert caught.value.rule == "F1"


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.json", "json"), ("a.YAML", "yaml"), ("a.b.yml", "yaml"), (".env", "env"), ("prod.env", "env")],
)
def test_form_follows_the_ending(name, form):
    assert form_of(name) == form


@pytest.mark.parametrize(
    ("text", "form", "rule"),
    [
        ("", "json", "F3"),
        ("", "yaml", "F3"),
        ("# nothing\n", "yaml", "F3"),
        ("[1]", "json", "F3"),
        ("just words", "yaml", "F3"),
        (f'{{"a": "{CANARY}', "json", "R13"),
        (f'{{"a": "{CANARY}", "a": 1}}', "json", "R15"),
        ('{"a": ' + "[" * 70 + "]" * 70 + "}", "json", "R14"),
        (f'{{"a": NaN, "b": "{CANARY}"}}', "json", "R16"),
        (f'{{"a": "{CANARY}"}}\n', "env", "F4"),
        (f"a={CANARY}\na=2\n", "env", "F6"),
        (f"a: {CANARY}\na: 2\n", "yaml", "F12"),
        (f"a: '{CANARY}", "yaml", "F12"),
        (f"1: {CANARY}", "yaml", "F7"),
        (f"no: {CANARY}", "yaml", "F7"),
        ("~: a", "yaml", "F7"),
        ("1.5: a", "yaml", "F7"),
    ],
)
def test_bad_file_is_one_error_with_a_number_and_no_text(text, form, rule):
    with pytest.raises(InvalidInputError) as caught:
        parse(text, form)
    assert caught.value.rule == rule
    assert CANARY not in str(caught.value) + repr(vars(caught.value))
    assert caught.value.__context__ is None


def test_error_in_json_names_the_line():
    with pytest.raises(InvalidInputError, match="line 3"):
        parse('{\n"a": 1,\n"b": x}', "json")


def test_json_in_a_file_named_env_is_recognised():
    with pytest.raises(InvalidInputError) as caught:
        parse('{\n  "a": "b"\n}\n', "env")
    assert caught.value.hint == "it looks like JSON: name it .json"


@pytest.mark.parametrize(
    ("raw", "rule"),
    [
        ([], "F8"),
        (["postgres://h", "mysql://h"], "F8"),
        (5, "F8"),
        (None, "F8"),
        ([None], "F8"),
        ({"conn_id": "other", "conn_type": "http"}, "F9"),
        ({"extra": {}, "extra_dejson": {}}, "F9"),
        ({"extra_dejson": [1]}, "F9"),
    ],
)
def test_connection_of_the_wrong_shape_is_refused_by_name(raw, rule):
    with pytest.raises(InvalidInputError, match='"orders"') as caught:
        connection_of("orders", raw)
    assert caught.value.rule == rule


def test_error_of_one_connection_names_it_and_keeps_its_number():
    with pytest.raises(InvalidInputError) as caught:
        parse_connections(f"a=postgres://h\nb=u:{CANARY}@h\n", "env")
    assert str(caught.value).startswith('"b": ')
    assert caught.value.rule.startswith("R")
    assert CANARY not in str(caught.value) + repr(vars(caught.value))


def test_name_that_is_not_legal_is_not_repeated():
    with pytest.raises(InvalidInputError) as caught:
        connection_of(f"../{CANARY}", 5)
    assert CANARY not in str(caught.value)


def test_variable_keeps_its_wrapper_where_the_backend_keeps_it():
    raw = {"value": 1, "unit": "kg"}
    assert variable_of("w", raw).value.reveal() == "1"
    assert json.loads(variable_of("w", raw, unwrap=False).value.reveal()) == raw


def test_variable_over_one_mebibyte_is_refused():
    with pytest.raises(InvalidInputError) as caught:
        variable_of("big", "x" * (1024 * 1024 + 1))
    assert caught.value.limit == 1024 * 1024


# --- writing -----------------------------------------------------------------------------------


def test_connections_are_written_in_airflows_shape_and_order():
    connections = {
        "b": Connection(conn_type="http", port=0),
        "a": Connection(conn_type="http", password=Secret("p"), extra=Extra({"x": [1]})),
    }
    written = json.loads(format_connections(connections, "json"))
    assert list(written) == ["a", "b"]
    order = "conn_type description login password host port schema extra"
    assert list(written["a"]) == order.split()
    assert written["a"]["extra"] == '{"x": [1]}'
    assert parse_connections(format_connections(connections, "json"), "json") == connections


def test_uri_only_names_what_a_uri_would_lose():
    connections = {
        "fine": Connection(conn_type="http", host="h", schema="s"),
        "told": Connection(conn_type="http", description=CANARY),
    }
    with pytest.raises(InvalidInputError, match=r'"told" \(.*description') as caught:
        format_connections(connections, "env", "uri-only")
    assert caught.value.rule == "F13"
    assert "fine" not in str(caught.value)
    assert CANARY not in str(caught.value)
    del connections["told"]
    assert format_connections(connections, "env", "uri-only") == "fine=http://h/s\n"


@pytest.mark.parametrize("name", ["a=b", "#a", " # a", "export a", "a\nb"])
def test_name_that_env_cannot_spell_is_refused(name):
    with pytest.raises(InvalidInputError) as caught:
        format_connections({name: Connection(conn_type="http")}, "env")
    assert caught.value.rule == "F13"
    with pytest.raises(InvalidInputError):
        format_variables({name: Variable(key=name, value=Secret("x"))}, "env")


def test_env_refuses_to_lose_a_description_and_names_it():
    variables = {"told": Variable(key="told", value=Secret("x"), description="d")}
    with pytest.raises(InvalidInputError, match='descriptions of "told"'):
        format_variables(variables, "env")
    assert format_variables(variables, "env", descriptions=False) == "told=x\n"


@pytest.mark.parametrize("form", ["json", "yaml", "env"])
def test_nothing_is_written_and_read_as_nothing(form):
    assert parse_connections(format_connections({}, form), form) == {}
    assert parse_variables(format_variables({}, form), form) == {}


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"], exclude_characters="=#"),
    min_size=1,
    max_size=12,
).filter(lambda name: not name.startswith(("export ", "export\t")))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(names, texts, max_size=4), st.sampled_from(["json", "yaml", "env"]))
def test_any_variables_are_read_back_from_what_was_written(items, form):
    variables = {name: Variable(key=name, value=Secret(text)) for name, text in items.items()}
    assert parse_variables(format_variables(variables, form), form) == variables


optional = st.none() | texts.filter(bool)
connections = st.builds(
    Connection,
    conn_type=st.sampled_from(["http", "postgres", "my_type", "mssql+odbc"]),
    description=optional,
    host=optional,
    login=optional,
    password=st.none() | texts.filter(bool).map(Secret),
    schema=optional,
    port=st.none() | st.integers(0, 65535),
    extra=st.none()
    | st.dictionaries(
        texts,
        st.recursive(st.none() | st.booleans() | st.integers() | texts, st.lists, max_leaves=4),
        max_size=3,
    ).map(Extra),
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(names, connections, max_size=3),
    st.sampled_from(["json", "yaml", "env"]),
    st.sampled_from(["core", "sdk"]),
)
def test_any_connections_are_read_back_from_what_was_written(items, form, dialect):
    for serialization in ("uri", "json"):
        assert parse_connections(format_connections(items, form, serialization), form, dialect) == items
