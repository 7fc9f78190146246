"""What the masker claims, class by class; what it leaves alone; streams; log records."""

from __future__ import annotations

import base64
import html
import json
import logging
import random
import shlex
import string
import urllib.parse
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import InvalidInputError
from strongroom.model.masking import (
    MASK,
    MINIMUM_CHARACTERS,
    TRIVIAL_VALUES,
    BytesMaskingStream,
    Masker,
    MaskingFilter,
    MaskingStream,
)

WORDS = ["task", "finished", "scheduler", "heartbeat", "connection", "opened", "rows", "copied", "table"]
ALPHABETS = {
    "plain": string.ascii_letters + string.digits,
    "regex": string.ascii_letters + r".^$*+?{}[]\|()",
    "quotes": string.ascii_letters + "'\"`\\/&<>%+ =:@#",
    "unicode": "äöüßéñçøłŝ日本語пароль🔑🗝\u00a0ab12",
}
PEM = (
    "-----BEGIN PRIVATE KEY-----\n"
    + "\n".join(base64.b64encode(random.Random(7).randbytes(48)).decode() for _ in range(26))
    + "\n3Q==\n-----END PRIVATE KEY-----\n"
)
JSON_KEY = json.dumps({"type": "service_account", "private_key": PEM, "client_id": "11759302"}, indent=2)


def secrets_of_the_corpus() -> list[str]:
    """200 secrets of 5 to 4,096 characters, with overlapping prefixes, lines, PEM and JSON among them."""
    source = random.Random(20261121)
    made = [PEM, JSON_KEY, json.dumps({"pass": 'a"b\\c/é'}), "line one of it\r\nline two of it\r\nx"]
    lengths = [5, 6, 8, 12, 16, 24, 32, 40, 64, 127, 128, 129, 255, 256, 257, 1000, 4096]
    while len(made) < 180:
        alphabet = list(ALPHABETS.values())[len(made) % len(ALPHABETS)]
        text = "".join(source.choice(alphabet) for _ in range(source.choice(lengths)))
        if len(text.strip()) >= MINIMUM_CHARACTERS:
            made.append(text.strip())
    return made + [made[100 + index][:9] + f"-{index:04}" for index in range(20)]


