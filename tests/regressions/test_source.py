"""What the source must not do anywhere: RT26, RT36, CR12, IN15, PO13."""

from __future__ import annotations

import ast
import importlib
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import strongroom

SOURCE = Path(strongroom.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))


def name_of(file):
    return file.relative_to(SOURCE).as_posix()


def part_of(file):
    """Give the module or package of ours that *file* belongs to."""
    return name_of(file).partition("/")[0].removesuffix(".py")


class Found(NamedTuple):
    """
    What stands in a file, as a few texts: its tree is not kept.

    Args:
        comparisons: of what proves something, each with its line.
        runs: what would run a text, each with its line.
        imports_by_name: that it imports what a text names.
    """

    comparisons: list
    runs: list
    imports_by_name: bool


@cache
def read(file):
    """Read a file once, for all tests."""
    found = Found([], [], imports_by_name=False)
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Compare) and _is_of_a_proof(node):
            found.comparisons.append((node.lineno, " ".join(ast.unparse(node).split())))
        elif isinstance(node, (ast.Import, ast.ImportFrom, ast.Call)):
            found.runs.extend((node.lineno, one) for one in _runners(node))
            if isinstance(node, ast.Call) and _called(node) == "import_module":
                found = found._replace(imports_by_name=True)
    return found


def calls(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_there_is_a_source_to_look_at():
    assert len(FILES) > 150


# --- RT26, PO13: who is who is told by whole names -------------------------------------------------------

IDENTITIES = [
    file
    for file in FILES
    if name_of(file).startswith(("policy/", "service/access/", "service/policies/"))
    or name_of(file)
    in ("registry", "service/guard.py", "service/house.py", "service/reading.py", "server/auth.py")
]
CUTS = ("lstrip", "rstrip", "strip")
PARTS = ("startswith", "endswith", "removeprefix", "removesuffix")
# The letter that ends an allowed prefix: behind it a whole segment begins.
ENDS = (":", "/", ".", "|", "[", "*")
# What is no identity, or is held against whole prefixes that a table lists.
ALLOWED = {
    ("service", 'rstrip("=")'),  # the padding of base64
    ("service", 'startswith("eyJ")'),  # the form of a signed token, which is checked whole behind it
    ("policy", "startswith(first)"),  # what stands before the first `*` of a pattern
    ("policy", "endswith(last)"),  # and behind the last one
    ("policy", 'removeprefix("policy")'),  # the numbers that the engine gives
    ("service", "startswith(prefix)"),  # each prefix of the table ends in a colon
    ("service", "removeprefix(prefix)"),
}


def _ending(file, argument):
    """Give what a prefix ends with, in its texts and in the constants of its module; None if nobody knows."""
    if isinstance(argument, ast.Constant):
        return argument.value
    if isinstance(argument, ast.JoinedStr):
        return _ending(file, argument.values[-1])
    if isinstance(argument, (ast.Name, ast.Attribute)):
        module = importlib.import_module(
            "strongroom." + name_of(file)[:-3].replace("/", ".").removesuffix(".__init__")
        )
        return getattr(module, argument.id, None) if isinstance(argument, ast.Name) else None
    return None


def _is_whole(file, argument):
    parts = argument.elts if isinstance(argument, ast.Tuple) else [argument]
    found = [_ending(file, part) for part in parts]
    return all(isinstance(one, str) and one.endswith(ENDS) for one in found)


@pytest.mark.parametrize("file", IDENTITIES, ids=name_of)
def test_RT26_PO13_identities_are_compared_whole(file):
    wrong = []
    for call in calls(file):
        if not isinstance(call.func, ast.Attribute) or call.func.attr not in CUTS + PARTS or not call.args:
            continue
        said = f"{call.func.attr}({', '.join(ast.unparse(one) for one in call.args)})".replace("'", '"')
        if (part_of(file), said) in ALLOWED:
            continue
        if call.func.attr in CUTS or not _is_whole(file, call.args[0]):
            wrong.append(f"{name_of(file)}:{call.lineno} {said}")
    assert not wrong


def test_RT26_every_exception_is_still_needed():
    whole = {
        (part_of(file), said)
        for file in IDENTITIES
        for said in (one[1] for one in ALLOWED)
        if said in file.read_text(encoding="utf-8").replace("'", '"')
    }
    assert whole >= ALLOWED


# --- CR12: what proves something is compared in constant time ---------------------------------------------

PROOF = re.compile(r"(^|_)(digest|mac|hmac|tag|token|password|passphrase|canary|proof|otp)s?$")
# What proves nothing to anybody.
NO_PROOF = {
    # The keyring checked the one; whatever is not the same is given to the keyring.
    ("registry", "known.macs[row.kind, row.id] == row.mac"),
    (
        "service",
        "_digest(body.actor, proposal, body.content) != body.content_hash",
    ),  # of a row that its MAC holds
    ("server", "call.params['digest'] == digest"),  # which release a public file is of
    ("insight", "text == password"),  # two fields of one connection that is looked at
    ("backends", "digest == held.digest"),  # whether a file was read before
    (
        "service",
        "body.content_hash == digest",
    ),  # whether the actor asked for the same before
    ("caller", "token == refused"),  # two Secrets: they compare in constant time (model/secret.py)
    # Whether a token of ours is still the one that was sent last: both are this process's own.
    ("live", "token == refused"),
    ("live", "last.evidence[1] != token"),
    ("live", "last.evidence[2] != token"),
    # Hashes of records in a chain: whoever has the record computes them, and they open nothing.
    ("audit", "digest != part.digest"),
    ("audit", "digest == found.hash"),
    ("audit", "known != head.digest"),
    ("audit", "after.prev != before.digest"),
    ("barrier", "mark != entry.mac"),  # whether a row is to be written anew, once the keyring checked it
    ("vendors", "held.grant.token == refused.grant.token"),  # Secrets
    ("vendors", "held.grant.token != refused.grant.token"),
    ("vendors", "grant.token == refused.grant.token"),
    ("vendors", "dead.grant.token != self._proven"),
}


def _word(node):
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call):
        return _word(node.func)
    return node.id if isinstance(node, ast.Name) else ""


