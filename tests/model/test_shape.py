"""The shapes a connection is kept in: each is read back to the same connection."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.extra import parse_extra
from strongroom.model.secret import Secret
from strongroom.model.shape import SHAPES, fields_of, shaped

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
CONNECTIONS = st.builds(
    Connection,
    conn_type=st.sampled_from(["postgres", "http", "aws"]),
    host=st.none() | st.sampled_from(["h", "db.example"]),
    login=st.none() | TEXTS,
    password=st.none() | st.builds(Secret, TEXTS),
    port=st.none() | st.integers(0, 65535),
    extra=st.none()
    | st.builds(parse_extra, st.sampled_from(["{}", '{"a": "b"}', '{"a": {"b": [1, null]}}'])),
)


@given(CONNECTIONS, st.sampled_from(SHAPES), st.sampled_from(["json", "uri"]))
def test_every_shape_is_read_back_to_the_same_connection_or_refused(connection, shape, form):
    try:
        text = connection.format(form).reveal()
        stored = shaped(text, shape)
    except InvalidInputError:
        assert "uri" in (form, shape)  # the one form that can lose anything
    else:
        assert Connection.parse(stored, "sdk") == connection


def test_text_that_is_no_connection_is_refused_unless_it_is_kept_as_given():
    assert shaped("no connection", "given") == "no connection"
    for shape in ("uri", "json", "fields"):
        with pytest.raises(InvalidInputError):
            shaped("no connection", shape)


def test_fields_are_those_that_are_set_and_extra_is_an_object():
    assert fields_of("http://u:p@h/s?a=b") == {
        "conn_type": "http",
        "host": "h",
        "login": "u",
        "password": "p",
        "schema": "s",
        "extra": {"a": "b"},
    }
