"""The maskers of real Airflow 3 and 2, told what to hide: what they hide, what they show, who tells them."""

from __future__ import annotations

import pytest

SCRIPT = """
import asyncio, base64, json, logging, sys, types, urllib.parse
if VERSION == 3:
    import airflow.settings
    from airflow.sdk._shared import secrets_masker as module
    from airflow._shared.secrets_masker import redact as redact_in_servers
    from airflow.sdk.execution_time import task_runner
else:
    from airflow import settings
    settings.initialize()
    from airflow.utils.log import secrets_masker as module
    redact_in_servers = module.redact
from strongroom.airflow import masks
from strongroom.airflow.masker import Quick
from strongroom.model.connection import Connection

redact, masker = module.redact, module._secrets_masker()
PASSWORD, LEAF, WORD = "p@ss/'word' \\"1\\" ü", "l/eaf\\nof two/lines", "plainword"

def shown(text):
    return redact(f"<{text}>")

def hidden(secret):
    escaped = json.dumps(secret)[1:-1]
    looks = [secret, urllib.parse.quote(secret), urllib.parse.quote(secret, safe=""),
             urllib.parse.quote_plus(secret), base64.b64encode(secret.encode()).decode(),
             base64.urlsafe_b64encode(secret.encode()).decode(), escaped, json.dumps(escaped)[1:-1],
             repr(secret)[1:-1], *secret.splitlines()]
    return [look for look in looks if shown(look) != "<***>"]

# --- values
text = json.dumps({"conn_type": "http", "host": "shown.example.com", "login": "shown-login",
                   "password": PASSWORD, "extra": {"a": [{"b": LEAF}], "n": 12345678}})
masks.mask("connection", "one", text, Connection.parse(text, "sdk"))
masks.mask("variable", "two", WORD)
masks.mask("variable", "three", json.dumps({"list": ["within a document"], "flag": True}))
tell(
    not_hidden=[*hidden(PASSWORD), *hidden(LEAF), *hidden(WORD), *hidden("within a document")],
    not_hidden_in_servers=[one for one in (PASSWORD, LEAF) if redact_in_servers(one) != "***"],
    header=shown(base64.b64encode(f"svc:{PASSWORD}".encode()).decode()),
    host=shown("shown.example.com shown-login http 12345678"),
    nested=redact([{"a": ({"b": [[[[[[f"x {PASSWORD}"]]]]]]},)}]) if VERSION == 3 else None,
)
for trivial in ("abcd", "airflow", "AirFlow", "true", "postgres", "5432", ""):
    masks.mask("variable", "trivial", trivial)
tell(trivial=shown("abcd airflow AirFlow true postgres 5432"))
masks.mask("variable", "a", "overlap-begins-here")
masks.mask("variable", "b", "begins-here-and-goes-on")
masks.mask("variable", "c", "overlap-begins-here-longer")
tell(overlapping=[shown("overlap-begins-here-and-goes-on"), shown("overlap-begins-here-longer")])

# --- once
before = len(masker.patterns)
for _ in range(3):
    masks.mask("connection", "one", text)
tell(again=len(masker.patterns) - before)
many = {f"secret number {number} '{number}'": number for number in range(2000)}
for secret, number in many.items():
    masks.mask("variable", f"v{number}", secret)
tell(
    many=[one for one in many if shown(one) != "<***>"][:3],
    many_quoted=[one for one in many if shown(urllib.parse.quote(one)) != "<***>"][:3],
    compiled=type(masker.replacer).__module__,
)

# --- Airflow's own registrations, after ours
module.mask_secret("told by others")
module.mask_secret({"password": "by its name", "color": "a color"})
module.mask_secret(["in a list of ours", "and another"])
module.mask_secret("sensitive by name", "api_key")
module.mask_secret("shown, as its name", "colour")
module.mask_secret("abc'd")
module.mask_secret("abc")
tell(others=shown("told by others, by its name, a color, in a list of ours, sensitive by name, "
                  "shown, as its name, abc'd, abc"))
module.mask_secret("by/way of 'the adapter'")
tell(adapter=[shown(urllib.parse.quote("by/way of 'the adapter'", safe="")),
              shown(base64.b64encode(b"by/way of 'the adapter'").decode())])

# --- exceptions
def raised(error):
    try:
        raise error
    except BaseException as caught_one:
        return caught_one
def line_of(error):
    import traceback
    masker._redact_exception_with_context_or_cause(error)
    return "".join(traceback.format_exception(error))
group = ExceptionGroup("many", [ValueError(f"one {WORD}"), ExceptionGroup("deep", [KeyError(WORD)])])
group.exceptions[0].__context__ = group
noted = ValueError("first")
noted.add_note(f"noted {WORD}")
tell(exceptions=[line_of(raised(group)), line_of(raised(noted))])

# --- a masker that was made to forget
if VERSION == 3:
    module.reset_secrets_masker()
else:
    masker.patterns, masker.replacer = set(), None
tell(forgotten=shown(WORD) + shown(PASSWORD))
masks.mask("variable", "two", WORD)
tell(remembered=shown(WORD) + shown(PASSWORD))
masks.mask("connection", "one", text)
tell(remembered_too=shown(PASSWORD))

# --- maskers that are otherwise inside
class Other(type(masker)):
    def redact(self, *arguments, **options):
        return super().redact(*arguments, **options).upper()
class Listed(type(masker)):
    def add_mask(self, secret, name=None):
        self.patterns = sorted(self.patterns)
class Holding:
    said = []
    def add_mask(self, secret, name=None):
        self.said.append(secret)
tell(fits=[Quick.fits(kind(), module) for kind in (type(masker), Other, Listed, Holding)])
strange = types.SimpleNamespace(_secrets_masker=lambda kept=Holding(): kept, __name__="strange")
name = masks._MODULES[0] if VERSION == 3 else masks._MODULE_2
kept, sys.modules[name] = sys.modules[name], strange
masks.mask("variable", "late", "late/value 'one'")
masks.mask("variable", "late", "late/value 'one'")
sys.modules[name] = kept
tell(strange=Holding.said)
broken = types.SimpleNamespace(_secrets_masker=lambda: 1 / 0, __name__="broken")
class Lines(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
lines = []
logging.getLogger("strongroom.airflow").addHandler(Lines())
sys.modules[name] = broken
tell(broken=[caught(masks.mask, "variable", "late", "later value"),
             caught(masks.mask, "variable", "late", "latest value")])
sys.modules[name] = kept
tell(warned=lines)

# --- the supervisor
if VERSION == 3:
    class Comms:
        def __init__(self, is_locked=False):
            self.sent, self.is_locked = [], is_locked
        def send(self, message):
            if self.is_locked:
                raise RuntimeError("would wait for the loop it is on")
            self.sent.append(["send", message.value])
        async def asend(self, message):
            await asyncio.sleep(0)
            self.sent.append(["asend", message.value])
    task_runner.SUPERVISOR_COMMS = comms = Comms()
    masks.mask("variable", "told", "told to/the supervisor")
    masks.mask("variable", "told", "told to/the supervisor")
    asyncio.run(masks.amask("variable", "awaited", "awaited one"))
    task_runner.SUPERVISOR_COMMS = locked = Comms(is_locked=True)
    async def on_the_loop():
        masks.mask("variable", "looped", "on the loop")
        here = shown("on the loop")
        await asyncio.sleep(0.01)
        return here
    tell(looped=asyncio.run(on_the_loop()), sent=comms.sent, sent_later=locked.sent)
    task_runner.SUPERVISOR_COMMS = None

    import os
    masks.quicken_before_forks()
    reading, writing = os.pipe()
    if os.fork() == 0:
        task_runner.SUPERVISOR_COMMS = child = Comms()
        masks.mask("variable", "told", "told to/the supervisor")
        os.write(writing, json.dumps(child.sent).encode())
        os._exit(0)
    os.wait()
    tell(child=json.loads(os.read(reading, 65536)))
"""


