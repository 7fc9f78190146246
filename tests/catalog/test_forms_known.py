"""Every type that a pasted text can become is in the catalog."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from strongroom.catalog import find, names
from strongroom.transfer import forms
from strongroom.transfer.forms import forms as every_form
from strongroom.transfer.forms import read_any

SOURCES = sorted(Path(forms.__file__).parent.glob("*.py"))
# Whose first or second argument, or whose values, name types.
CALLS = {"connection": 0, "typed": 0, "Kind": 0, "_group": 1}
TABLES = {"TYPES", "_ENGINES"}


def written(tree: ast.Module):
    """Give the types that *tree* names: in calls, in its tables, and where one is chosen."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS:
            yield from texts(node.args[CALLS[node.func.id]])
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id == "conn_type":
                yield from texts(node.value)
            elif node.targets[0].id in TABLES and isinstance(node.value, ast.Dict):
                for value in node.value.values:
                    yield from texts(value)


def texts(node: ast.expr):
    branches = (node.body, node.orelse) if isinstance(node, ast.IfExp) else (node,)
    for branch in branches:
        if isinstance(branch, ast.IfExp):
            yield from texts(branch)
        elif isinstance(branch, ast.Constant) and isinstance(branch.value, str):
            yield branch.value


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_type_a_form_names_is_in_the_catalog(source):
    found = set(written(ast.parse(source.read_text(encoding="utf-8"))))
    assert found - {""} <= set(names())


def test_the_forms_name_types_where_this_test_looks():
    found = {one for source in SOURCES for one in written(ast.parse(source.read_text(encoding="utf-8")))}
    assert {"postgres", "mysql", "mssql", "amqp", "kafka", "azure_cosmos", "jdbc", "athena"} <= found


@pytest.mark.parametrize("form", every_form(), ids=lambda form: form.name)
def test_the_example_of_every_form_becomes_a_type_of_the_catalog(form):
    for made in read_any(form.example, form=form.name).connections.values():
        assert find(made.conn_type) is not None
