"""What is known of a stored text without handing it out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.model.condition import condition_of
from strongroom.model.entry import MAX_VALUE_BYTES, EntryState
from strongroom.testing.contract import BROKEN_CONNECTIONS, CANARY, CONNECTION_TEXT


def test_connection_that_parses_tells_its_type():
    assert condition_of("connection", CONNECTION_TEXT) == (EntryState.OK, "", "postgres")
    assert condition_of("connection", '{"host": "h"}') == (EntryState.OK, "", None)


@pytest.mark.parametrize("text", BROKEN_CONNECTIONS)
def test_connection_that_does_not_parse_tells_why_with_the_number_of_the_refusal(text):
    found = condition_of("connection", text)
    assert (found.state, found.conn_type) == (EntryState.UNPARSABLE, None)
    assert "(R" in found.problem
    assert CANARY not in found.problem


def test_variable_is_any_text_within_the_limit():
    assert condition_of("variable", "{not json").state is EntryState.OK
    assert condition_of("variable", "x" * (MAX_VALUE_BYTES + 1)).problem.endswith("(R2)")
    assert condition_of("variable", "\udce9").problem.endswith("(R3)")


def test_team_inside_a_connection_is_refused_as_its_reader_does():
    assert condition_of("connection", '{"conn_type": "http", "team_name": "x"}').problem.endswith("(R21)")


@given(
    st.sampled_from(BROKEN_CONNECTIONS), st.lists(st.tuples(st.integers(0, 99), st.characters()), max_size=3)
)
def test_whatever_is_wrong_with_a_text_the_reason_holds_none_of_it(text, planted):
    for offset, character in planted:
        text = text[:offset] + character + text[offset:]
    assert not any(
        piece in condition_of("connection", text).problem for piece in ("cAnArY", "5up3r", "s3cret")
    )
