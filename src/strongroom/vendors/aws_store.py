"""
What stores of AWS have in common beside who we are there: names, least policies, and looking at oneself.

Not for what one store keeps and how (`backends/aws_*.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timezone
from typing import TYPE_CHECKING, Literal, NamedTuple

from strongroom.backend import Health, Naming
from strongroom.backend.naming import WORDS, prefix_option
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError, StrongroomError
from strongroom.model.ref import Kind, Ref
from strongroom.vendors.aws_answer import Fault, trouble

if TYPE_CHECKING:
    from datetime import datetime

    from strongroom.vendors.aws import AwsSession

__all__ = [
    "AUTHOR_TAG",
    "AwsNaming",
    "Probe",
    "Resources",
    "author_tags",
    "health",
    "naming_of",
    "policy",
    "statement",
    "utc",
]

_TEAM_SEPARATOR = "--"  # between team and name, as in Airflow's `<prefix>/<team>--<id>`
AUTHOR_TAG = "strongroom-author"
_MAX_TAG = 256
_NO_TAG = re.compile(r"[^\w\s+=.:/@-]")


@dataclass(frozen=True, slots=True)
class AwsNaming(Naming):
    """
    A `Naming` that keeps only names which match a pattern; the others are not asked for.

    Args:
        patterns: by kind, matched from the name's beginning, in any case of letters.

    Source: `*_lookup_pattern` of apache-airflow-providers-amazon.
    """

    patterns: Mapping[Kind, re.Pattern[str]] = field(default_factory=dict)

    def paths(self, ref: Ref) -> tuple[str, ...]:
        pattern = self.patterns.get(ref.kind)
        if pattern is not None and pattern.match(ref.name) is None:
            return ()
        return Naming.paths(self, ref)


def naming_of(
    name: str, options: object, *, separator: str, is_spellable: Callable[[str], bool], strip: str
) -> AwsNaming:
    """
    Give the names of the backend *name* from its options: prefixes, patterns, whether teams have names.

    Args:
        name: of the backend.
        options: of the backend.
        separator: between a prefix and a name.
        is_spellable: the store's grammar of a whole name.
        strip: which ends of a prefix do not count: `both`, or `end`.

    Raises:
        BackendConfigError: a prefix is true, or a pattern is none.
    """
    prefixes: dict[Kind, str | tuple[str, ...] | None] = {}
    patterns: dict[Kind, re.Pattern[str]] = {}
    for kind, word in WORDS.items():
        given = prefix_option(name, options, f"{word}_prefix")
        if isinstance(given, str):
            bare = given.strip(separator) if strip == "both" else given.rstrip(separator)
            prefixes[kind] = bare
        pattern = getattr(options, f"{word}_lookup_pattern")
        if pattern:
            patterns[kind] = _compiled(name, f"{word}_lookup_pattern", pattern)
    return AwsNaming(
        prefixes,
        separator=separator,
        team_separator=_TEAM_SEPARATOR if getattr(options, "use_team_secrets_path", False) else None,
        is_spellable=is_spellable,
        patterns=patterns,
    )


def _compiled(name: str, key: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error:
        raise BackendConfigError(
            f"backend.{name}.{key} is no regular expression", hint='write one as Python reads it: "^prod_"'
        ) from None


def author_tags(author: str) -> list[dict[str, str]]:
    """Give the tag that says who wrote, in the characters AWS takes."""
    return [{"Key": AUTHOR_TAG, "Value": _NO_TAG.sub("_", author)[:_MAX_TAG]}]


def utc(moment: datetime) -> datetime:
    """Give a moment of the SDK, which has its zone, in UTC."""
    return moment.astimezone(timezone.utc)


# --- least policies ------------------------------------------------------------------------------------


class Resources(NamedTuple):
    """
    Where a store's resources are, for policies.

    Args:
        service: as IAM calls it.
        regions: all that are asked; "*" where it is not known.
        account: twelve digits, or "*".
    """

    service: str
    regions: Sequence[str]
    account: str

    @classmethod
    def of(cls, service: str, session: AwsSession, more: Sequence[str] = ()) -> Resources:
        """Give those of *session*, and of the regions *more*. Nothing is asked."""
        try:
            region = session.region()
        except StrongroomError:
            region = "*"
        role = session.access.role_arn
        return cls(service, (region, *more), role.split(":")[4] if role else "*")

    def arns(self, what: Sequence[str], service: str | None = None) -> list[str]:
        """Give the ARN of each of *what* in each region."""
        return [
            f"arn:{_partition(region)}:{service or self.service}:{region}:{self.account}:{one}"
            for one in what
            for region in self.regions
        ]

    def key_statement(self, key: str, actions: Sequence[str]) -> dict[str, object]:
        """Give the statement that allows *actions* on the KMS key, by way of this service alone."""
        via = [f"{self.service}.{region}.amazonaws.com" for region in self.regions]
        condition: dict[str, object] = {"StringLike": {"kms:ViaService": via}}
        if key.startswith("arn:") and ":key/" in key:
            where = [key]
        elif key.rpartition(":")[2].startswith("alias/"):
            where = self.arns(["key/*"], "kms")
            condition["ForAnyValue:StringEquals"] = {"kms:ResourceAliases": key.rpartition(":")[2]}
        else:
            where = self.arns([f"key/{key}"], "kms")
        return {**statement("Key", actions, where), "Condition": condition}


def _partition(region: str) -> str:
    return "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"


def statement(name: str, actions: Sequence[str], resources: Sequence[str]) -> dict[str, object]:
    """Give one statement of a policy that allows *actions* on *resources*."""
    return {
        "Sid": f"Strongroom{name}",
        "Effect": "Allow",
        "Action": sorted(actions),
        "Resource": list(resources),
    }


def policy(statements: Sequence[Mapping[str, object]]) -> str:
    """Give the policy of *statements* as IAM takes it."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)}, indent=2) + "\n"


