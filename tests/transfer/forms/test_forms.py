"""What holds for every form: one alone claims a text, nothing leaks, what is written comes back."""

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from form_cases import check_back, fields_of
from strongroom.errors import InvalidInputError
from strongroom.model.connection import Connection
from strongroom.model.extra import Extra
from strongroom.model.secret import Secret
from strongroom.transfer.forms import forms, read_any, write_any
from strongroom.transfer.forms.form import Look

FORMS = {one.name: one for one in forms()}
WRITTEN = [one.name for one in forms() if one.is_written]
CANARY = "hunter2canary"
MARKS = "=;:/@'\"\\{}[]()%&?#, \n\t$`-!*|<>\x00\u2028é"


@pytest.mark.parametrize("name", FORMS)
def test_one_form_alone_claims_its_example(name):
    read = read_any(FORMS[name].example)
    assert read.form == name
    assert read.connections


@pytest.mark.parametrize("name", WRITTEN)
def test_what_an_example_says_is_written_and_read_back(name):
    for called, connection in read_any(FORMS[name].example).connections.items():
        check_back(connection, name, called or "name")


def _pieces():
    examples = st.sampled_from([one.example for one in forms()])
    cut = st.builds(
        lambda text, start, end: text[start : start + end], examples, st.integers(0, 120), st.integers(0, 120)
    )
    return st.lists(
        st.one_of(examples, cut, st.text(MARKS, max_size=8), st.text(max_size=8)), max_size=4
    ).map("".join)


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(text=_pieces(), form=st.sampled_from([None, *FORMS]))
def test_any_garbage_is_read_or_refused_with_a_place_inside_it(text, form):
    try:
        read = read_any(text, form=form)
    except InvalidInputError as error:
        offset = error.offset or 0
        read = None
    else:
        offset = 0
    assert 0 <= offset <= len(text)
    if read is None:
        return
    for name, connection in read.connections.items():
        for target in (read.form, "sqlalchemy", "odbc"):
            try:
                written = write_any(connection, target, name=name or "name").reveal()
            except InvalidInputError:
                continue
            assert list(read_any(written, form=target).connections.values()) == [connection]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(FORMS)), form=st.sampled_from([None, "own"]))
def test_no_refusal_and_no_warning_repeats_any_of_the_text(data, name, form):
    example = FORMS[name].example
    at = data.draw(st.integers(0, len(example)))
    marks = st.sampled_from(["", *MARKS])
    text = example[:at] + data.draw(marks) + CANARY + data.draw(marks) + example[at:]
    try:
        read = read_any(text, form=name if form else None)
    except InvalidInputError as error:
        told = f"{error!r} {error} {error.hint}"
    else:
        # A host, schema or type is shown as it is: what is looked at here is what a refusal would show.
        told = f"{read!r} {' '.join(read.warnings)}"
    assert CANARY not in told.lower()


FRAGMENTS = [
    "=",
    "a=b;",
    "{",
    "}}",
    "'",
    '"',
    "\\",
    "%41",
    "@",
    ",",
    "&a=b",
    "\n",
    "a b ",
    "Host *a*b*\n",
    "\n[a]\n",
]


