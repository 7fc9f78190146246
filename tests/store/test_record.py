"""The meaning of columns, and the bytes that a MAC covers."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import InvalidInputError
from strongroom.model.entry import Metadata
from strongroom.model.ref import Ref
from strongroom.store import record

COLUMN = (
    st.none()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
    | st.binary(max_size=5)
    | st.integers(-(2**63), 2**63 - 1)
)


@given(one=st.lists(COLUMN, max_size=4), two=st.lists(COLUMN, max_size=4))
def test_two_different_rows_never_give_the_same_bytes(one, two):
    same = record.covered("entry", one) == record.covered("entry", two)
    assert same == (one == two and [type(x) for x in one] == [type(x) for x in two])


def test_bytes_of_a_row_are_as_written_down():
    assert record.covered("kek", (None, "é", b"\x00", -1)) == (
        b"srm/v1/row/kek\x00ns\x00\x00\x00\x02\xc3\xa9b\x00\x00\x00\x01\x00i" + b"\xff" * 8
    )


@pytest.mark.parametrize("column", [1.5, 2**63, "\ud800", [], object()])
def test_column_that_cannot_be_stored_is_refused(column):
    with pytest.raises(InvalidInputError):
        record.covered("entry", [column])


TIMES = st.none() | st.datetimes(
    datetime(1900, 1, 1),  # noqa: DTZ001 -- bounds, to which hypothesis adds the zone
    datetime(2200, 1, 1),  # noqa: DTZ001 -- as above
    timezones=st.just(timezone.utc),
)
TEXTS = st.none() | st.text(max_size=5)


@given(
    st.builds(
        Metadata,
        description=TEXTS,
        tags=st.sets(st.text(max_size=5)).map(lambda tags: tuple(sorted(tags))),
        owner=TEXTS,
        conn_type=TEXTS,
        remind_at=TIMES,
        not_after=TIMES,
        expires_at=TIMES,
        references=st.booleans(),
    )
)
def test_metadata_goes_into_a_row_and_comes_out_as_it_was(metadata):
    row = record.entry_row(Ref("connection", "x", "data"), metadata)
    assert (row.kind, row.name, row.team) == ("connection", "x", "data")
    assert record.metadata_of(row) == metadata


def test_times_keep_their_microsecond_and_lose_their_zone():
    east = datetime(2026, 11, 21, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=3)))
    assert record.moment(record.micros(east)) == east
    assert record.moment(record.micros(east)).utcoffset() == timedelta(0)


def test_row_stands_until_the_moment_it_expires():
    row = record.entry_row(Ref("variable", "x"), Metadata())
    assert record.stands(row, 5)
    assert not record.stands(row._replace(is_deleted=1), 5)
    assert [record.stands(row._replace(expires_at=at), 5) for at in (4, 5, 6)] == [False, False, True]


def test_ref_of_a_damaged_row_is_none():
    assert record.ref_of("variable", "x", "") == Ref("variable", "x")
    assert record.ref_of("secret", "x", "") is None
    assert record.ref_of("variable", "..", "") is None
    assert record.ref_of("variable", "x", "no team") is None