# --- looking at oneself --------------------------------------------------------------------------------

Verb = Literal["read", "list", "write"]


class Probe(NamedTuple):
    """
    A question that changes nothing and shows whether something is allowed.

    Args:
        action: the permission it needs.
        resource: on what.
        ask: asks it; a Fault with one of *harmless* as its code means that it is allowed.
        tells_yes: False where being allowed this one says nothing of the others that the verb needs.
    """

    action: str
    resource: str
    ask: Callable[[], object]
    harmless: Sequence[str] = ()
    tells_yes: bool = True


def health(
    session: AwsSession, place: str, probes: Mapping[str, Probe], ends: Mapping[str, datetime]
) -> Health:
    """
    Tell whom AWS takes us for and what we may, without changing anything; never raises for trouble of AWS.

    Args:
        session: who asks.
        place: the backend's name.
        probes: by `read`, `list` and `write`.
        ends: what ends when, as of `Health`.
    """
    unasked: StrongroomError | None = None
    identity = ""
    try:
        identity = session.identity()
    except BackendUnavailableError as error:
        unasked = error  # STS alone: the store may answer all the same
    except StrongroomError as error:
        return Health.failed(error, ends=ends)
    may: dict[str, Literal["yes", "no", "unknown"]] = {}
    found: dict[str, StrongroomError] = {}
    for verb, probe in probes.items():
        error_or_none = _asked(probe, place)
        if error_or_none is None:
            may[verb] = "yes" if probe.tells_yes else "unknown"
        else:
            may[verb] = "no" if isinstance(error_or_none, AccessDeniedError) else "unknown"
            found[verb] = error_or_none
    is_silent = [isinstance(error, BackendUnavailableError) for error in found.values()]
    told = list(dict.fromkeys(Health.told(error) for error in found.values()))
    if unasked is not None and len(is_silent) < len(probes):
        told.append(f"as whom is not known, because STS could not be asked: {Health.told(unasked)}")
    return Health(
        status="error" if "read" in found else "ready",
        message="; ".join(told),
        identity=identity,
        may=may,
        ends=ends,
        is_reachable=len(is_silent) < len(probes) or not all(is_silent),
    )


def _asked(probe: Probe, place: str) -> StrongroomError | None:
    try:
        probe.ask()
    except Fault as fault:
        if fault.code in probe.harmless:
            return None
        return trouble(fault, place=place, action=probe.action, resource=probe.resource)
    except StrongroomError as error:
        return error
    return None
