"""Figures: every one is described in docs/metrics.md, and none tells a name, an actor or an address."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from parts.server import serving
from strongroom.server.metrics import FIGURES, Metrics

MANUAL = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_described_with_its_labels(name):
    row = re.search(rf"^\| `{name}` \| (\w+) \| ([^|]*) \|", MANUAL, re.MULTILINE)
    assert row is not None, f"docs/metrics.md says nothing of {name}"
    assert tuple(re.findall(r"`(\w+)`", row[2])) == FIGURES[name][1]


def test_nothing_is_described_that_is_not_there():
    assert set(re.findall(r"^\| `(strongroom_\w+)`", MANUAL, re.MULTILINE)) == set(FIGURES)


def test_all_of_them_are_given_and_none_names_anything(server):
    token = server.token("named-actor", "admin")
    server.ask("PUT", "/v1/entries/variable/named-entry", {"value": "x"}, token=token)
    for _ in range(2):
        server.ask("POST", "/v1/read", {"refs": [{"kind": "variable", "name": "named-entry"}]}, token=token)
    server.ask("GET", "/v1/entries/variable/absent-entry", token=token)
    text = server.ask("GET", "/metrics").body.decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert set(FIGURES) - set(families) == {"strongroom_entry_reads"}  # asked for by a setting
    for name in ("named-actor", "named-entry", "absent-entry", "127.0.0.1", "region"):
        assert name not in text
    assert 'strongroom_reads_total{backend="native",deployment="prod",outcome="found"}' in text
    ages = families["strongroom_key_age_seconds"].samples
    assert all(sample.value >= 0 for sample in ages)
    assert {sample.labels["deployment"] for sample in ages} == {"prod", "staging"}


def test_keys_and_backups_have_figures(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o700)
    with serving(tmp_path, f'[backup]\nfolder = "{kept}"\n') as server:
        server.ask("PUT", "/v1/entries/variable/region", {"value": "eu"}, token=server.token())
        (kept / "default-20261101T000000Z.srb").write_bytes(b"any")
        (kept / "default-20261101T000000Z.srb").chmod(0o600)
        text = server.ask("GET", "/metrics").body.decode()
    assert 'strongroom_key_wraps{deployment="default"} 1.0' in text
    assert 'strongroom_key_wrappers{deployment="default"} 1.0' in text
    (age,) = re.findall(r'^strongroom_backup_age_seconds\{deployment="default"\} (\S+)$', text, re.MULTILINE)
    assert float(age) >= 0


def test_figures_are_for_this_machine_and_for_those_who_may(server):
    assert server.ask("GET", "/metrics").headers["content-type"].startswith("text/plain")


def test_behind_a_proxy_figures_need_a_role(tmp_path):
    with serving(tmp_path, '[server]\ntrusted_proxies = ["127.0.0.1"]\n', served=()) as server:
        assert server.ask("GET", "/metrics").status == 401
        assert server.ask("GET", "/metrics", token=server.token("m", "metrics")).status == 200
        assert server.ask("GET", "/metrics", token=server.token("a", "admin")).status == 200
        assert server.ask("GET", "/metrics", token=server.token("v", "viewer")).status == 403


def test_names_are_bounded():
    metrics = Metrics(with_names=True)
    for index in range(20_000):
        metrics.named("d", "variable", str(index))
    metrics.named("d", "variable", "0")
    assert metrics.render().count(b"strongroom_entry_reads_total{") == 10_000
