"""What a read is answered with, where that waits for its record."""

from strongroom.agent.answers import KeptBack
from strongroom.errors import NotRecordedError
from strongroom.model.ref import Ref

REF = Ref("variable", "a")


class Line:
    """A connection that keeps what is sent on it."""

    def __init__(self):
        self.sent, self.waiting = [], 0

    def write(self, data):
        self.sent.append(data)

    def keep_back(self, more):
        self.waiting += more

    def unanswered(self, number, answer):
        return f"{number} {answer.outcome}".encode()


def test_an_answer_that_was_made_leaves_when_its_use_is_on_record():
    line = Line()
    kept = KeptBack(line, 7, REF)
    assert kept.fill(b"value") is None
    assert (line.sent, line.waiting) == ([], 1)
    kept.settle(None)
    assert (line.sent, line.waiting) == ([b"value"], 0)


def test_an_answer_whose_use_is_on_record_already_leaves_at_once():
    line = Line()
    kept = KeptBack(line, 7, REF)
    kept.settle(None)
    assert kept.fill(b"value") == b"value"
    assert (line.sent, line.waiting) == ([], 0)


def test_a_value_whose_use_is_not_on_record_never_leaves():
    for is_filled_first in (True, False):
        line = Line()
        kept = KeptBack(line, 7, REF)
        refused = NotRecordedError("full", folder="")
        if is_filled_first:
            kept.fill(b"value")
            kept.settle(refused)
            sent = line.sent
        else:
            kept.settle(refused)
            sent = [kept.fill(b"value")]
        assert sent == [b"7 unavailable"]
        assert line.waiting == 0
