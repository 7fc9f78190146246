"""Files of `.env` that hold an environment, under Airflow's names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvalidInputError
from strongroom.model.document import format_variables
from strongroom.model.environment import parse_environment, spell, spell_all
from strongroom.model.ref import Ref
from strongroom.model.variable import Variable

CANARY = "cAnArY"
TEAM_FILE = f"""
# what our jobs need
PATH=/usr/bin
DEBUG=
set -a
TOKEN={CANARY}
TOKEN={CANARY}
export AIRFLOW_CONN_ORDERS_DB='postgresql://u:p%40ss@db/x'  # the orders
  export  AIRFLOW_CONN_LAKE={{"conn_type": "aws"}}
AIRFLOW_CONN__DATA___ORDERS_DB="http://h"
AIRFLOW_CONN_SOON=
AIRFLOW_CONN_LATER=""
AIRFLOW_VAR_REGION=eu
AIRFLOW_VAR_EMPTY=
AIRFLOW_VAR_KEY="one
two"
"""


def test_connections_of_an_environment_are_read():
    found = parse_environment(TEAM_FILE, "connection")
    assert found.values == {
        "orders_db": "postgresql://u:p%40ss@db/x",
        "lake": '{"conn_type": "aws"}',
        "_data___orders_db": "http://h",
    }
    assert found.places == {
        "orders_db": (None, "orders_db"),
        "lake": (None, "lake"),
        "_data___orders_db": ("data", "orders_db"),
    }
    assert found.passed_over == 10


def test_variables_of_an_environment_are_read_and_may_be_empty():
    found = parse_environment(TEAM_FILE, "variable")
    assert found.values == {"region": "eu", "empty": "", "key": "one\ntwo"}
    assert found.passed_over == 10


def test_file_of_the_other_kind_has_no_entries_and_is_still_an_environment():
    found = parse_environment("AIRFLOW_CONN_A=http://a\n", "variable")
    assert (found.values, found.passed_over) == ({}, 1)


@pytest.mark.parametrize(
    "text", ["a=http://a\n", "MY_AIRFLOW_CONN_A=x\n", "a=AIRFLOW_CONN_A=x\n", "", "# AIRFLOW_VAR_A=1"]
)
def test_file_without_a_prefixed_name_is_no_environment(text):
    assert parse_environment(text, "connection") is None


@pytest.mark.parametrize(
    ("text", "rule", "told"),
    [
        (f"AIRFLOW_CONN_DB={CANARY}\nAIRFLOW_CONN_Db=b\n", "F14", '"AIRFLOW_CONN_DB" and "AIRFLOW_CONN_Db"'),
        (f"AIRFLOW_CONN_DB={CANARY}\nexport AIRFLOW_CONN_DB=b\n", "F6", '"AIRFLOW_CONN_DB"'),
        (f"AIRFLOW_CONN_={CANARY}\n", "F14", "line 1"),
        (f"AIRFLOW_CONN__-___A={CANARY}\n", "F14", "line 1"),
        (f"AIRFLOW_CONN__DATA___={CANARY}\n", "F14", "line 1"),
        (f"X=1\nAIRFLOW_CONN_A = {CANARY}\n", "F14", "line 2"),
        (f"X=1\nAIRFLOW_CONN_A= '{CANARY}'\n", "F14", "line 2"),
        (f"AIRFLOW_CONN_A=http://a\nAIRFLOW_CONN_B {CANARY}\n", "F4", "line 2"),
        (f"AIRFLOW_CONN_A=http://a\nX='{CANARY}\n", "F5", "line 2"),
    ],
)
def test_fault_is_refused_by_name_or_line_and_tells_no_text(text, rule, told):
    with pytest.raises(InvalidInputError) as caught:
        parse_environment(text, "connection")
    assert caught.value.rule == rule
    assert told in str(caught.value)
    assert CANARY not in str(caught.value) + repr(caught.value.__dict__)


def test_values_do_not_print():
    assert CANARY not in repr(parse_environment(f"AIRFLOW_VAR_A={CANARY}", "variable"))


@pytest.mark.parametrize("names", [["a", "A"], ["_data___x"], [" a"], ["a "]])
def test_names_an_environment_cannot_hold_are_refused_by_name(names):
    with pytest.raises(InvalidInputError) as caught:
        spell_all(Ref("variable", name) for name in names)
    assert caught.value.rule == "F13"
    assert f'"{names[0]}"' in str(caught.value)


NAME = st.from_regex(r"\A[a-z][a-z0-9_./ -]{0,10}[a-z]\Z").filter(lambda name: "/" not in name)
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)


@given(
    items=st.dictionaries(
        st.tuples(NAME, st.sampled_from([None, "data", "ops-2"])),
        TEXT | st.sampled_from([' "', "'", " '"]),
        min_size=1,
    )
)
def test_any_variables_come_back_from_the_environment_they_were_written_to(items):
    refs = {Ref("variable", name, team): text for (name, team), text in items.items()}
    names = spell_all(refs)
    written = format_variables(
        {names[ref]: Variable.from_document(ref.name, {"value": text}) for ref, text in refs.items()}, "env"
    )
    found = parse_environment(written, "variable")
    assert found.passed_over == 0
    back = {Ref("variable", name, team): found.values[key] for key, (team, name) in found.places.items()}
    assert back == refs
    assert {spell(ref) for ref in back} == set(names.values())
