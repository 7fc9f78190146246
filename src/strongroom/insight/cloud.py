"""
Static keys of clouds where a role would work: they do not end by themselves, and whoever has one has it all.

Files are read for which keys they have, never for values; `GOOGLE_APPLICATION_CREDENTIALS` for its `type`.
"""

from __future__ import annotations

import json
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.insight.finding import Finding, Surroundings, named
from strongroom.insight.scan import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["connection_keys", "environment_keys"]

_ROLE = {
    "AWS": "a role: of the machine or pod, or role_arn; leave key id and secret out",
    "Google Cloud": "the service account of the machine, or workload identity; leave the key file out",
    "Azure": "a managed or workload identity; leave the secret out",
}


def environment_keys(around: Surroundings) -> Iterator[Finding]:
    """Look for static keys in the environment and in the files clouds' own tools read."""
    environ = around.environ
    if environ.get("AWS_ACCESS_KEY_ID") and not environ.get("AWS_SESSION_TOKEN"):
        yield _finding("AWS", "AWS_ACCESS_KEY_ID is in the environment, without a session that ends")
    named_file = environ.get("AWS_SHARED_CREDENTIALS_FILE")
    credentials = Path(named_file) if named_file else around.home / ".aws" / "credentials"
    profiles = _static_profiles(credentials)
    if profiles:
        yield _finding("AWS", f"{credentials} has {profiles} profiles with keys that do not end")
    google = environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if google and _type_of(Path(google)) == "service_account":
        yield _finding("Google Cloud", "GOOGLE_APPLICATION_CREDENTIALS names the key of a service account")
    if environ.get("AZURE_CLIENT_SECRET"):
        yield _finding("Azure", "AZURE_CLIENT_SECRET is in the environment")


def _finding(cloud: str, what: str) -> Finding:
    return Finding(
        name="static-cloud-key",
        level="warning",
        what=f"a static {cloud} key: {what}",
        fix=f"use {_ROLE[cloud]}",
    )


def _static_profiles(path: Path) -> int:
    parser = ConfigParser(interpolation=None, strict=False)
    try:
        # In the user's own home a link is the user's own.
        parser.read_string(text_of(path.resolve()) or "")
    except ConfigParserError:
        return 0
    return sum(
        parser.has_option(name, "aws_access_key_id") and not parser.has_option(name, "aws_session_token")
        for name in parser.sections()
    )


def _type_of(path: Path) -> object:
    try:
        found = json.loads(text_of(path.resolve()) or "null")
    except (ValueError, RecursionError):
        return None
    return found.get("type") if isinstance(found, dict) else None


# --- connections -----------------------------------------------------------------------------------


def connection_keys(found: Mapping[str, list[str]]) -> Iterator[Finding]:
    """Tell of connections with static keys: by cloud, their names."""
    for cloud, names in sorted(found.items()):
        yield _finding(cloud, f"the connections {named(names)} log in with one")
