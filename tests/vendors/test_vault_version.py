"""What version 2 of the engine says of versions, and credentials joined with what is stored."""

from datetime import datetime, timedelta, timezone

import pytest

from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.secret import Secret
from strongroom.testing.contract import CANARY
from strongroom.vendors.vault_lease import Leased
from strongroom.vendors.vault_lent import joined, without_lent
from strongroom.vendors.vault_version import facts_in

NOW = datetime(2030, 1, 1, tzinfo=timezone.utc)


def version(created="2029-12-31T23:00:00.123456789Z", deleted="", **more):
    return {"created_time": created, "deletion_time": deleted, "destroyed": False, **more}


def test_versions_come_newest_first_with_their_times_in_utc():
    facts = facts_in(
        {
            "current_version": 10,
            "versions": {"9": version("2029-12-31T23:00:00+02:00"), "10": version(), "2": version()},
        },
        NOW,
    )
    assert [one.number for one in facts.versions] == [10, 9, 2]
    assert facts.latest.created_at == NOW - timedelta(hours=1) + timedelta(microseconds=123456)
    assert facts.versions[1].created_at == NOW - timedelta(hours=3)
    assert facts.stands


@pytest.mark.parametrize(
    ("deleted", "is_deleted"),
    [
        ("", False),
        ("2029-12-31T23:59:59Z", True),
        ("2030-01-01T00:00:30.5Z", True),  # the server's clock is a little ahead
        ("2030-01-01T01:00:00Z", False),  # delete_version_after: not yet
        ("0001-01-01T00:00:00Z", True),
    ],
)
def test_version_is_deleted_from_its_time_on(deleted, is_deleted):
    facts = facts_in({"current_version": 1, "versions": {"1": version(deleted=deleted)}}, NOW)
    assert facts.latest.is_deleted is is_deleted
    assert facts.stands is not is_deleted


def test_key_without_versions_stands_for_nothing():
    facts = facts_in({"current_version": 0, "versions": {}}, NOW)
    assert (facts.latest, facts.stands, facts.versions) == (None, False, ())


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"current_version": "1", "versions": {}},
        {"current_version": True, "versions": {}},
        {"current_version": 1, "versions": []},
        {"current_version": 1, "versions": {"1": None}},
        {"current_version": 1, "versions": {"1": {}}},
        {"current_version": 1, "versions": {"one": version()}},
        {"current_version": 1, "versions": {"0": version()}},
        {"current_version": 1, "versions": {"9" * 40: version()}},
        {"current_version": 1, "versions": {"1": version("2029-13-31T23:00:00Z")}},
        {"current_version": 1, "versions": {"1": version("9999-12-31T23:59:59-23:59")}},
        {"current_version": 1, "versions": {"1": version("yesterday")}},
    ],
)
def test_what_is_no_answer_of_the_server_is_none(data):
    assert facts_in(data, NOW) is None


def leased(**more):
    return Leased(login=Secret("AKIA"), password=Secret("p/w"), mark="m", **more)


def test_lent_parts_replace_those_stored_and_the_rest_stays():
    stored = '{"conn_type": "aws", "login": "old", "password": "old", "extra": {"region_name": "eu"}}'
    found = Connection.parse(joined(stored, leased(token=Secret("t"))).reveal())
    assert (found.login, found.password.reveal()) == ("AKIA", "p/w")
    assert found.extra.reveal() == {"region_name": "eu", "aws_session_token": "t"}
    assert Connection.parse(joined("aws://", leased(token=Secret("t"))).reveal()).extra.reveal() == {
        "aws_session_token": "t"
    }
    again = without_lent(joined(stored, leased(token=Secret("t"))).reveal())
    assert Connection.parse(again) == Connection.parse('{"conn_type": "aws", "extra": {"region_name": "eu"}}')


@pytest.mark.parametrize("text", ["http://h:80/?a=1", '{"conn_type": "http", "host": "h"}'])
def test_connection_with_nothing_lent_is_stored_as_it_was_written(text):
    assert without_lent(text) == text


def test_text_that_is_no_connection_is_refused_without_showing_it():
    for work in (lambda: joined(f"{CANARY} no uri", leased()), lambda: without_lent(f"{CANARY} no uri")):
        with pytest.raises(InvalidInputError) as caught:
            work()
        assert CANARY not in str(caught.value) + repr(vars(caught.value))
