"""
What lint says of a connection: remarks, each by a rule that docs/lint.md explains.

Not for finding them: `lint.py`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["RULES", "Remark", "Weight"]

Weight = Literal["error", "warning", "note"]

RULES: dict[str, str] = {
    "L1": "unreadable",
    "L2": "unknown-type",
    "L3": "misspelt-extra",
    "L4": "unread-field",
    "L5": "missing-field",
    "L6": "wrong-type",
    "L7": "exposed-secret",
    "L8": "stray-character",
    "L9": "percent-encoded",
    "L10": "scheme-in-host",
    "L11": "port",
    "L12": "deprecated",
    "L13": "dangerous",
    "L14": "contradiction",
    "L15": "incomplete-group",
    "L16": "static-key",
    "L17": "mask",
    "L18": "dormant-reference",
}
"""Every rule and its name. Numbers are kept: scripts select by them."""


class Remark(NamedTuple):
    """
    One thing about one connection.

    Args:
        rule: its number, one of `RULES`.
        level: `error`: it cannot work, or a secret is seen by everybody; `warning`: probably not what
            was meant, or dangerous; `note`: it could be better.
        field: what it is about, as `host` or `extra.sslmode`; "" for the connection as a whole.
        what: in words; never holds a value.
        fix: what to do; "" where that is plain.
    """

    rule: str
    level: Weight
    field: str
    what: str
    fix: str = ""

    @property
    def name(self) -> str:
        """The name of its rule."""
        return RULES[self.rule]

    @property
    def docs(self) -> str:
        """Where the rule is explained, in the documentation that comes with the source."""
        return f"docs/lint.md#{self.rule.lower()}-{self.name}"

    def to_dict(self) -> dict[str, str]:
        """Give plain JSON types."""
        return {
            "rule": self.rule,
            "name": self.name,
            "level": self.level,
            "field": self.field,
            "what": self.what,
            "fix": self.fix,
            "docs": self.docs,
        }