def inside_base64(secret: str, before: str, after: str = "") -> str:
    """The characters of base64 that depend on the secret alone when it stands inside a longer text."""
    shift, size = len(before.encode()), len(secret.encode())
    whole = base64.b64encode((before + secret + after).encode()).decode()
    return whole[-(-8 * shift // 6) : 8 * (shift + size) // 6]


CLASSES = {
    "raw": str,
    "url_quote": urllib.parse.quote,
    "url_quote_all": lambda s: urllib.parse.quote(s, safe=""),
    "url_quote_plus": urllib.parse.quote_plus,
    "url_quote_lower": lambda s: "".join(
        c if c.isascii() and (c.isalnum() or c in "_.-~/") else "".join(f"%{b:02x}" for b in c.encode())
        for c in s
    ),
    "url_javascript": lambda s: urllib.parse.quote(s, safe="!*'()"),
    "url_sqlalchemy": lambda s: urllib.parse.quote(s, safe=" +"),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "base64_second_alignment": lambda s: inside_base64(s, "u:xy", "!"),
    "base64_third_alignment": lambda s: inside_base64(s, "ab", "!!"),
    "base64_basic_auth": lambda s: inside_base64(s, "loader:"),
    "base64_url": lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
    "hex_lower": lambda s: s.encode().hex(),
    "hex_upper": lambda s: s.encode().hex().upper(),
    "json": lambda s: json.dumps(s)[1:-1],
    "json_unicode": lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    "json_in_json": lambda s: json.dumps(json.dumps(s))[3:-3],
    "repr": lambda s: repr(s)[1:-1],
    "repr_bytes": lambda s: repr(s.encode())[2:-1],
    "repr_in_longer_text": lambda s: repr(f"""it's "{s}" """)[8:-3],
    "html": html.escape,
    "html_text": lambda s: html.escape(s, quote=False),
    "shell": lambda s: shlex.quote(f" {s}")[2:-1],
}


@pytest.fixture(scope="module")
def corpus():
    secrets = [s.strip() for s in secrets_of_the_corpus()]
    return secrets, Masker(secrets)


def clean_lines(count: int) -> list[str]:
    source = random.Random(3)
    return [
        f"[2026-11-21T12:{source.randrange(60):02}:00.{source.randrange(10**6):06}+0000] "
        f"{{task_command.py:{source.randrange(999)}}} INFO - {' '.join(source.choices(WORDS, k=9))} "
        f"{source.randrange(10**9)} {source.randbytes(8).hex()}\n"
        for _ in range(count)
    ]


# --- recall and false masks --------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSES)
def test_every_secret_of_the_corpus_is_masked_whole_in_every_claimed_class(corpus, name):
    secrets, masker = corpus
    missed = [
        index
        for index, secret in enumerate(secrets)
        if masker.mask(f"before <{CLASSES[name](secret)}> after") != f"before <{MASK}> after"
    ]
    assert missed == []


@pytest.mark.parametrize("name", CLASSES)
def test_every_claimed_class_survives_being_split_over_two_writes(corpus, name):
    secrets, masker = corpus
    source = random.Random(5)
    for secret in secrets:
        text = f"before <{CLASSES[name](secret)}> after"
        cut = source.randrange(8, len(text) - 6)
        stream = MaskingStream(masker)
        assert stream.feed(text[:cut]) + stream.feed(text[cut:]) + stream.flush() == f"before <{MASK}> after"


def test_every_line_of_a_secret_of_several_lines_is_masked_alone(corpus):
    _, masker = corpus
    for line in PEM.splitlines()[1:-2]:
        assert masker.mask(f"| {line} |") == f"| {MASK} |"


def test_ordinary_logs_are_not_touched(corpus):
    _, masker = corpus
    falsely_masked = [line for line in clean_lines(20_000) if masker.mask(line) != line]
    assert falsely_masked == []


@pytest.mark.parametrize(
    "text",
    [
        "user=ana&pass={}&x=1",
        "postgres://ana:{}@db.example.com:5432/x",
        "Authorization: Bearer {}",
        "SELECT * FROM t WHERE token = '{}' -- echo",
        '{{"password": "{}", "port": 5432}}',
        "{}",
    ],
)
def test_only_the_secret_is_replaced(text):
    masker = Masker(["tr0ub4dor&3"])
    assert masker.mask(text.format("tr0ub4dor&3")) == text.format(MASK)


# --- overlaps ----------------------------------------------------------------------------------


def test_a_longer_secret_wins_over_the_one_that_begins_it():
    # Airflow's alternation is in set order: `***123` may stay behind (facts behind RT25).
    masker = Masker(["passphrase", "passphrase123"])
    assert masker.mask("x passphrase123 passphrase y") == "x *** *** y"


def test_a_secret_that_begins_inside_another_leaves_no_tail():
    masker = Masker(["abcdef", "defghi"])
    assert masker.mask("<abcdefghi>") == "<***>"


def test_secrets_that_touch_become_one_mask_and_so_tell_no_lengths():
    assert Masker(["abcdef", "ghijkl"]).mask("<abcdefghijklabcdef>") == "<***>"


def test_a_secret_inside_a_longer_candidate_that_fails_is_still_masked():
    assert Masker(["hunter2hunter3", "ter2hun"]).mask("hunter2hunterX") == "hun***terX"


@pytest.mark.parametrize("size", [127, 128, 255, 256, 300, 4096])
def test_a_long_secret_is_one_mask_whatever_stands_before_it(size):
    secret = "".join(random.Random(size).choices(string.ascii_letters, k=size))
    masker = Masker([secret, "a" * size])
    assert masker.mask(f"{secret[:40]}{secret}.") == f"{secret[:40]}***."
    assert masker.mask("b" + "a" * (size + 7) + "b") == "b***b"


def test_a_long_secret_cut_by_a_line_limit_leaves_less_than_one_block():
    secret = "".join(random.Random(1).choices(string.ascii_letters, k=2000))
    masked = Masker([secret]).mask(f"> {secret[:1000]}…")
    assert masked.startswith("> ***")
    assert len(masked) < 140


@settings(deadline=None)
@given(
    st.lists(st.text("ab", min_size=1, max_size=9), min_size=1, max_size=6),
    st.text("ab", max_size=60),
)
def test_every_occurrence_is_covered_and_nothing_else_is(secrets, text):
    masker = Masker(secrets, minimum=1)
    covered = [False] * len(text)
    for secret in secrets:
        # Of two letters, only the raw form can stand in the text (its hex has digits).
        for start in range(len(text) - len(secret) + 1):
            if text.startswith(secret, start):
                covered[start : start + len(secret)] = [True] * len(secret)
    expected = "".join("*" if hidden else letter for letter, hidden in zip(text, covered, strict=True))
    while "**" in expected:
        expected = expected.replace("**", "*")
    assert masker.mask(text) == expected.replace("*", MASK)


# --- what is not masked ------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", " ", "abcd", "5432", "65535", "True", "NONE", "airflow", "Postgres"])
def test_short_and_trivial_values_are_left_alone(value):
    text = f"<{value}> airflow 5432 True none"
    assert Masker([value]).mask(text) == text


def test_what_is_not_masked_is_counted_and_not_named():
    masker = Masker(["abcd", "5432", "airflow", "", "correct horse", "correct horse"])
    assert (masker.masked, masker.unmasked) == (1, 3)
    assert repr(masker) == "Masker(masked=1, unmasked=3)"


def test_the_shortest_masked_value_has_five_characters():
    assert Masker(["x7Qp!"]).mask("<x7Qp!>") == "<***>"
    assert MINIMUM_CHARACTERS == 5


def test_the_minimum_may_be_chosen_but_not_below_one():
    assert Masker(["pin7"], minimum=4).mask("<pin7>") == "<***>"
    with pytest.raises(InvalidInputError, match="at least 1"):
        Masker(["pin7"], minimum=0)


def test_every_trivial_value_is_documented():
    page = (Path(__file__).parent.parent.parent / "docs" / "masking.md").read_text(encoding="utf-8")
    listed = page.split("in any case: `", 1)[1].partition("`")[0]
    assert set(listed.split()) == TRIVIAL_VALUES


def test_trivial_values_are_written_in_lower_case():
    assert {value.lower() for value in TRIVIAL_VALUES} == TRIVIAL_VALUES


def test_pem_armour_rules_and_short_lines_are_not_patterns():
    masker = Masker([PEM, "first line here\n--------------\nab"])
    text = "-----BEGIN PRIVATE KEY-----\n--------------\nab 3Q== -----END PRIVATE KEY-----"
    assert masker.mask(text) == text


def test_white_space_around_a_secret_is_not_part_of_it():
    assert Masker(["hunter2go\n"]).mask("<hunter2go>") == "<***>"


def test_no_secrets_mean_no_change():
    stream = MaskingStream(Masker([]))
    assert Masker([]).mask("text") == "text"
    assert stream.feed("text") == "text"
    assert stream.flush() == ""


@pytest.mark.parametrize(
    "changed",
    [
        lambda s: s.swapcase(),
        lambda s: s[::-1],
        " ".join,
        lambda s: s.encode("utf-16-le").decode("latin-1"),
        lambda s: s[: len(s) // 2],
    ],
)
def test_what_the_documentation_disclaims_is_really_not_found(changed):
    text = changed("Correct-Horse-7-Battery")
    assert Masker(["Correct-Horse-7-Battery"]).mask(text) == text


# --- odd text ----------------------------------------------------------------------------------


def test_a_lone_surrogate_in_the_text_or_the_secret_does_no_harm():
    assert Masker(["hunter2go"]).mask("\udcff hunter2go \udcff") == "\udcff *** \udcff"
    assert Masker(["hunter\udcff2"]).mask("<hunter\udcff2>") == "<***>"


def test_text_without_a_secret_is_the_same_object():
    text = "nothing to see"
    assert Masker(["hunter2go"]).mask(text) is text


def test_bytes_are_masked_too_even_when_they_are_not_utf_8():
    assert Masker(["pässwört"]).mask_bytes(b"\xff<p\xc3\xa4ssw\xc3\xb6rt>\x00") == b"\xff<***>\x00"


# --- streams -----------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(st.text("abc\n", min_size=2, max_size=8), max_size=5),
    st.lists(st.text("abc\n", max_size=12), max_size=12),
)
def test_a_stream_gives_what_masking_the_whole_gives_wherever_it_is_cut(secrets, pieces):
    masker = Masker(secrets, minimum=2)
    stream = MaskingStream(masker)
    assert "".join(map(stream.feed, pieces)) + stream.flush() == masker.mask("".join(pieces))


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_a_stream_of_the_corpus_gives_what_masking_the_whole_gives(corpus, data):
    secrets, masker = corpus
    parts = data.draw(st.lists(st.one_of(st.sampled_from(secrets), st.text(max_size=20)), max_size=6))
    text = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=20)))
    stream = MaskingStream(masker)
    out = [stream.feed(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert "".join(out) + stream.flush() == masker.mask(text)


def test_a_secret_is_caught_when_it_arrives_byte_by_byte():
    secret = "päss\nwört-" * 40
    stream = BytesMaskingStream(Masker([secret]))
    text = f"<{secret}>".encode()
    assert b"".join(stream.feed(bytes([byte])) for byte in text) + stream.flush() == b"<***>"


def test_a_prompt_is_not_held_back():
    stream = MaskingStream(Masker(["hunter2go", PEM]))
    assert stream.feed("Password: ") == "Password: "
    assert stream.feed("Continue [y/n]? ") == "Continue [y/n]? "


def test_only_what_may_begin_a_secret_is_held_back():
    stream = MaskingStream(Masker(["hunter2go"]))
    assert stream.feed("the hunt") == "the "
    assert stream.feed("ing season") == "hunting season"


def test_a_line_of_a_secret_of_several_lines_leaves_as_soon_as_it_is_complete():
    stream = MaskingStream(Masker(["first part\nsecond part"]))
    assert stream.feed("> first part\n") == "> ***"
    assert stream.feed("third part\n") == "\nthird part\n"


def test_an_ordinary_line_is_not_held_back_by_a_secret_of_several_lines():
    stream = MaskingStream(Masker([PEM, JSON_KEY]))
    assert stream.feed("done\n") == "done\n"


def test_a_complete_secret_is_masked_at_once_though_a_longer_one_may_follow():
    stream = MaskingStream(Masker(["hunter2go", "hunter2go-on"]))
    assert stream.feed("<hunter2go") == "<***"
    assert stream.feed("-on>") == ">"


def test_never_more_is_held_back_than_the_longest_block():
    stream = BytesMaskingStream(Masker(["z" * 100_000]))
    out = b"".join(stream.feed(b"z" * 1000) for _ in range(90))
    assert out == b"***"
    assert len(stream._pending) < 255


def test_an_empty_piece_changes_nothing():
    stream = MaskingStream(Masker(["hunter2go"]))
    assert [stream.feed(piece) for piece in ("<hunter2go", "", "hunter2go>")] == ["<***", "", ">"]


def test_what_is_held_back_leaves_with_flush_and_the_stream_can_go_on():
    stream = MaskingStream(Masker(["hunter2go"]))
    assert (stream.feed("hunter2"), stream.flush(), stream.feed("go!")) == ("", "hunter2", "go!")


# --- log records -------------------------------------------------------------------------------


class Formatter(logging.Formatter):
    pass


@pytest.fixture
def log():
    """A logger, and the lines its handler wrote after the filter of "hunter2go"."""
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler = Lines()
    handler.addFilter(MaskingFilter(Masker(["hunter2go"])))
    logger = logging.Logger("test")  # noqa: LOG001 -- one of its own, outside the global tree
    logger.addHandler(handler)
    return logger, lines


class Leaky:
    def __str__(self) -> str:
        return "Leaky(hunter2go)"


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("hunter2go")


def test_the_message_and_its_arguments_are_masked(log):
    logger, lines = log
    logger.warning("hunter2go %s %s", "hunter2go", Leaky())
    assert lines == ["*** *** Leaky(***)"]


def test_a_secret_split_between_template_and_argument_is_masked(log):
    logger, lines = log
    logger.warning("hunter%s", "2go")
    assert lines == ["***"]


@pytest.mark.parametrize(
    ("template", "arguments"),
    [("%d hunter2go", ("hunter2go",)), ("%s %s hunter2go", ("hunter2go",)), ("%s hunter2go", (Broken(),))],
)
def test_a_record_whose_formatting_fails_shows_no_argument(log, template, arguments):
    logger, lines = log
    logger.warning(template, *arguments)
    assert len(lines) == 1
    assert "hunter2go" not in lines[0]
    assert "arguments withheld" in lines[0]


def test_an_exception_chain_is_masked_with_its_causes_contexts_and_source_lines(log):
    logger, lines = log
    try:
        try:
            raise KeyError("hunter2go")  # noqa: TRY301 -- a chain in one place
        except KeyError as error:
            try:
                raise ValueError("again hunter2go") from error  # noqa: TRY301 -- as above
            except ValueError:
                raise RuntimeError("last")  # noqa: B904 -- the context is what is tested
    except RuntimeError:
        logger.exception("failed")
    assert "hunter2go" not in lines[0]
    assert lines[0].count("***") >= 4  # two messages and two source lines
    assert "RuntimeError: last" in lines[0]


def test_an_exception_is_not_changed_by_being_logged(log):
    logger, _ = log
    error = ValueError("hunter2go")
    logger.error("failed", exc_info=error)
    assert error.args == ("hunter2go",)


def test_an_exception_given_without_a_traceback_is_masked(log):
    logger, lines = log
    logger.error("failed", exc_info=ValueError("hunter2go"))
    assert lines == ["failed\nValueError: ***"]


def test_exc_info_without_an_exception_stays_what_logging_makes_of_it(log):
    logger, lines = log
    logger.error("failed", exc_info=True)  # noqa: LOG014 -- people write it
    assert lines == ["failed\nNoneType: None"]


def test_a_text_of_an_exception_that_another_handler_kept_is_masked():
    record = logging.makeLogRecord({"msg": "x", "exc_text": "ValueError: hunter2go"})
    MaskingFilter(Masker(["hunter2go"])).filter(record)
    assert record.exc_text == "ValueError: ***"


def test_the_stack_is_masked(log):
    logger, lines = log
    logger.warning("here", stack_info=True, extra={"note": "hunter2go"})
    assert "hunter2go" not in lines[0]


def test_extra_fields_are_masked_in_depth_and_fail_closed():
    deep: list[object] = ["hunter2go"]
    for _ in range(9):
        deep = [deep]
    record = logging.makeLogRecord(
        {
            "msg": "x",
            "headers": {"hunter2go": b"hunter2go", "set": {"hunter2go"}, "pair": ("hunter2go", 7)},
            "thing": Leaky(),
            "broken": Broken(),
            "plain": Formatter,
            "deep": deep,
            "count": 3,
        }
    )
    assert MaskingFilter(Masker(["hunter2go"])).filter(record) is True
    assert "hunter2go" not in repr(record.__dict__)
    assert record.headers == {"***": b"***", "set": ["***"], "pair": ("***", 7)}
    assert (record.thing, record.broken, record.plain, record.count) == ("Leaky(***)", "***", Formatter, 3)


def test_an_event_of_structlog_stays_a_mapping():
    record = logging.makeLogRecord({"msg": {"event": "login", "token": "hunter2go"}})
    MaskingFilter(Masker(["hunter2go"])).filter(record)
    assert record.msg == {"event": "login", "token": "***"}


def test_masking_a_record_twice_changes_nothing():
    record = logging.makeLogRecord({"msg": "100%% %s", "args": ("hunter2go",), "levelno": 30})
    masking = MaskingFilter(Masker(["hunter2go"]))
    masking.filter(record)
    once = record.getMessage()
    masking.filter(record)
    assert record.getMessage() == once == "100% ***"


def test_the_masker_of_a_filter_can_be_replaced_while_in_use():
    masking = MaskingFilter(Masker([]))
    masking.masker = Masker(["hunter2go"])
    record = logging.makeLogRecord({"msg": "hunter2go"})
    masking.filter(record)
    assert record.getMessage() == "***"