def _masking(place):
    def make(folder):
        environ = {"AIRFLOW__LOGGING__SECRET_MASK_ADAPTER": "strongroom.airflow.masks.secret_mask_adapter"}
        return place.run(folder, f"VERSION = {place.version}\n{SCRIPT}", environ=environ)

    return place.once("masking", make)


@pytest.fixture(scope="session")
def told(inside):
    return _masking(inside).told


HIDDEN = "<***>"


def test_a_value_its_lines_and_its_leaves_are_hidden_in_every_encoding(told):
    assert told["not_hidden"] == []
    assert told["not_hidden_in_servers"] == []
    assert told["header"] == "<c3ZjOn***A==>"


def test_what_is_no_secret_of_a_connection_is_shown(told):
    assert told["host"] == "<shown.example.com shown-login http 12345678>"


def test_short_and_trivial_values_are_shown(told):
    assert told["trivial"] == "<abcd airflow AirFlow true postgres 5432>"


def test_where_secrets_overlap_all_of_them_is_one_mask(told):
    assert told["overlapping"] == [HIDDEN, HIDDEN]


def test_a_value_is_registered_once_in_a_process(told):
    assert told["again"] == 0


def test_two_thousand_values_are_hidden_without_compiling_them(told):
    assert (told["many"], told["many_quoted"]) == ([], [])
    assert told["compiled"] == "strongroom.airflow.masker"


