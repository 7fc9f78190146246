"""
Secrets written into code: what a DAG file, a Dockerfile or a compose file holds as a literal.

Not for finding the files (`scan.py`), and no replacement for a scanner of a whole history.

Rules of this file:

1. What is given is line and rule; the literal itself never leaves the function that saw it.
2. A text is data: Python is parsed, never compiled or run; whatever it is, nothing is raised.
3. Few false alarms before completeness: what reads like a placeholder, a template, a reference to a
   variable or the name of a secret is passed over.

Source of the names: Airflow's masker (airflow/_shared/secrets_masker/secrets_masker.py of 3.3.2).
"""

from __future__ import annotations

import ast
import re
import sys
import warnings
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["has_password", "is_literal", "is_secret_name", "scan_image", "scan_python"]

_MAX_CHARACTERS = 65_536  # of a literal: more is a document
_MAX_OPERATORS = 20_000  # see `_parses_safely`

# Whole words at the end of a name: `db_password`, `apiKey`; not `password_file` or `token_url`.
_SECRET_NAME = re.compile(
    r"(?:^|[_\-. ])(?:password|passwd|passphrase|pwd|secret|token|bearer|credentials?"
    r"|(?:api|access|secret|private|service|account|shared_access|fernet|signing|encryption)[_-]?key"
    r"|connection_string|keyfile_dict|webhook_url|dsn)$",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_URI_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,40}://[^\s:/@'\"]{0,200}:([^\s/@'\"]{1,500})@")
_PLACEHOLDER = re.compile(
    r"(?:change[_-]?(?:me|it|this)|(?:your|my|some|put|enter|insert)[_\- ].*|place[_-]?holder|example.*"
    r"|dummy.*|fake.*|todo.*|tbd|none|null|nil|true|false|redacted|removed|masked|hidden|secret|secrets"
    r"|password|passwd|pass|pwd|pw|passphrase|token|api[_-]?key|airflow|test|testing|user|username"
    r"|x{3,}.*|\*+|\.{3,}|-+|_+|…|<.*>|\[.*\])",
    re.IGNORECASE | re.DOTALL,
)
_TEMPLATE = re.compile(r"\{\{|\}\}|\{%|\$\{|\$\(|^\$\w+$|%\(|\{[A-Za-z_][\w.\[\]]*\}|%[sdr](?![A-Za-z0-9])")
# `db_password`, `airflow-secrets`, `vault/data/token`: a name of a secret rather than one.
_NAME_OF_SECRET = re.compile(r"[A-Za-z_\-./: ]*(?:pass|secret|token|key|cred)[A-Za-z_\-./: ]*", re.IGNORECASE)
_LEAST = 4  # characters of a literal worth telling

