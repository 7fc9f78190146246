"""Invented entries, kept in each place as Airflow keeps them and read by both."""

import json

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from parity.compare import Case, answer, open_room, rule_of, verdict
from parity.generate import FIELDS, NAME, TEXT, URI, WORD

SOME = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # the one entry that differs is told; making the rest smaller tells no more
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ITEMS = {"min_size": 20, "max_size": 40}


def check_all(airflow, kind, asks, folder, case):
    """Ask both under the options of *case*, and let only what we refuse by a number differ."""
    dialect = case.dialect
    theirs = airflow.ask(kind, asks, kwargs=case.kwargs, environ=case.environ, dialect=dialect)
    options = {**case.kwargs, **case.ours}
    with open_room(kind, options, folder, environ=case.environ, dialect=dialect) as room:
        mine = [answer(room, *ask, dialect) for ask in asks]
    wrong = [
        one
        for one in zip(asks, mine, theirs, strict=True)
        if not one[1].get("rule") and verdict(one[1], one[2])
    ]
    assert not wrong, "\n".join(map(repr, wrong))


def questions(connections, variables):
    return [
        *(("connection", name, None) for name in connections),
        *(("variable", name, None) for name in variables),
    ]


def is_in_an_environment(name):
    # A global name that reads like one of a team is B3.
    return not (name.startswith("_") and "___" in name[1:])


ENV_NAME = NAME.filter(is_in_an_environment)


@SOME
@given(
    st.dictionaries(ENV_NAME, TEXT, **ITEMS),
    st.dictionaries(ENV_NAME, WORD, max_size=10),
    st.sampled_from(["core", "sdk"]),
)
def test_invented_environments_read_as_in_airflow(airflow, tmp_path, connections, variables, dialect):
    environ = {f"AIRFLOW_CONN_{name.upper()}": text for name, text in connections.items()}
    environ |= {f"AIRFLOW_VAR_{name.upper()}": text for name, text in variables.items()}
    case = Case(said="", asks=(), environ=environ, dialect=dialect)
    check_all(airflow, "env", questions(connections, variables), tmp_path, case)


@SOME
@given(st.dictionaries(NAME, FIELDS | URI, **ITEMS), st.dictionaries(NAME, WORD, max_size=10))
def test_invented_json_files_read_as_in_airflow(airflow, tmp_path, connections, variables):
    # One connection that is none is the end of the whole file in Airflow (B8), and a text is a URI (B7).
    connections = {name: item for name, item in connections.items() if rule_of(item) is None}
    options = {}
    for option, items in (("connections_file_path", connections), ("variables_file_path", variables)):
        path = tmp_path / f"{option}.json"
        path.write_text(json.dumps(items, ensure_ascii=False), encoding="utf-8")
        options[option] = str(path)
    case = Case(said="", asks=(), kwargs=options)
    check_all(airflow, "file", questions(connections, variables), tmp_path, case)


ENV_LINE = NAME.filter(lambda name: "#" not in name and not name.startswith("export "))


@SOME
@given(
    connections=st.dictionaries(ENV_LINE, URI, **ITEMS),
    variables=st.dictionaries(ENV_LINE, WORD.filter(lambda text: text.splitlines() == [text]), max_size=10),
)
def test_invented_env_files_read_as_in_airflow(airflow, tmp_path, connections, variables):
    # One that is none is the end of the whole file in Airflow (B8).
    connections = {name: text for name, text in connections.items() if rule_of(text) is None}
    options = {}
    for option, items in (("connections_file_path", connections), ("variables_file_path", variables)):
        path = tmp_path / f"{option}.env"
        path.write_text("".join(f"{name}={text}\n" for name, text in items.items()), encoding="utf-8")
        options[option] = str(path)
    case = Case(said="", asks=(), kwargs=options, ours={"quotes": False})
    check_all(airflow, "file", questions(connections, variables), tmp_path, case)