def _is_plain(node):
    """A constant, a type or a length says nothing of a proof."""
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Call) and _word(node) in ("len", "type"))


def _is_of_a_proof(compare):
    sides = [compare.left, *compare.comparators]
    if not any(isinstance(operator, (ast.Eq, ast.NotEq)) for operator in compare.ops):
        return False
    return not any(_is_plain(side) for side in sides) and any(PROOF.search(_word(side)) for side in sides)


@pytest.mark.parametrize("folder", sorted({part_of(file) for file in FILES}))
def test_CR12_digests_and_tokens_are_compared_in_constant_time(folder):
    wrong = [
        f"{name_of(file)}:{line} {said}"
        for file in FILES
        if part_of(file) == folder
        for line, said in read(file).comparisons
        if (part_of(file), said) not in NO_PROOF
    ]
    assert not wrong


def test_CR12_every_exception_is_still_needed():
    found = {(part_of(file), said) for file in FILES for _, said in read(file).comparisons}
    assert found >= NO_PROOF


# --- RT36, IN15: nothing stored is run --------------------------------------------------------------------

RUNNERS = (
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "jsonpickle",
    "dbm",
    "code",
)
RUNS = ("eval", "exec", "compile", "__import__", "literal_eval", "full_load", "unsafe_load")
# Who imports by a name, and where that name comes from: never from what is stored.
IMPORTERS = {
    "__init__.py": "_LAZY, a table of its own",
    "airflow/__init__.py": "_LAZY, a table of its own",
    "airflow/masks.py": "constants: the modules of Airflow's maskers",
    "airflow/probe.py": "the classes that Airflow's own configuration names, in Airflow's own Python",
    "assembly/wrappers.py": "the kind of a wrapper in the settings, which is one of a table",
    "backend/kind.py": "the kind of a backend in the settings, below our own package",
    "catalog/__init__.py": "a table of its own",
    "cli/access.py": "a table of its own",
    "cli/app.py": "a table of its own",
    "caller/__init__.py": "_LAZY, a table of its own",
    "crypto/_primitives.py": "a constant",
    "live/azure.py": "the service that a program names in its call, of a checked form, below azure",
    "live/child.py": "a table of its own",
    "live/families.py": "a table of its own, and constants of the families",
    "live/files.py": "a table of its own",
    "live/google.py": "the service that a program names in its call, of a checked form, below google.cloud",
    "live/login_token.py": "constants: families of its own",
    "server/background.py": "a constant",
    "vendors/airflow_secrets.py": "the class of Airflow's that the settings name",
}


def _called(call):
    return call.func.attr if isinstance(call.func, ast.Attribute) else _word(call.func)


@pytest.mark.parametrize("folder", sorted({part_of(file) for file in FILES}))
def test_RT36_IN15_nothing_that_is_stored_can_be_run(folder):
    wrong = [
        f"{name_of(file)}:{line} {one}"
        for file in FILES
        if part_of(file) == folder
        for line, one in read(file).runs
    ]
    assert not wrong


def _runners(node):
    if isinstance(node, ast.Import):
        names = [alias.name.partition(".")[0] for alias in node.names]
        return [name for name in names if name in RUNNERS]
    if isinstance(node, ast.ImportFrom):
        return [node.module] if (node.module or "").partition(".")[0] in RUNNERS else []
    return [_called(node)] if _is_runner(node) else []


def _is_runner(call):
    word = _called(call)
    if word == "compile":  # of regular expressions it is another
        return not (isinstance(call.func, ast.Attribute) and _word(call.func.value) == "re")
    # `load` of YAML makes objects unless it is told otherwise.
    is_yaml = (
        word == "load" and isinstance(call.func, ast.Attribute) and "yaml" in _word(call.func.value).lower()
    )
    return word in RUNS or is_yaml


def test_RT36_IN15_modules_are_imported_by_names_of_our_own():
    found = {name_of(file) for file in FILES if read(file).imports_by_name}
    assert found == set(IMPORTERS)
