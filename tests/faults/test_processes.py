"""Processes that write at once: one wins, the others are told; Ctrl-C leaves the old state."""

import multiprocessing
import os
import signal

import pytest

from native_room import draft, make_barrier, open_barrier
from strongroom.errors import BackendUnavailableError, ConflictError
from strongroom.model.entry import MUST_BE_ABSENT
from strongroom.model.ref import Ref

X = Ref("variable", "x")
FORK = multiprocessing.get_context("fork")
PROCESSES = 4
INCREMENTS = 25


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "room" / "store.db"
    make_barrier(path).close()
    return path


def together(work, count):
    """Run *work(number, say)* in *count* processes that start at once, and give what they said."""
    start = FORK.Barrier(count)
    said = FORK.SimpleQueue()

    def run(number):
        signal.alarm(60)  # seconds: a process that hangs fails its test and nothing else
        start.wait()
        work(number, said.put)
        said.put((number, "done"))

    processes = [FORK.Process(target=run, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    answers, done = [], 0
    while done < count and (done or any(process.is_alive() for process in processes) or not said.empty()):
        answer = said.get()
        done += answer[1] == "done"
        answers.append(answer)
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    return [answer for answer in answers if answer[1] != "done"]


@pytest.mark.parametrize("expected", [MUST_BE_ABSENT, "1"])
def test_of_two_processes_that_expect_the_same_version_one_wins(path, expected):
    if expected:
        seeded = open_barrier(path)
        seeded.write(draft("x", "seed"))
        seeded.close()

    def work(number, say):
        barrier = open_barrier(path)
        try:
            say((number, "won", barrier.write(draft("x", str(number), expected_version=expected))))
        except ConflictError as error:
            say((number, "conflict", error.current_version))
        barrier.close()

    answers = together(work, 2)
    version = str(int(expected or 0) + 1)
    assert sorted((outcome, told) for _, outcome, told in answers) == [
        ("conflict", version),
        ("won", version),
    ]
    (winner,) = (number for number, outcome, _ in answers if outcome == "won")
    barrier = open_barrier(path)
    assert barrier.read(X).secret.reveal() == str(winner)
    barrier.close()


def test_increments_of_many_processes_are_all_there_and_none_is_mixed(path):
    seeded = open_barrier(path)
    seeded.write(draft("x", "0"))
    seeded.close()

    def work(number, _say):
        barrier = open_barrier(path)
        done = 0
        while done < INCREMENTS:
            entry = barrier.read(X)
            text = str(int(entry.secret.reveal()) + 1)
            try:
                barrier.write(
                    draft("x", text, expected_version=entry.version, author=f"p{number}", comment=text)
                )
            except (ConflictError, BackendUnavailableError):
                continue
            done += 1
        barrier.close()

    together(work, PROCESSES)
    total = PROCESSES * INCREMENTS
    barrier = open_barrier(path)
    history = barrier.history(X)
    assert (barrier.read(X).secret.reveal(), len(history)) == (str(total), total + 1)
    # Version n + 1 holds n, and its comment was written with it: no row is a mix of two writes.
    assert [info.comment for info in history[:-1]] == [str(number) for number in range(total, 0, -1)]
    assert all(barrier.read_version(X, info.version).secret.reveal() == info.comment for info in history[:-1])
    by = [info.author for info in history[:-1]]
    assert {author: by.count(author) for author in set(by)} == {f"p{n}": INCREMENTS for n in range(PROCESSES)}
    assert [change.version for change in barrier.changes()] == [str(n + 1) for n in range(total + 1)]
    barrier.close()


def test_reader_beside_a_writer_sees_whole_batches_only(path):
    names = [f"n{number}" for number in range(50)]
    seeded = open_barrier(path)
    seeded.write_many([draft(name, "0") for name in names])
    seeded.close()

    def work(number, say):
        barrier = open_barrier(path)
        if number == 0:
            for generation in range(1, 11):
                barrier.write_many([draft(name, str(generation)) for name in names])
        else:
            versions = [{summary.version for summary in barrier.list("variable")} for _ in range(50)]
            say((number, "saw", max(len(seen) for seen in versions)))
        barrier.close()

    assert {most for _, _, most in together(work, 3)} == {1}


def test_ctrl_c_inside_a_batch_leaves_the_old_state_and_a_store_that_works(path):
    barrier = open_barrier(path)
    barrier.write(draft("n1", "old"))

    def drafts():
        for number in range(2000):
            if number == 1700:
                os.kill(os.getpid(), signal.SIGINT)
            yield draft(f"n{number}", "new")

    with pytest.raises(KeyboardInterrupt):
        barrier.write_many(drafts())
    assert [summary.ref.name for summary in barrier.list("variable")] == ["n1"]
    assert barrier.read(Ref("variable", "n1")).secret.reveal() == "old"
    assert barrier.write(draft("n1", "new")) == "2"
    barrier.close()


@pytest.mark.parametrize("lines", range(20, 2000, 180))
def test_ctrl_c_at_any_line_of_a_batch_leaves_the_old_or_the_new_state(path, lines):
    """The signal is raised from inside the code under test, at the line whose turn it is."""
    import sys  # noqa: PLC0415 -- tracing is this test's alone

    barrier = open_barrier(path)
    left = lines

    def trace(frame, event, _argument):
        nonlocal left
        if event == "line" and "strongroom/" in frame.f_code.co_filename.replace(os.sep, "/"):
            left -= 1
            if left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        barrier.write_many([draft(f"n{number}", "new") for number in range(30)])
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    assert len(barrier.list("variable")) in (0, 30)
    again = open_barrier(path)
    again.write(draft("after", "works"))
    assert barrier.read(Ref("variable", "after")).secret.reveal() == "works"
    again.close()
    barrier.close()
