"""The quick reader of kubectl's YAML gives what the whole reader gives, or leaves it to that one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import InvalidInputError
from strongroom.model.yaml11 import parse_yaml
from strongroom.transfer.forms import forms
from strongroom.transfer.forms.kubeconfig_block import read_block

_WORDS = st.sampled_from(
    [
        *("a", "--a=b", "--1", "no", "y", "1", "1.5", "0x1f", "2024-01-01", "null", "~", "https://h:6443"),
        *("a:b", "a:", "LS0t==", "{}", "[]", "[a]", "'it''s'", "'x y'", '"x: y"', '"a\\nb"'),
        *("-", "- a", "|", ">", "&a b", "*a", "!x", "a #c", "<<"),
    ]
)
_LINE = st.builds(
    lambda indent, dash, name, value, end: " " * indent + dash + name + value + end,
    st.integers(0, 4),
    st.sampled_from(["", "", "- ", "-  ", "- - "]),
    st.sampled_from(["", "name:", "a:", "b:", "no:", "user: ", "x y:", "a-b:"]),
    st.one_of(st.just(""), _WORDS.map(lambda word: f" {word}"), _WORDS),
    st.sampled_from(["", "", " ", "\r", "\t"]),
)
PLAIN = """\
---
# written by kubectl
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: LS0tLS1CRUdJTi==
    server: https://1.2.3.4:6443
  name: gke_a_b
- name: "two: 2"

contexts:
  - name: gke
    context: {}
current-context: ""
users:
- name: u
  user:
    exec:
      args:
      - get-token
      - --cluster-name
      env: null
      interactive: true
"""


@settings(max_examples=600, deadline=None)
@given(st.lists(_LINE, max_size=8).map("\n".join))
def test_what_it_reads_the_whole_reader_reads_the_same(text):
    found = read_block(text)
    if found is not None:
        assert repr(found) == repr(parse_yaml(text))


def test_what_kubectl_writes_is_read():
    assert read_block(PLAIN) == parse_yaml(PLAIN)
    assert read_block(PLAIN) is not None
    example = next(one.example for one in forms() if one.name == "kubeconfig")
    assert read_block(example) == parse_yaml(example)


@pytest.mark.parametrize("text", ["", "a: b: c", "a: |\n  x", "a: b\n  c", "a: 1\na: 2", "\ta: b", "a: é"])
def test_what_is_odd_is_left_to_the_whole_reader(text):
    assert read_block(text) is None


def test_depth_is_bounded():
    text = "".join(f"{' ' * depth}a:\n" for depth in range(200))
    assert read_block(text) is None
    with pytest.raises(InvalidInputError, match="deeper"):
        parse_yaml(text)