def test_what_others_register_is_hidden_as_airflow_does(told):
    assert told["others"].startswith("<***, ***, a color, ***, ***, shown, as its name, ***, ")


def test_the_adapter_gives_what_others_register_every_encoding(told):
    assert told["adapter"] == [HIDDEN, HIDDEN]


def test_errors_within_a_group_and_notes_are_hidden(told):
    assert ["plainword" in text for text in told["exceptions"]] == [False, False]
    assert [text.count("***") for text in told["exceptions"]] == [2, 1]


def test_what_a_masker_was_made_to_forget_is_registered_anew(told):
    assert told["forgotten"].startswith("<plainword>")
    assert told["remembered"].startswith(HIDDEN)
    assert told["remembered_too"] == HIDDEN


def test_a_masker_that_works_otherwise_inside_is_left_alone(told):
    assert told["fits"] == [True, False, False, False]
    assert told["strange"][-1] == ["late/value 'one'", "late%2Fvalue%20%27one%27", "bGF0ZS92YWx1ZSAnb25lJw=="]
    assert sum(isinstance(said, list) for said in told["strange"]) == 1


def test_a_broken_masker_is_one_warning_and_no_failure(told):
    assert told["broken"] == [{"value": None}, {"value": None}]
    assert len(told["warned"]) == 1
    assert told["warned"][0].startswith('variable "late" is not hidden in Airflow\'s logs')
    assert "later value" not in told["warned"][0]


@pytest.fixture(scope="session")
def told_in_3(airflow):
    return _masking(airflow(3)).told


def test_a_text_deep_in_a_log_line_is_hidden_in_3(told_in_3):
    assert "p@ss" not in str(told_in_3["nested"])
    assert "x ***" in str(told_in_3["nested"])


def test_the_supervisor_is_told_once_with_what_it_can_bear(told_in_3):
    assert [(how, forms[0]) for how, forms in told_in_3["sent"]] == [
        ("send", "told to/the supervisor"),
        ("asend", "awaited one"),
    ]
    assert all(len(forms) <= 5 for _, forms in told_in_3["sent"])


def test_a_supervisor_with_a_quick_masker_is_told_every_encoding(told_in_3):
    [(how, forms)] = told_in_3["child"]
    assert how == "send"
    assert {"told to/the supervisor", "told+to%2Fthe+supervisor", b"told to/the supervisor".hex()} <= set(
        forms
    )


def test_a_loop_that_holds_the_channel_tells_the_supervisor_at_its_next_turn(told_in_3):
    assert told_in_3["looped"] == HIDDEN
    assert [how for how, _ in told_in_3["sent_later"]] == ["asend"]
