"""
AWS profiles that hold no keys of their own: a role taken on, SSO, a program, a token of the machine.

What Airflow's hook can do by itself stands in the connection: the role, and the keys of the profile it is
taken on from where they stand in the same file. What only boto3 can do stands as `profile_name`, and the
file must be where the task runs, which is told.

Sources: docs.aws.amazon.com/sdkref "Assume role credential provider", "IAM Identity Center credential
provider", "Process credential provider"; airflow/providers/amazon/aws/hooks/base_aws.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ROLE_KEYS", "SIGN_IN_KEYS", "role_extra", "role_settings", "signs_in_elsewhere"]

Profile = dict[str, str]

ROLE_KEYS = {
    "external_id": "ExternalId",
    "role_session_name": "RoleSessionName",
    "duration_seconds": "DurationSeconds",
}
"""Arguments of AssumeRole by the settings of a profile."""

SIGN_IN_KEYS = frozenset(
    {
        "role_arn",
        "source_profile",
        "credential_source",
        "mfa_serial",
        "web_identity_token_file",
        "credential_process",
        "sso_session",
        "sso_start_url",
        "sso_region",
        "sso_account_id",
        "sso_role_name",
        "sso_registration_scopes",
        *ROLE_KEYS,
    }
)
"""Settings of a profile that say how it signs in, its keys aside."""

_SSO = "signs in by SSO: this file must be where the task runs too, and its tokens live for hours"
_ELSEWHERE = {
    "sso_session": _SSO,
    "sso_start_url": _SSO,
    "credential_process": "a program gives the keys: it, and this file, must be where the task runs too",
}
_FEDERATION = "assume_role_with_web_identity"


def signs_in_elsewhere(given: Mapping[str, str]) -> str | None:
    """Give what only boto3 can do for the profile, in words; None where the hook can do it."""
    if "role_arn" in given:
        return None
    return next((why for key, why in _ELSEWHERE.items() if key in given), None)


def role_extra(
    given: Mapping[str, str], every: Mapping[str, Profile]
) -> tuple[dict[str, Any], Profile, list[str]]:
    """
    Give extra of a profile that takes on a role, the profile whose keys it takes it on with, and warnings.

    Args:
        given: the profile, with `role_arn`.
        every: all of the file by name, where its `source_profile` may stand.
    """
    extra: dict[str, Any] = {"role_arn": given["role_arn"]}
    source = given.get("source_profile", "")
    keys: Profile = {}
    notes = []
    if "web_identity_token_file" in given:
        extra |= {"assume_role_method": _FEDERATION, f"{_FEDERATION}_federation": "file"}
        extra[f"{_FEDERATION}_token_file"] = given["web_identity_token_file"]
        notes.append("takes on a role with a token, whose file must be where the task runs")
    elif source and _has_keys(every.get(source, {}), is_self=every.get(source) == given):
        keys = every[source]
    elif source:
        extra["profile_name"] = source
        notes.append("takes on a role from another profile, whose file must be where the task runs")
    else:
        notes.append("takes on a role with what the machine of the task has")
    if "mfa_serial" in given:
        notes.append("asks for the code of a device, which nobody types for a task")
    arguments = {ROLE_KEYS[key]: _argument(key, given[key]) for key in ROLE_KEYS if given.get(key)}
    return extra | ({"assume_role_kwargs": arguments} if arguments else {}), keys, notes


def _has_keys(profile: Mapping[str, str], *, is_self: bool) -> bool:
    """Tell whether *profile* holds keys that count; those of one that takes on a role itself do not."""
    has_keys = {"aws_access_key_id", "aws_secret_access_key"} <= profile.keys()
    return has_keys and (is_self or not profile.keys() & {"role_arn", *_ELSEWHERE})


def _argument(key: str, value: str) -> str | int:
    is_number = key == "duration_seconds" and value.isascii() and value.isdecimal() and len(value) < 6  # noqa: PLR2004 -- 12 hours
    return int(value) if is_number else value


def role_settings(extra: Mapping[str, Any], name: str, *, has_keys: bool) -> dict[str, str]:
    """Give the settings of a profile called *name* that takes on the role of *extra*; none if it has none."""
    if "role_arn" not in extra:
        return {}
    found = {"role_arn": str(extra["role_arn"])}
    if extra.get("assume_role_method") == _FEDERATION:
        found["web_identity_token_file"] = str(extra.get(f"{_FEDERATION}_token_file"))
    elif has_keys:
        found["source_profile"] = name
    elif "profile_name" in extra:
        found["source_profile"] = str(extra["profile_name"])
    else:
        found["credential_source"] = "Ec2InstanceMetadata"
    arguments = extra.get("assume_role_kwargs")
    given = arguments if isinstance(arguments, dict) else {}
    return found | {key: str(given[argument]) for key, argument in ROLE_KEYS.items() if argument in given}
