"""
The names of those who act, and of roles: one spelling each.

A name has 1 to 64 of `a-z 0-9 . _ @ -`, the first and last a letter or digit, after NFKC and
casefolding: `Anna`, `ANNA` and the same in full-width letters are one name. Anything else is refused,
never stripped into another one.

Source: docs/access.md, "Names"; AA06 and AA07 of the attack programme.
"""

from __future__ import annotations

import re
import unicodedata

from strongroom.errors import InvalidInputError

__all__ = ["AGENT", "LOCAL", "MAX_NAME_CHARACTERS", "PERSON", "SERVICE", "canonical", "check_actor", "folded"]

MAX_NAME_CHARACTERS = 64
PERSON, SERVICE, AGENT, LOCAL = "person:", "service:", "agent:", "local:"

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._@-]{0,62}[a-z0-9])?", re.ASCII)
_UID = re.compile(r"[0-9]{1,10}", re.ASCII)
_MAX_TYPED = 256  # characters: what is longer is no name, and not worth normalising


def canonical(name: str, *, what: str = "a name") -> str:
    """
    Give the one spelling of *name*.

    Args:
        name: as it was typed.
        what: names it in the refusal.

    Raises:
        InvalidInputError: it is no name; the refusal does not quote it.
    """
    if len(name) <= _MAX_TYPED:
        found = _normal(name)
        if _NAME.fullmatch(found):
            return found
    raise InvalidInputError(
        f"{what} has 1 to {MAX_NAME_CHARACTERS} of a-z, 0-9, '.', '_', '@' or '-', "
        "the first and last a letter or digit",
        # Said only where it is what was passed: an error of a limit is answered as one.
        limit=MAX_NAME_CHARACTERS if len(name) > MAX_NAME_CHARACTERS else None,
    )


def folded(name: str) -> str:
    """
    Give what every spelling of a name has in common, for counting attempts: never for finding anyone.

    Blanks and what prints as nothing are left out; two names may fold alike, a name and its variant
    always do.
    """
    kept = (character for character in name[:_MAX_TYPED] if unicodedata.category(character)[0] not in "CZ")
    return _normal("".join(kept))[:MAX_NAME_CHARACTERS]


def check_actor(actor: str) -> str:
    """
    Give the one spelling of who acts: `person:<name>`, `service:<name>`, `agent:<name>` or `local:<uid>`.

    Raises:
        InvalidInputError: it is none of these.
    """
    for prefix in (PERSON, SERVICE, AGENT):
        if actor.startswith(prefix):
            return prefix + canonical(actor[len(prefix) :])
    if actor.startswith(LOCAL) and _UID.fullmatch(actor[len(LOCAL) :]):
        return actor
    raise InvalidInputError(
        "who acts is person:NAME, service:NAME, agent:NAME or local:UID", hint="as in person:anna"
    )


def _normal(text: str) -> str:
    # Twice: casefolding may leave what NFKC folds again (Unicode 3.13, D146).
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