# Shapes that are secrets wherever they stand, comments included.
_SHAPES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "aws-key-id",
        re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)(?![0-9A-Z]{9}EXAMPLE)[0-9A-Z]{16}(?![A-Za-z0-9])"),
    ),
    ("private-key", re.compile(r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY-----")),
    (
        "token",
        re.compile(
            r"(?<![A-Za-z0-9_])(?:srm_[A-Za-z0-9_\-]{16}|gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22}"
            r"|glpat-[A-Za-z0-9_\-]{20}|xox[abeoprs]-[A-Za-z0-9\-]{10}|hv[sbr]\.[A-Za-z0-9_\-]{24})"
        ),
    ),
)
_ENV_LINE = re.compile(r"\s*(?:ENV|ARG)\s+(.*)", re.IGNORECASE)
_PAIR = re.compile(r"""([A-Za-z_][\w.\-]*)=("(?:[^"\\]|\\.)*"|'[^']*'|\S*)""")
_SPACED = re.compile(r"([A-Za-z_][\w.\-]*)\s+(.*\S)")
_YAML_LINE = re.compile(r"""\s*(?:-\s+)?["']?([A-Za-z_][\w.\-]*)["']?\s*[:=]\s*(\S.*)""")
_JSON_PASSWORD = re.compile(r"""["']password["']\s*:\s*["']([^"']{1,500})["']""")


# --- what is a secret's name, what is a literal ----------------------------------------------------


def is_secret_name(name: str) -> bool:
    """Tell whether something called *name* holds a secret: `db_password`, `apiKey`; not `token_url`."""
    return len(name) <= 200 and bool(_SECRET_NAME.search(_CAMEL.sub("_", name)))  # noqa: PLR2004 -- no name is longer


def is_literal(text: str) -> bool:
    """
    Tell whether *text* may be a secret written out: no placeholder (`changeme`, `***`, `<token>`), no
    template or variable (`{{ … }}`, `${…}`), no name of a secret (`db_password`), no prose, 4 characters
    at least.
    """
    text = text.strip()
    if len(text) < _LEAST or len(text) > _MAX_CHARACTERS or any(map(str.isspace, text[:1000])):
        return False
    head = text[:500]
    return not (_PLACEHOLDER.fullmatch(head) or _TEMPLATE.search(head) or _NAME_OF_SECRET.fullmatch(head))


def has_password(text: str) -> bool:
    """Tell whether *text* holds a URI with a password written out."""
    if "://" not in text:
        return False
    return any(_is_uri_literal(found[1]) for found in _URI_PASSWORD.finditer(text))


def _is_uri_literal(password: str) -> bool:
    return not (_PLACEHOLDER.fullmatch(password) or _TEMPLATE.search(password))


# --- Python --------------------------------------------------------------------------------------


class _Named(NamedTuple):
    """A place where something has a name and a value."""

    name: str
    value: ast.expr | None


def scan_python(source: str) -> list[tuple[int, str]]:
    """
    Give line and rule of each secret that *source*, a Python file, holds as a literal; never raises.

    What does not parse is looked at line by line, for the shapes that are secrets wherever they stand.
    """
    found = set(_shapes(source))
    tree = _tree(source)
    if tree is not None:
        found.update(_in_tree(tree))
    return sorted(found)


def _shapes(text: str) -> Iterator[tuple[int, str]]:
    for rule, shape in _SHAPES:
        for match in shape.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, rule


def _tree(source: str) -> ast.Module | None:
    if not _parses_safely(source):
        return None
    try:
        with warnings.catch_warnings():
            # A warning of the parser quotes the line it is about.
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _parses_safely(source: str) -> bool:
    """
    Tell whether a parser without a limit of its own can take *source*: before Python 3.11 an expression
    of very many operators (measured: over 40,000) overruns the stack and ends the process.
    """
    if sys.version_info >= (3, 11):
        return True
    return sum(map(source.count, ".([+-*/%@|&^<>")) <= _MAX_OPERATORS


def _in_tree(tree: ast.Module) -> Iterator[tuple[int, str]]:
    docstrings = set(_docstrings(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and id(node) not in docstrings and has_password(node.value):
                yield node.lineno, "uri-password"
            continue
        for name, value in _names_in(node):
            if is_secret_name(name) and _is_secret(value):
                yield value.lineno, "named-secret"  # type: ignore[union-attr]  # a constant was found
        if isinstance(node, ast.Call) and _sets_variable(node):
            yield node.lineno, "variable-set"


def _docstrings(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield id(node.value)


def _is_secret(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and isinstance(value.value, str) and is_literal(value.value)


def _names_in(node: ast.AST) -> Iterator[_Named]:
    if isinstance(node, ast.Call):
        yield from _keywords(node)
    elif isinstance(node, ast.Assign):
        yield from (_Named(name, node.value) for target in node.targets for name in _target(target))
    elif isinstance(node, ast.AnnAssign):
        yield from (_Named(name, node.value) for name in _target(node.target))
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield _Named(key.value, value)
    elif isinstance(node, ast.arguments):
        yield from _defaults(node)


def _keywords(call: ast.Call) -> Iterator[_Named]:
    # Airflow's own `Secret(deploy_type, deploy_target, secret="name")` names a Kubernetes Secret.
    is_reference = _last_name(call.func) == "Secret"
    for keyword in call.keywords:
        if keyword.arg and not (is_reference and keyword.arg == "secret"):
            yield _Named(keyword.arg, keyword.value)


def _target(target: ast.expr) -> Iterator[str]:
    if isinstance(target, (ast.Name, ast.Attribute)):
        yield _last_name(target)
    elif isinstance(target, ast.Subscript):
        key = target.slice
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value


def _defaults(arguments: ast.arguments) -> Iterator[_Named]:
    positional = [*arguments.posonlyargs, *arguments.args]
    late = positional[len(positional) - len(arguments.defaults) :]
    for argument, default in [
        *zip(late, arguments.defaults, strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]:
        yield _Named(argument.arg, default)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _sets_variable(call: ast.Call) -> bool:
    """Tell whether *call* is `Variable.set("db_password", "literal")`, by place or by keyword."""
    func = call.func
    if not (isinstance(func, ast.Attribute) and func.attr == "set" and _last_name(func.value) == "Variable"):
        return False
    given = dict(zip(("key", "value"), call.args, strict=False))
    given.update({keyword.arg: keyword.value for keyword in call.keywords if keyword.arg})
    key = given.get("key")
    is_secret = isinstance(key, ast.Constant) and isinstance(key.value, str) and is_secret_name(key.value)
    return is_secret and _is_secret(given.get("value"))


# --- images --------------------------------------------------------------------------------------


def scan_image(text: str) -> list[tuple[int, str]]:
    """
    Give line and rule of each secret that *text*, a Dockerfile or a compose file, sets to a literal;
    never raises. Read line by line, not as a grammar: a value that goes on over several lines is not seen.
    """
    found = set(_shapes(text))
    for number, line in enumerate(text.split("\n"), 1):
        if line.lstrip().startswith("#") or len(line) > 10_000:  # noqa: PLR2004 -- no setting is longer
            continue
        found.update((number, rule) for name, value in _settings_in(line) for rule in _rules(name, value))
    return sorted(found)


def _settings_in(line: str) -> Iterable[tuple[str, str]]:
    said = _ENV_LINE.fullmatch(line)
    if said:
        body = said[1].rstrip("\\")
        pairs = [(match[1], _unquoted(match[2])) for match in _PAIR.finditer(body)]
        spaced = _SPACED.fullmatch(body.strip())
        return pairs or ([(spaced[1], _unquoted(spaced[2]))] if spaced else [])
    found = _YAML_LINE.fullmatch(line)
    if found:
        return [(found[1], _unquoted(found[2]))]
    # The lines an ENV goes on over.
    return [(match[1], _unquoted(match[2])) for match in _PAIR.finditer(line)]


def _unquoted(text: str) -> str:
    text = text.strip().rstrip("\\").strip()
    if text[:1] in "\"'" and len(text) > 1:
        end = text.find(text[0], 1)
        return text[1:end] if end > 0 else text[1:]
    return re.sub(r"\s#.*", "", text).rstrip("\"' ")


def _rules(name: str, value: str) -> Iterator[str]:
    # `*anchor`, `&anchor` and `!tag` of YAML are no values.
    if value[:1] in ("*", "&", "!"):
        return
    if has_password(value):
        yield "uri-password"
    elif is_secret_name(name) and is_literal(value):
        yield "named-secret"
    elif name.upper().startswith("AIRFLOW_CONN_"):
        found = _JSON_PASSWORD.search(value)
        if found and is_literal(found[1]):
            yield "named-secret"
