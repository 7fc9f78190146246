"""References inside values: what they look like, what they become, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import (
    BackendUnavailableError,
    InvalidInputError,
    MalformedEntryError,
    NotFoundError,
)
from strongroom.model.connection import Connection
from strongroom.model.entry import MAX_VALUE_BYTES, Entry, Metadata
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.model.template import (
    MAX_DEPTH,
    MAX_REFERENCES,
    Reference,
    encoded,
    escape,
    parse,
    references_of,
    resolve,
)
from strongroom.testing.fakes import frozen_clock


def variable(name: str, team: str | None = None) -> Ref:
    return Ref("variable", name, team)


def connection(name: str, team: str | None = None) -> Ref:
    return Ref("connection", name, team)


def entry(ref: Ref, text: str, *, references: bool = True, **changes) -> Entry:
    made = Entry(
        ref=ref,
        secret=Secret(text),
        backend="native",
        version="1",
        read_at=frozen_clock(),
        metadata=Metadata(references=references),
    )
    return replace(made, **changes)


class Room:
    """Entries by Ref, and who was asked for."""

    def __init__(self, *entries: Entry):
        self.held = {one.ref: one for one in entries}
        self.asked: list[Ref] = []

    def read(self, ref: Ref) -> Entry | None:
        self.asked.append(ref)
        return self.held.get(ref)

    def resolved(self, ref: Ref) -> Entry:
        return resolve(self.held[ref], self.read)

    def text(self, ref: Ref) -> str:
        return self.resolved(ref).secret.reveal()

    def fields(self, ref: Ref) -> dict:
        return json.loads(self.text(ref))


BASE = entry(
    connection("base"),
    json.dumps(
        {
            "conn_type": "postgres",
            "host": "db",
            "login": "ann",
            "password": 'p"/@ß',
            "port": 5432,
            "extra": {"sslmode": "require", "retries": 3, "deep": {"key": "k"}, "on": True},
        }
    ),
    references=False,
)
REGION = entry(variable("region"), "eu", references=False)


# --- what a reference looks like ---


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ()),
        ("plain $ {x} $x }", ("plain $ {x} $x }",)),
        ("${variable/region}", (Reference("variable", None, "region"),)),
        (
            "a${connection.password/base}b",
            ("a", Reference("connection", "password", "base"), "b"),
        ),
        ("${variable/a/b c:#%*}", (Reference("variable", None, "a/b c:#%*"),)),
        ("${connection.extra.k.l/base}", (Reference("connection", "extra.k.l", "base"),)),
        ("$${variable/x}", ("${variable/x}",)),
        ("$$${variable/x}", ("$", Reference("variable", None, "x"))),
        ("$$$${variable/x}", ("$${variable/x}",)),
        ("$${", ("${",)),
        (
            "${variable/a}${variable/b}",
            (Reference("variable", None, "a"), Reference("variable", None, "b")),
        ),
    ],
)
def test_a_text_is_taken_apart_into_texts_and_references(text, parts):
    assert parse(text) == parts


@pytest.mark.parametrize(
    ("text", "offset"),
    [
        ("${", 0),
        ("ab${}", 2),
        ("${HOME}", 0),
        ("${variable}", 0),
        ("${variable/}", 0),
        ("${variable.field/x}", 0),
        ("${connection/x}", 0),
        ("${connection./x}", 0),
        ("${connection.passwort/x}", 0),
        ("${connection.extra/x}", 0),
        ("${connection.extra./x}", 0),
        ("${config/x}", 0),
        ("${Variable/x}", 0),
        ("${ variable/x}", 0),
        ("${variable/x", 0),
        ("${variable/x\n}", 0),
        ("${variable/a${variable/b}}", 0),
        ("$$$ ${nothing}", 4),
    ],
)
def test_what_is_no_reference_is_refused_with_its_place_and_without_the_text(text, offset):
    with pytest.raises(InvalidInputError) as caught:
        parse(text)
    assert caught.value.offset == offset
    assert "HOME" not in str(caught.value)


@given(st.text(st.sampled_from("${}/abvariable.")))
def test_escaped_text_is_plain_text(text):
    assert "".join(parse(escape(text))) == text
    assert all(isinstance(part, str) for part in parse(escape(text)))


def test_a_long_run_of_dollars_costs_no_square():
    assert parse("$" * 1_000_000) == ("$" * 1_000_000,)


@pytest.mark.parametrize("field", ["host", "login", "schema"])
@pytest.mark.parametrize("name", ["pw", "Region", "a/b c:#%*?@[x]&=+"])
def test_a_reference_in_a_uri_arrives_whole_in_its_field(field, name):
    reference = f"${{variable/{name}}}"
    fields = {"host": "h", "login": "u", "schema": "s"} | {field: reference}
    uri = f"x://{fields['login']}:p{reference}@{fields['host']}/{fields['schema']}?k={reference}"
    made = Connection.parse(encoded(uri))
    assert getattr(made, field) == reference
    assert (made.password.reveal(), made.extra.reveal()) == (f"p{reference}", {"k": reference})


def test_what_is_no_reference_in_a_uri_stays_or_is_refused():
    assert encoded("x://u:$${variable/x}@h") == "x://u:$${variable/x}@h"
    with pytest.raises(InvalidInputError) as caught:
        encoded("x://u:${nothing}@h")
    assert caught.value.offset == 6


# --- who is referred to ---


def test_references_are_found_wherever_they_may_stand():
    text = json.dumps(
        {
            "extends": "base",
            "password": "${connection.password/other}",
            "extra": {"list": ["${variable/region}"], "again": "${variable/region}"},
        }
    )
    assert references_of(connection("x"), text) == (
        connection("base"),
        connection("other"),
        variable("region"),
    )


def test_references_in_an_extra_written_as_text_are_found():
    text = json.dumps({"extra": json.dumps({"token": "${variable/token}"})})
    assert references_of(connection("x"), text) == (variable("token"),)


def test_references_stand_in_the_team_of_what_is_written():
    assert references_of(variable("x", "data"), "${variable/y}") == (variable("y", "data"),)
    assert references_of(connection("x"), "postgres://u:${variable/pw}@h") == (variable("pw"),)


def test_a_json_variable_is_plain_text_to_references():
    assert references_of(variable("x"), '{"extends": "base", "a": "${variable/y}"}') == (variable("y"),)


@pytest.mark.parametrize("text", ["${nothing}", '{"extends": 5}', '{"host": '])
def test_a_writer_is_told_what_is_malformed(text):
    with pytest.raises(InvalidInputError):
        references_of(connection("x"), text)


# --- resolving ---


def test_an_entry_without_references_switched_on_is_left_alone():
    room = Room(entry(variable("x"), "${variable/region}", references=False), REGION)
    assert room.resolved(variable("x")) is room.held[variable("x")]
    assert room.asked == []


def test_a_variable_is_filled_in():
    room = Room(entry(variable("x"), "in ${variable/region}, not $${variable/region}"), REGION)
    assert room.text(variable("x")) == "in eu, not ${variable/region}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("conn_type", "postgres"),
        ("host", "db"),
        ("login", "ann"),
        ("password", 'p"/@ß'),
        ("port", "5432"),
        ("extra.sslmode", "require"),
        ("extra.retries", "3"),
        ("extra.on", "true"),
        ("extra.deep.key", "k"),
        ("extra.deep", '{"key": "k"}'),
    ],
)
def test_every_field_of_a_connection_can_be_referred_to(field, value):
    room = Room(entry(variable("x"), f"${{connection.{field}/base}}"), BASE)
    assert room.text(variable("x")) == value


@pytest.mark.parametrize("field", ["schema", "description", "extra.none", "extra.sslmode.deeper"])
def test_a_field_that_is_not_there_makes_the_entry_malformed(field):
    room = Room(entry(variable("x"), f"${{connection.{field}/base}}"), BASE)
    with pytest.raises(MalformedEntryError):
        room.resolved(variable("x"))


def test_what_is_put_in_cannot_break_out_of_a_json_string():
    text = json.dumps({"conn_type": "http", "password": "${connection.password/base}", "extra": {"a": [1]}})
    fields = Room(entry(connection("x"), text), BASE).fields(connection("x"))
    assert fields == {"conn_type": "http", "password": 'p"/@ß', "extra": {"a": [1]}}


def test_what_is_put_in_cannot_break_out_of_an_extra_written_as_text():
    text = json.dumps({"conn_type": "http", "extra": json.dumps({"a": "${connection.password/base}"})})
    fields = Room(entry(connection("x"), text), BASE).fields(connection("x"))
    assert fields["extra"] == {"a": 'p"/@ß'}


def test_what_is_put_into_a_uri_is_percent_encoded_and_the_uri_stays_one():
    room = Room(entry(connection("x"), "postgres://u:${connection.password/base}@h/s"), BASE)
    assert room.text(connection("x")) == "postgres://u:p%22%2F%40%C3%9F@h/s"
    assert Connection.parse(room.text(connection("x"))).password.reveal() == 'p"/@ß'


def test_what_is_put_in_is_not_looked_through_again():
    room = Room(
        entry(variable("x"), "${variable/y}"),
        entry(variable("y"), "${variable/region}", references=False),
        REGION,
    )
    assert room.text(variable("x")) == "${variable/region}"
    assert room.asked == [variable("y")]


def test_a_resolved_entry_is_not_resolved_twice():
    room = Room(entry(variable("x"), "$${variable/region}"), REGION)
    once = room.resolved(variable("x"))
    assert resolve(once, room.read) is once


def test_a_port_may_be_referred_to():
    text = json.dumps({"conn_type": "x", "port": "${connection.port/base}"})
    assert Room(entry(connection("x"), text), BASE).fields(connection("x"))["port"] == 5432


def test_an_empty_password_is_kept():
    text = json.dumps({"conn_type": "x", "password": "", "host": "${variable/region}"})
    assert Room(entry(connection("x"), text), REGION).fields(connection("x"))["password"] == ""


def test_what_is_put_in_cannot_break_out_of_a_variable_that_is_json():
    value = entry(variable("v"), 'x", "admin": "true', references=False)
    for text in ('{"user": "${variable/v}"}', ' ["${variable/v}"]', '{"a": {"${variable/v}": 1}}'):
        found = json.loads(Room(entry(variable("x"), text), value).text(variable("x")))
        assert found == json.loads(text.replace("${variable/v}", json.dumps('x", "admin": "true')[1:-1]))


def test_what_is_put_in_cannot_break_out_of_a_document_inside_of_extra():
    key = entry(variable("key"), 'BEGIN\n"quoted"\\END', references=False)
    document = json.dumps({"private_key": "${variable/key}", "twice": "${variable/key}"})
    text = json.dumps({"conn_type": "google_cloud_platform", "extra": {"keyfile_dict": document}})
    fields = Room(entry(connection("x"), text), key).fields(connection("x"))
    assert json.loads(fields["extra"]["keyfile_dict"])["private_key"] == 'BEGIN\n"quoted"\\END'


@pytest.mark.parametrize(
    "text", ["{{ ${variable/v} }}", "[a]\nb = ${variable/v}", '"${variable/v}', "<${variable/v}>"]
)
def test_in_a_text_that_is_no_json_a_value_stands_as_it_is(text):
    room = Room(entry(variable("x"), text), entry(variable("v"), 'a"b', references=False))
    assert room.text(variable("x")) == text.replace("${variable/v}", 'a"b')


@pytest.mark.parametrize(
    "query",
    [
        '__extra__={"a": "${variable/v}", "b": 1}',
        "__extra__=%7B%22a%22%3A+%22${variable/v}%22%2C%22b%22%3A1%7D",
        "%5F_extra__=%7B%22a%22%3A%22${variable/v}%22%2C%22b%22%3A1%7D&c=d",
    ],
)
def test_what_is_put_in_cannot_break_out_of_the_json_inside_a_uri(query):
    value = entry(variable("v"), 'x", "admin": "true&__extra__={}#', references=False)
    text = Room(entry(connection("x"), f"http://u@h/?{query}"), value).text(connection("x"))
    assert Connection.parse(text).extra.reveal() == {"a": 'x", "admin": "true&__extra__={}#', "b": 1}


def test_all_of_the_json_inside_a_uri_may_be_referred_to():
    value = entry(variable("v"), '{"a": "b"}', references=False)
    text = Room(entry(connection("x"), "http://h/?__extra__=${variable/v}"), value).text(connection("x"))
    assert Connection.parse(text).extra.reveal() == {"a": "b"}


@pytest.mark.parametrize("query", ['{"a": ${variable/v}}', "{${variable/v}}", "${variable/v}${variable/v}"])
def test_a_reference_outside_of_the_strings_of_the_json_inside_a_uri_is_refused(query):
    room = Room(
        entry(connection("x"), f"http://h/?__extra__={query}"), entry(variable("v"), "1", references=False)
    )
    with pytest.raises(MalformedEntryError, match="in no string of its JSON"):
        room.resolved(connection("x"))


def test_what_is_put_into_a_uri_that_stands_in_json_is_percent_encoded_too():
    value = entry(variable("v"), "x@evil.example:1/#", references=False)
    text = json.dumps({"uri": "http://u:${variable/v}@good.example/s"})
    fields = Room(entry(connection("x"), text), value).fields(connection("x"))
    assert (fields["host"], fields["password"]) == ("good.example", "x@evil.example:1/#")


def test_a_key_of_extra_may_hold_dots():
    base = entry(
        connection("kafka"),
        json.dumps(
            {"conn_type": "kafka", "extra": {"bootstrap.servers": "b:9092", "a": {"c.d": 5}, "a.c": 6}}
        ),
        references=False,
    )
    for field, value in (("bootstrap.servers", "b:9092"), ("a.c.d", "5"), ("a.c", "6")):
        text = f"${{connection.extra.{field}/kafka}}"
        assert Room(entry(variable("x"), text), base).text(variable("x")) == value


def test_a_large_connection_is_read_once_for_all_who_name_a_field_of_it():
    extra = {f"k{number}": "v" * 50 for number in range(5000)}
    base = entry(connection("b"), json.dumps({"conn_type": "x", "extra": extra}), references=False)
    text = "".join(f"${{connection.extra.k{number}/b}}" for number in range(5000))
    room = Room(entry(variable("x"), text), base)
    assert len(room.text(variable("x"))) == 250_000
    assert room.asked == [connection("b")]


# --- extends ---


def test_a_connection_extends_another_and_overrides_its_fields():
    text = json.dumps(
        {"extends": "base", "host": "db-${variable/region}", "extra": {"sslmode": None, "new": 1}}
    )
    fields = Room(entry(connection("x"), text), BASE, REGION).fields(connection("x"))
    assert fields == {
        "conn_type": "postgres",
        "host": "db-eu",
        "login": "ann",
        "password": 'p"/@ß',
        "port": 5432,
        "extra": {"sslmode": None, "retries": 3, "deep": {"key": "k"}, "on": True, "new": 1},
    }


def test_null_takes_a_field_away():
    text = json.dumps({"extends": "base", "password": None, "extra": None})
    fields = Room(entry(connection("x"), text), BASE).fields(connection("x"))
    assert set(fields) == {"conn_type", "host", "login", "port"}


def test_a_base_may_be_a_uri_and_extend_in_its_turn():
    room = Room(
        entry(connection("x"), '{"extends": "middle", "schema": "s"}'),
        entry(connection("middle"), '{"extends": "root", "login": "m"}'),
        entry(connection("root"), "mysql://r:pw@h:1/", references=False),
    )
    assert room.fields(connection("x")) == {
        "conn_type": "mysql",
        "host": "h",
        "login": "m",
        "password": "pw",
        "schema": "s",
        "port": 1,
    }


def test_extends_means_nothing_where_references_are_off():
    room = Room(entry(connection("x"), '{"extends": "base"}', references=False), BASE)
    assert room.text(connection("x")) == '{"extends": "base"}'


@pytest.mark.parametrize(
    "text",
    [
        '{"extends": 5}',
        '{"extends": "/bad"}',
        '{"extends": "nowhere"}',
        '{"extends": "base", "uri": "a://b"}',
        '{"extends": "base", "colour": "red"}',
        '{"host": ',
        '{"host": "${nothing}"}',
    ],
)
def test_a_connection_that_cannot_be_made_is_malformed(text):
    with pytest.raises(MalformedEntryError) as caught:
        Room(entry(connection("x"), text), BASE).resolved(connection("x"))
    assert caught.value.backend == "native"
    assert "red" not in str(caught.value)


# --- limits ---


def chain_of(length: int) -> Room:
    entries = [entry(variable(str(index)), f"${{variable/{index + 1}}}") for index in range(length)]
    return Room(*entries, entry(variable(str(length)), "end"))


def test_references_go_as_deep_as_the_limit_and_no_deeper():
    assert chain_of(MAX_DEPTH).text(variable("0")) == "end"
    with pytest.raises(MalformedEntryError):
        chain_of(MAX_DEPTH + 1).resolved(variable("0"))


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_cycle_is_refused(length):
    entries = [
        entry(variable(str(index)), f"${{variable/{(index + 1) % length}}}") for index in range(length)
    ]
    with pytest.raises(MalformedEntryError):
        Room(*entries).resolved(variable("0"))


def test_a_cycle_of_extends_is_refused():
    room = Room(
        entry(connection("a"), '{"extends": "b"}'),
        entry(connection("b"), '{"extends": "a"}'),
    )
    with pytest.raises(MalformedEntryError):
        room.resolved(connection("a"))


def test_an_entry_named_often_is_read_once_and_is_no_cycle():
    room = Room(
        entry(variable("x"), "${variable/y}${variable/z}${variable/y}"),
        entry(variable("y"), "${variable/z}"),
        entry(variable("z"), "z"),
    )
    assert room.text(variable("x")) == "zzz"
    assert room.asked == [variable("y"), variable("z")]


def test_values_that_multiply_are_stopped_at_the_limit_of_a_value():
    entries = [entry(variable(f"v{index}"), f"${{variable/v{index + 1}}}" * 10) for index in range(7)]
    room = Room(*entries, entry(variable("v7"), "x" * 1000))
    with pytest.raises(MalformedEntryError):
        room.resolved(variable("v0"))


def test_the_limit_counts_bytes():
    held = entry(variable("v"), "\u00e9" * 600_000, references=False)
    with pytest.raises(MalformedEntryError, match="over 1048576 bytes"):
        Room(entry(variable("x"), "<${variable/v}>"), held).resolved(variable("x"))


@pytest.mark.parametrize("text", ["<${variable/v}>", '{"a": "${variable/v}"}'])
def test_what_is_not_unicode_is_refused_and_not_told(text):
    held = entry(variable("v"), "canary\ud800", references=False)
    with pytest.raises(MalformedEntryError, match="not Unicode text") as caught:
        Room(entry(variable("x"), text), held).resolved(variable("x"))
    assert "canary" not in str(caught.value)
    with pytest.raises(MalformedEntryError, match="not Unicode text"):
        Room(entry(connection("x"), "x://${variable/v}"), held).resolved(connection("x"))


def test_many_large_leaves_are_stopped_together():
    text = json.dumps({"extra": {str(index): "${variable/big}" for index in range(100)}})
    big = entry(variable("big"), "x" * (MAX_VALUE_BYTES // 2), references=False)
    with pytest.raises(MalformedEntryError):
        Room(entry(connection("x"), text), big).resolved(connection("x"))


def test_one_lookup_reads_a_bounded_number_of_entries():
    names = [f"v{index}" for index in range(MAX_REFERENCES + 1)]
    room = Room(
        entry(variable("x"), "".join(f"${{variable/{name}}}" for name in names)),
        *(entry(variable(name), "") for name in names),
    )
    with pytest.raises(MalformedEntryError):
        room.resolved(variable("x"))
    assert len(room.asked) == MAX_REFERENCES


# --- outcomes ---


def test_a_reference_to_nothing_is_malformed_not_absent():
    room = Room(entry(variable("x"), "${variable/none}"))
    with pytest.raises(MalformedEntryError) as caught:
        room.resolved(variable("x"))
    assert "none" in str(caught.value)

    def not_found(ref):
        raise NotFoundError("nowhere")

    with pytest.raises(MalformedEntryError):
        resolve(room.held[variable("x")], not_found)


def test_any_other_trouble_of_a_reference_is_the_readers():
    error = BackendUnavailableError("down", backend="vault")

    def read(ref):
        raise error

    with pytest.raises(BackendUnavailableError) as caught:
        resolve(entry(variable("x"), "${variable/y}"), read)
    assert caught.value is error


def test_what_cannot_be_used_is_told_with_the_field_that_refers_to_it_and_as_its_owners():
    def read(ref):
        raise MalformedEntryError("y is expired", backend="vault", ref="y", reason="expired", hint="renew it")

    text = '{"conn_type": "x", "extra": {"a": ["${variable/y}"]}}'
    with pytest.raises(MalformedEntryError) as caught:
        resolve(entry(connection("x"), text), read)
    error = caught.value
    assert str(error).endswith("extra.a refers to what cannot be used: y is expired")
    assert (error.backend, error.ref, error.reason, error.hint) == ("vault", "y", "expired", "renew it")


def test_a_connection_that_is_none_is_told_with_the_field_that_refers_to_it():
    broken = entry(connection("broken"), "canary", references=False)
    text = '{"conn_type": "x", "login": "${connection.login/broken}"}'
    with pytest.raises(MalformedEntryError) as caught:
        Room(entry(connection("x"), text), broken).resolved(connection("x"))
    assert 'login refers to what cannot be used: connection "broken"' in str(caught.value)
    assert "canary" not in str(caught.value)
    assert caught.value.ref == 'connection "broken"'


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"conn_type": "x", "host": "${nothing/x}"}', "host: what follows ${ is no reference"),
        ('{"conn_type": "x", "extra": {"a": {"b": "${variable/"}}}', "extra.a.b: what follows"),
        ('{"conn_type": "x", "host": "${variable/../x}"}', "host refers to a name that there cannot be"),
        ('{"extends": "../x"}', "extends refers to a name that there cannot be"),
        ("x://h/${nothing}", "the URI: what follows"),
        ("x://h/${variable//x}", "the URI refers to a name that there cannot be"),
        ('{"conn_type": "x", "host": "${connection.extra.a\\u001bb/base}"}', "host refers to extra.? of"),
    ],
)
def test_whatever_is_wrong_with_a_reference_the_field_it_stands_in_is_named(text, place):
    with pytest.raises(MalformedEntryError) as caught:
        Room(entry(connection("x"), text), BASE).resolved(connection("x"))
    assert place in str(caught.value)


def test_references_are_read_in_the_team_of_the_entry_that_holds_them():
    room = Room(
        entry(variable("x", "data"), "${variable/y}"),
        entry(variable("y", "data"), "team"),
        entry(variable("y"), "global"),
        entry(variable("x"), "${variable/y}"),
    )
    assert room.text(variable("x", "data")) == "team"
    assert room.text(variable("x")) == "global"


def test_the_lifetime_is_the_shortest_of_all():
    room = Room(
        entry(variable("x"), "${variable/y}${variable/z}"),
        entry(variable("y"), "", lifetime=timedelta(seconds=9)),
        entry(variable("z"), "${variable/w}", lifetime=timedelta(seconds=60)),
        entry(variable("w"), "", lifetime=timedelta(seconds=5)),
    )
    assert room.resolved(variable("x")).lifetime == timedelta(seconds=5)


def test_what_rests_on_a_stale_entry_is_stale():
    room = Room(entry(variable("x"), "${variable/y}"), entry(variable("y"), "", is_stale=True))
    assert room.resolved(variable("x")).is_stale


def test_a_malformed_reference_in_a_stored_text_is_told_with_its_offset():
    with pytest.raises(MalformedEntryError) as caught:
        Room(entry(variable("x"), "ab${canary}")).resolved(variable("x"))
    assert caught.value.offset == 2
    assert "canary" not in str(caught.value)


# Names that a reference can spell, values that try to break out.
AWKWARD = st.text(st.sampled_from("\"'\\{}${/:@%ä\n a"), max_size=12)


@given(AWKWARD, AWKWARD)
def test_whatever_the_value_it_arrives_as_it_is(value, around):
    held = entry(variable("v"), value, references=False)
    before = escape(around + " ")
    text = json.dumps({"conn_type": "x", "login": before + "${variable/v}", "extra": {"k": "${variable/v}"}})
    fields = Room(entry(connection("x"), text), held).fields(connection("x"))
    assert fields["login"] == around + " " + value
    assert fields["extra"]["k"] == value
