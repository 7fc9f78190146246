"""Many names in one question: the same answers as one by one, each path asked for once."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parts.shelves import ShelfOptions, Shelves
from strongroom.backend import Batched, Fetched
from strongroom.backend.parallel import together
from strongroom.bulkhead import seconds_left, within
from strongroom.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    MalformedEntryError,
    StrongroomError,
)
from strongroom.model.entry import MAX_VALUE_BYTES
from strongroom.model.ref import Ref

CANARY = "cAnArY-91b7"


def variable(name, team=None):
    return Ref("variable", name, team)


def shelves(held=(), **options):
    made = Shelves(options=ShelfOptions(**options))
    made.held = {path: (text, "1") for path, text in dict(held).items()}
    return made


def told(answers):
    return [one.code if isinstance(one, StrongroomError) else one and one.secret.reveal() for one in answers]


def alone(backend, ref):
    try:
        return backend.read(ref)
    except StrongroomError as error:
        return error


def test_store_over_a_network_is_asked_for_many_and_a_local_one_is_not():
    far, near = shelves(), shelves()
    near.is_local = True
    assert isinstance(far, Batched)
    assert (far.is_batched, near.is_batched) == (True, False)


def test_answers_come_in_order_with_repeats_and_each_path_is_asked_for_once():
    backend = shelves({"airflow/variables/a": "1", "airflow/variables/b": "2"})
    refs = [variable(name) for name in ("b", "a", "nobody", "b")]
    assert told(backend.read_many(refs)) == ["2", "1", None, "2"]
    assert sorted(backend.asked) == [f"airflow/variables/{name}" for name in ("a", "b", "nobody")]


def test_nothing_is_asked_for_nothing_and_for_names_it_cannot_spell():
    backend = shelves()
    assert backend.read_many([]) == []
    assert backend.read_many([variable("a--b"), Ref("config", "x")]) == [None, None]
    assert backend.asked == []


def test_error_stands_at_its_own_name_and_is_nobody_elses():
    backend = shelves({"airflow/variables/a": "1", "airflow/variables/big": "x" * (MAX_VALUE_BYTES + 1)})
    backend.trouble["airflow/variables/no"] = AccessDeniedError("no", reason="no")
    backend.trouble["airflow/variables/odd"] = ValueError(CANARY)
    names = ("no", "a", "odd", "big", "no", "none")
    answers = backend.read_many([variable(name) for name in names])
    expected = ["access_denied", "1", "backend_unavailable", "malformed_entry", "access_denied", None]
    assert told(answers) == expected
    assert answers[0] is not answers[4]
    assert CANARY not in repr(answers)
    assert all(one.__traceback__ is None for one in answers if isinstance(one, StrongroomError))


def test_later_prefix_is_asked_only_for_what_the_one_before_it_did_not_hold():
    backend = shelves({"new/a": "1", "old/b": "2", "old/a": "0"}, variables_prefix=("new", "old"))
    backend.trouble["new/c"] = AccessDeniedError("no", reason="no")
    answers = backend.read_many([variable(name) for name in "abcd"])
    assert told(answers) == ["1", "2", "access_denied", None]
    assert sorted(backend.asked) == ["new/a", "new/b", "new/c", "new/d", "old/b", "old/d"]


def test_trouble_with_all_of_them_stands_at_each():
    class Silent(Shelves):
        def _fetch_many(self, paths):
            raise OSError(CANARY)

    answers = Silent().read_many([variable("a"), variable("b")])
    assert told(answers) == ["backend_unavailable"] * 2
    assert answers[0] is not answers[1]
    assert CANARY not in repr(answers)


def test_answer_that_a_batch_leaves_out_is_trouble_and_not_an_absence():
    class Forgetful(Shelves):
        def _fetch_many(self, paths):
            return {paths[0]: Fetched(text="1"), "another": Fetched(text="2")}

    assert told(Forgetful().read_many([variable("a"), variable("b")])) == ["1", "backend_unavailable"]


def test_paths_are_asked_for_at_once_and_no_thread_is_left():
    backend = shelves({f"airflow/variables/{number}": str(number) for number in range(32)})
    backend.gate = threading.Barrier(32)  # passed only by thirty-two together
    before = threading.active_count()
    assert told(backend.read_many([variable(str(number)) for number in range(32)])) == [
        str(number) for number in range(32)
    ]
    assert threading.active_count() == before


def test_hung_path_costs_its_own_answer_and_the_others_are_given_in_time():
    backend = shelves({"airflow/variables/a": "1"})
    hung = threading.Event()
    fetch = backend._fetch

    def hanging(path):
        if path.endswith("/hung"):
            hung.wait(10)
        return fetch(path)

    backend._fetch = hanging
    with within(0.5):
        answers = backend.read_many([variable("hung"), variable("a"), variable("none")])
    hung.set()
    assert told(answers) == ["backend_unavailable", "1", None]


def test_threads_know_how_long_their_caller_waits():
    with within(5):
        left = together(lambda _: seconds_left(), [1, 2, 3], threads=2, late=lambda: None, place="x")
    assert all(4 < one < 5 for one in left.values())
    assert together(lambda _: seconds_left(), [1], threads=2, late=lambda: 0, place="x") == {1: None}


def test_work_that_nobody_waits_for_is_not_begun():
    with within(-1):
        assert together(lambda one: one, [1, 2], threads=2, late=lambda: "late", place="x") == {
            1: "late",
            2: "late",
        }


# --- one secret that holds many ------------------------------------------------------------------------

HELD = {
    "airflow/variables": '{"a": "1", "b": {"x": 1}, "none": null, "data--t": "team"}',
    "airflow/connections": '{"db": "postgres://u@h/d", "api": {"conn_type": "http", "host": "h"}}',
}
MANY = {"connections_prefix": "airflow/connections#", "variables_prefix": "airflow/variables#"}


def test_secret_that_holds_many_is_asked_for_once_for_all_its_names():
    backend = shelves(HELD, **MANY)
    refs = [variable("a"), variable("b"), variable("none"), variable("gone"), variable("t", "data")]
    refs += [Ref("connection", "db"), Ref("connection", "api")]
    answers = backend.read_many(refs)
    assert told(answers) == [
        "1",
        '{\n  "x": 1\n}',
        "malformed_entry",
        None,
        "team",
        "postgres://u@h/d",
        '{"conn_type": "http", "host": "h"}',
    ]
    assert sorted(backend.asked) == ["airflow/connections", "airflow/variables"]
    assert told(answers) == told([alone(backend, ref) for ref in refs])
    assert answers[0].version == "1"


@pytest.mark.parametrize("text", [CANARY, f'["{CANARY}"]', f'{{"a": "{CANARY}", "a": 1}}'])
def test_secret_that_is_to_hold_many_and_does_not_is_malformed_and_says_which(text):
    backend = shelves({"airflow/variables": text}, **MANY)
    with pytest.raises(MalformedEntryError, match="the secret airflow/variables of the backend") as caught:
        backend.read(variable("a"))
    assert CANARY not in str(caught.value)
    answers = backend.read_many([variable("a"), variable("b")])
    assert told(answers) == ["malformed_entry"] * 2


def test_secret_that_holds_many_is_nobodys_value():
    backend = shelves(
        {"all": '{"x": "postgres://u:p@h"}', "y": "1"}, connections_prefix="all#", variables_prefix=""
    )
    assert backend.read(variable("all")) is None
    assert backend.read(variable("all#x")) is None
    assert told([backend.read(variable("y"))]) == ["1"]


@given(
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "no", "odd", "x--y", "none"]), st.sampled_from([None, "data"])),
        max_size=12,
    ),
    st.booleans(),
)
def test_many_are_answered_as_each_would_be_alone(names, is_holding):
    held = {"airflow/variables/a": "1", "airflow/variables/data--a": "2", "airflow/variables": '{"b": "3"}'}
    backend = shelves(held, **(MANY if is_holding else {}))
    backend.trouble = {"airflow/variables/no": AccessDeniedError("no", reason="no")}
    refs = [variable(name, team) for name, team in names]
    assert told(backend.read_many(refs)) == told([alone(backend, ref) for ref in refs])


def test_late_answers_are_unavailable():
    assert isinstance(shelves()._late(), BackendUnavailableError)
