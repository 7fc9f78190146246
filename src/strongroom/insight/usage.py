"""
Which connections and variables DAG files ask for, as far as their text says it.

Not for what they hold, nor whether it exists. A name that is computed is not seen.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import TYPE_CHECKING

from strongroom.errors import InvalidInputError
from strongroom.insight.scan import Scan, python_texts
from strongroom.model.ref import Kind, Ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["names_in", "names_of"]

_CALLS: dict[tuple[str, str], Kind] = {
    ("Variable", "get"): "variable",
    ("Connection", "get"): "connection",
    ("Connection", "async_get"): "connection",
    ("Connection", "get_connection_from_secrets"): "connection",
    ("BaseHook", "get_connection"): "connection",
    ("BaseHook", "aget_connection"): "connection",
    ("strongroom", "variable"): "variable",
    ("strongroom", "avariable"): "variable",
    ("strongroom", "connection"): "connection",
    ("strongroom", "aconnection"): "connection",
}
# Of `strongroom.connection` and `.variable`; every other one fills in a part of the name.
_NO_PARAMETERS = ("name", "team", "default", "json")
_ARGUMENT = re.compile(r"(?:\w+_)?conn_id")
_ATTRIBUTE = re.compile(r"\{[{%][^}]*?\b(var\.(?:value|json)|conn)\.(?!get\b)(\w+)")
_GOTTEN = re.compile(r"\{[{%][^}]*?\b(var\.(?:value|json)|conn)\.get\(\s*['\"]([^'\"]+)['\"]\s*[,)]")


def names_of(folders: Iterable[Path], scan: Scan) -> set[tuple[Kind, str]]:
    """
    Give what the Python files below *folders* ask for.

    Args:
        folders: those of DAGs.
        scan: bounds the work, and tells afterwards what was left out.
    """
    found: set[tuple[Kind, str]] = set()
    for folder in folders:
        for text in python_texts(folder, scan):
            found.update(names_in(text))
    return found


def names_in(source: str) -> set[tuple[Kind, str]]:
    """Give what one Python text asks for: calls, arguments `…conn_id`, templates; names that are legal."""
    return {(kind, name) for kind, name in _said(source) if _is_legal(kind, name)}


def _said(source: str) -> Iterator[tuple[Kind, str]]:
    for pattern in (_ATTRIBUTE, _GOTTEN):
        for match in pattern.finditer(source):
            yield ("connection" if match[1] == "conn" else "variable"), match[2]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning of the parser quotes the line it is about
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _of_call(node)


def _of_call(call: ast.Call) -> Iterator[tuple[Kind, str]]:
    for keyword in call.keywords:
        name = _text(keyword.value)
        if keyword.arg is not None and name and _ARGUMENT.fullmatch(keyword.arg):
            yield "connection", name
    if not isinstance(call.func, ast.Attribute):
        return
    owner = call.func.value
    last = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
    kind = _CALLS.get((last, call.func.attr))
    given = (
        call.args[0] if call.args else next((one.value for one in call.keywords if one.arg == "key"), None)
    )
    name = _text(given)
    if kind is not None and name and not (last == "strongroom" and _is_filled(call)):
        yield kind, name


def _is_filled(call: ast.Call) -> bool:
    """Tell whether the name is a pattern, and completed by other arguments (`model/pattern.py`)."""
    return any(keyword.arg not in _NO_PARAMETERS for keyword in call.keywords)


def _text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _is_legal(kind: Kind, name: str) -> bool:
    try:
        Ref(kind, name)
    except InvalidInputError:
        return False
    return True