@pytest.mark.parametrize("name", sorted(FORMS))
def test_a_long_text_of_marks_is_answered(name):
    # Were a pattern to go back and forth over it, this would not end: 100,000 squared.
    for fragment in FRAGMENTS:
        for text in (FORMS[name].example, FORMS[name].example[: len(FORMS[name].example) // 2]):
            with suppress(InvalidInputError):
                read_any(text + fragment * (100_000 // len(fragment)), form=name)


def test_a_text_over_a_mebibyte_is_refused():
    with pytest.raises(InvalidInputError) as caught:
        read_any("postgres://h/" + "a" * 1_048_576)
    assert caught.value.limit == 1_048_576


@pytest.mark.parametrize(
    "conn_type", ["postgres", "mysql", "redis", "amqp", "http", "trino", "druid", "mssql"]
)
def test_an_airflow_uri_with_documents_in_extra_is_told_from_the_others(conn_type):
    made = Connection(
        conn_type=conn_type, host="h", schema="a/b", extra=Extra({"a": {"b": 1}, "driver": "x"})
    )
    read = read_any(write_any(made, "airflow-uri").reveal())
    assert (read.form, list(read.connections.values())) == ("airflow-uri", [made])


def test_a_nul_character_is_refused_both_ways():
    with pytest.raises(InvalidInputError, match="NUL") as caught:
        read_any(f" postgres://u:{CANARY}\0@h")
    assert caught.value.offset == 14 + len(CANARY)
    with pytest.raises(InvalidInputError, match="NUL"):
        write_any(Connection(conn_type="postgres", host="h", password=Secret(f"{CANARY}\0")), "libpq")


def test_what_no_form_fits_names_every_form_and_why():
    with pytest.raises(InvalidInputError, match=f"{len(FORMS)} were tried") as caught:
        read_any("just words")
    assert all(name in (caught.value.hint or "") for name in FORMS)


def test_broken_json_is_told_with_its_place():
    with pytest.raises(InvalidInputError) as caught:
        read_any('  {"conn_type": "http",}')
    assert (caught.value.rule, caught.value.offset) == ("R13", 24 - 1)


def test_a_text_that_two_forms_read_is_refused_until_it_is_said_which():
    text = "host=db user=x password=a;port=1;database=d"
    with pytest.raises(InvalidInputError, match="can be read as libpq and adonet"):
        read_any(text)
    assert fields_of(read_any(text, form="libpq").connections[None])["password"] == "a;port=1;database=d"


def test_the_offset_counts_from_the_start_of_what_was_given():
    with pytest.raises(InvalidInputError) as caught:
        read_any("\n  jdbc:")
    assert caught.value.offset == 3


def test_an_unknown_form_is_refused_with_those_there_are():
    with pytest.raises(InvalidInputError, match="no such form") as caught:
        read_any("x", form="tarot")
    assert "jdbc" in (caught.value.hint or "")


def test_a_look_never_raises_on_what_is_not_json():
    assert Look("{").document is None


# --- round trips ---------------------------------------------------------------------------------

_ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
_PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=20)
_HOST = st.from_regex(r"[a-z][a-z0-9-]{0,10}(\.[a-z]{2,5})?", fullmatch=True)
_PORT = st.one_of(st.none(), st.integers(0, 65535))
_NO_SEMICOLON = _PLAIN.filter(lambda text: ";" not in text)


def _made(conn_type, *, extra=None, **fields):
    keys = list(fields)

    def make(values, more):
        given = dict(zip(keys, values, strict=True))
        if given.get("password") is not None:
            given["password"] = Secret(given["password"])
        return Connection(conn_type=conn_type, **given, extra=Extra(more) if more else None)

    return st.builds(make, st.tuples(*fields.values()), st.just({}) if extra is None else extra)


def _or_none(strategy):
    return st.one_of(st.none(), strategy)


def _some(**fields):
    return st.fixed_dictionaries({}, optional=fields)


_SQL = {
    "host": _HOST,
    "port": _PORT,
    "login": _or_none(_ANY),
    "password": _or_none(_ANY),
    "schema": _or_none(_ANY),
}
_SIGNED = {"host": _HOST, "port": _PORT, "login": _ANY, "password": _ANY, "schema": _or_none(_ANY)}
_PG = _some(
    sslmode=st.sampled_from(["require", "verify-full"]),
    application_name=_ANY,
    connect_timeout=st.integers(0, 99),
)
CARRIED = {
    "airflow-json": _made(
        "postgres", **_SQL, extra=st.dictionaries(_ANY, st.one_of(_ANY, st.integers(), st.booleans()))
    ),
    "airflow-env": _made("postgres", **_SQL, extra=st.dictionaries(_ANY, _ANY)),
    "libpq": _made("postgres", **_SQL, extra=_PG),
    "libpq-uri": _made("postgres", **_SQL, extra=_PG),
    "pg-service": _made(
        "postgres",
        host=_HOST,
        port=_PORT,
        login=_or_none(_PLAIN),
        password=_or_none(_PLAIN),
        schema=_or_none(_PLAIN),
        extra=_some(application_name=_PLAIN),
    ),
    "sqlalchemy": st.one_of(
        _made("postgres", **_SQL, extra=_PG),
        _made("mysql", **_SQL, extra=_some(charset=_ANY, ssl=st.just({"ca": "/ca.pem"}))),
        _made("mssql", **_SQL),
        _made("redshift", **_SQL),
        _made("vertica", **_SQL),
        _made("clickhouse", **_SQL),
        _made("sqlite", host=st.from_regex(r"/[a-z?#%é ]{1,10}[a-z]", fullmatch=True)),
        _made(
            "snowflake",
            login=_ANY,
            password=_ANY,
            extra=st.fixed_dictionaries({"account": _HOST}, optional={"warehouse": _ANY, "role": _ANY}),
        ),
    ),
    "jdbc": st.one_of(
        _made("postgres", **_SQL, extra=_some(application_name=_ANY)),
        _made("mysql", **_SQL, extra=_some(ssl_mode=st.just("REQUIRED"))),
        _made("redshift", **_SQL),
    ),
    "odbc": _made(
        "odbc",
        host=_PLAIN,
        port=_PORT,
        login=_or_none(_ANY),
        password=_or_none(_ANY),
        schema=_or_none(_ANY),
        extra=_some(Encrypt=_ANY),
    ),
    "adonet": _made("mssql", host=_HOST, port=_PORT, login=_ANY, password=_ANY, schema=_or_none(_ANY)),
    "mongodb": _made(
        "mongo", **_SIGNED, extra=_some(replicaSet=_ANY, ssl=st.booleans(), srv=st.just(False).filter(bool))
    ),
    "amqp": _made("amqp", **_SIGNED, extra=_some(heartbeat=_ANY, ssl=st.just(True))),
    "redis": _made(
        "redis",
        host=_HOST,
        port=_PORT,
        login=_or_none(_ANY),
        password=_or_none(_ANY),
        extra=_some(db=st.integers(0, 99), ssl=st.just(True)),
    ),
    "https": _made(
        "http", host=_HOST, port=_PORT, login=_or_none(_ANY), password=_or_none(_ANY), schema=st.just("https")
    ),
    "kafka": _made(
        "kafka", extra=st.dictionaries(st.from_regex(r"sasl\.[a-z]{1,5}x", fullmatch=True), _ANY, min_size=1)
    ),
    "aws": st.one_of(
        _made(
            "aws",
            login=_PLAIN,
            password=_PLAIN,
            extra=_some(
                region_name=_PLAIN,
                aws_session_token=_PLAIN,
                role_arn=_PLAIN,
            ),
        ),
        _made(
            "aws",
            extra=st.fixed_dictionaries(
                {"role_arn": _PLAIN},
                optional={
                    "profile_name": _PLAIN,
                    "assume_role_kwargs": st.builds(
                        lambda name, seconds: {"RoleSessionName": name, "DurationSeconds": seconds},
                        _PLAIN,
                        st.integers(0, 43_200),
                    ),
                },
            ),
        ),
    ),
    "rds": _made("postgres", **_SQL),
    "azure-storage": _made("wasb", login=_NO_SEMICOLON, password=_NO_SEMICOLON),
    "azure-cosmos": _made("azure_cosmos", login=_NO_SEMICOLON, password=_NO_SEMICOLON),
    "ssh": _made(
        "ssh",
        host=_HOST,
        port=_PORT,
        login=_or_none(_HOST),
        extra=_some(compress=st.booleans(), key_file=st.just("/k e/y")),
    ),
}


@pytest.mark.parametrize("form", CARRIED)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
@given(data=st.data())
def test_what_a_form_can_carry_comes_back_the_same(form, data):
    check_back(data.draw(CARRIED[form]), form)


@pytest.mark.parametrize("form", sorted(set(WRITTEN) - {"airflow-json", "airflow-env"}))
def test_what_a_form_cannot_carry_is_refused_by_its_field(form):
    for connection in read_any(FORMS[form].example).connections.values():
        with pytest.raises(InvalidInputError, match="description") as caught:
            write_any(connection.replace(description=CANARY), form, name="orders")
        assert CANARY not in f"{caught.value} {caught.value.hint}"
