"""Alerts, the dashboard and the page of alarms agree with one another, and with what there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from strongroom.server.metrics import FIGURES

ROOT = Path(__file__).parents[2]
RULES = ROOT / "examples/prometheus/strongroom-alerts.yaml"
PAGE = (ROOT / "docs/alarms.md").read_text()
AGENT_PAGE = (ROOT / "docs/agent-http.md").read_text()
COMMANDS = (ROOT / "docs/cli.md").read_text()
DASHBOARD = json.loads((ROOT / "examples/grafana/strongroom.json").read_text())

_OF_HISTOGRAMS = re.compile(r"_(?:bucket|sum|count)$")
_ROW = re.compile(
    r'^\| <a id="(\w+)"></a>`(\w+)` \((page|warn|info)\) \| (.+) \| `([^`]+)` \|$', re.MULTILINE
)


def alerts():
    (group,) = YAML(typ="safe").load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def rows():
    return {row[1]: row for row in _ROW.findall(PAGE)}


def known():
    """Every figure of servers and agents as it stands on the wire."""
    agents = set(re.findall(r"^\| `(strongroom_agent_\w+?)(?:\{|`)", AGENT_PAGE, re.MULTILINE))
    return {*FIGURES, *(f"{name}_total" for name in FIGURES), *agents}


def figures_of(expression):
    return {_OF_HISTOGRAMS.sub("", name) for name in re.findall(r"\bstrongroom_\w+", expression)}


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def test_every_alert_is_on_the_page_of_alarms_and_no_other_is():
    assert set(rows()) == set(alerts())
    assert len(_ROW.findall(PAGE)) == PAGE.count("<a id=")


@pytest.mark.parametrize("name", alerts())
def test_an_alert_leads_to_its_row_and_is_as_grave_there(name):
    anchor, _, severity, _, _ = rows()[name]
    rule = alerts()[name]
    assert rule["labels"]["severity"] == severity
    assert rule["annotations"]["runbook"] == f"docs/alarms.md#{anchor}"
    assert rule["annotations"]["summary"][0].isupper()


@pytest.mark.parametrize("name", alerts())
def test_an_alert_looks_at_figures_that_there_are(name):
    assert figures_of(alerts()[name]["expr"]) <= known()


@pytest.mark.parametrize("name", alerts())
def test_the_command_of_an_alarm_is_one_that_there_is(name):
    command = rows()[name][4]
    if command.startswith("strongroom "):
        words = command.partition(" -")[0].split()[1:]
        assert re.search(rf"^#+ {' '.join(words)}$", COMMANDS, re.MULTILINE), command


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_looks_at_figures_that_there_are(panel):
    for target in panel["targets"]:
        assert figures_of(target["expr"]) <= known()
        assert figures_of(target["expr"]) or "process_" in target["expr"]


def test_the_panels_of_the_dashboard_are_told_apart_and_do_not_overlap():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (column, line)
            for column in range(place["x"], place["x"] + place["w"])
            for line in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_prometheus_itself_takes_the_rules_and_they_fire_when_they_should():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: apt-get install prometheus")
    for arguments in (["check", "rules", RULES], ["test", "rules", RULES.with_suffix(".test.yaml")]):
        done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
