"""What a host agent can be set to, asked and told stands in its pages."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from parts.web import web
from strongroom import place
from strongroom.agent import admin, floor, http, line, protocol, serve
from strongroom.agent import web as routes
from strongroom.backends.remote import RemoteOptions
from strongroom.caller import frames
from strongroom.policy import Action
from strongroom.settings import agent as settings

DOCS = Path(__file__).parent.parent.parent / "docs"
TABLES = {
    "agent": settings.AgentSettings,
    "agent.server": settings.AgentServerSettings,
    "agent.last_good": settings.LastGoodSettings,
    "agent.file.NAME": settings.FileSettings,
}
TYPES = ("HELLO", "READ", "READ_MANY", "CLAIM", "FOLLOW", "UNFOLLOW", "EXPLAIN", "ADMIN", "PING")


def page(name):
    return (DOCS / name).read_text(encoding="utf-8")


def source(*modules):
    return "".join(Path(module.__file__).read_text(encoding="utf-8") for module in modules)


def written(pattern, *modules):
    """Give the words that stand in *modules* where *pattern* says."""
    found = sorted(set(re.findall(pattern, source(*modules))))
    assert found, pattern
    return found


KEYS = [
    f"{table}.{field.name}"
    for table, kind in TABLES.items()
    for field in fields(kind)
    if f"{table}.{field.name}" not in TABLES and field.name != "file"
]


@pytest.mark.parametrize("key", KEYS)
def test_every_setting_of_an_agent_is_documented(key):
    assert f"| `{key}` |" in page("settings.md")


def test_every_setting_of_an_agent_that_is_documented_is_one():
    assert sorted(re.findall(r"^\| `(agent\.[\w.]+)` \|", page("settings.md"), re.MULTILINE)) == sorted(KEYS)


@pytest.mark.parametrize("option", [field.name for field in fields(RemoteOptions)])
def test_every_option_of_the_backend_remote_is_documented(option):
    assert f"`{option}`" in page("backends/remote.md")


@pytest.mark.parametrize("name", written(r"STRONGROOM_[A-Z_]+", place))
def test_every_variable_that_says_where_to_ask_is_documented(name):
    assert f"`{name}`" in page("settings.md")


@pytest.mark.parametrize("path", written(r'"(/v1/\w+|/health/\w+|/metrics)/?"', routes))
def test_every_route_of_an_agent_is_documented(path):
    assert re.search(rf"^\| `.*(GET|POST) {path}[`/]", page("agent-http.md"), re.MULTILINE)


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    with web(tmp_path_factory.mktemp("web"), environ={}) as one:
        return one.ask("GET", "/metrics").body.decode()


def test_every_figure_of_an_agent_is_documented(figures):
    own = set(re.findall(r"^# TYPE (\w+)", figures, re.MULTILINE))
    others = set(re.findall(r'figure\("(strongroom_agent_\w+)"', source(serve)))
    assert others
    told = set(re.findall(r"^\| `(strongroom_agent_\w+)", page("agent-http.md"), re.MULTILINE))
    assert told == own | others


@pytest.mark.parametrize(
    ("name", "reason"),
    [("http_closed_total", reason) for reason in written(r'closed\["(\w+)"\] \+= 1', http, line)]
    + [("closed_total", reason) for reason in written(r'\.count\("(\w+)"\)', floor, protocol)],
)
def test_every_reason_a_connection_ends_for_is_documented(name, reason):
    (row,) = re.findall(rf"^\| `strongroom_agent_{name}.*$", page("agent-http.md"), re.MULTILINE)
    assert f"`{reason}`" in row


@pytest.mark.parametrize("name", TYPES)
def test_every_type_of_a_frame_is_documented(name):
    number = getattr(frames, name)
    assert re.search(rf"^\| `{number:02X}` \| {name} \|", page("protocol.md"), re.MULTILINE)


def test_no_type_of_a_frame_is_left_out():
    numbers = {name: getattr(frames, name) for name in TYPES}
    assert sorted(numbers.values()) == list(range(1, len(TYPES) + 1))
    assert f"| `{frames.NOTICE:02X}` | a notice" in page("protocol.md")
    assert f"| `{frames.ERROR:02X}` | an error" in page("protocol.md")


@pytest.mark.parametrize("number", range(len(frames.OUTCOMES)))
def test_every_outcome_in_a_frame_is_documented(number):
    assert f"{number} {frames.OUTCOMES[number]}" in page("protocol.md")


@pytest.mark.parametrize("code", written(r'_Refused\(\s*"(\w+)"', protocol))
def test_every_refusal_of_the_protocol_itself_is_documented(code):
    assert re.search(rf"^\| .*`{code}`.* \|", page("protocol.md"), re.MULTILINE)


@pytest.mark.parametrize("order", admin._ORDERS)
def test_every_order_to_an_agent_is_documented(order):
    text = page("agent.md")
    assert f"`{order.replace('_', '-')}`" in text or f"`agent {order.replace('_', '-')}`" in text


def test_what_an_administrator_does_is_recorded_as_an_action_that_is_documented():
    assert f"`{Action.ADMINISTER.value}`" in page("audit.md")


def test_every_floor_of_the_code_is_in_the_design():
    text = (DOCS.parent / "pyproject.toml").read_text(encoding="utf-8")
    layers = text.partition("layers = [")[2].partition("]")[0]
    names = {
        name for line in re.findall(r'^\s+"(.+)",', layers, re.MULTILINE) for name in re.findall(r"\w+", line)
    }
    floors = page("design.md").partition("## Floors")[2].split("```")[1]
    told = {
        name for line in floors.splitlines() for name in re.findall(r"\w+", line.strip().partition("  ")[0])
    }
    assert names ^ told == {"__main__"}
