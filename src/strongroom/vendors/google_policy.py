"""
What an account may do in Secret Manager, and the least that it must be allowed.

Not for granting anything: an administrator runs the commands.

Source: cloud.google.com/secret-manager/docs/access-control; IAM conditions name a project by its number.
"""

from __future__ import annotations

import re
from shlex import quote
from typing import TYPE_CHECKING, Literal

from strongroom.errors import AccessDeniedError
from strongroom.vendors.google_answer import GoogleRefusal
from strongroom.vendors.google_secrets import narrowed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from strongroom.vendors.google import GoogleSession

__all__ = ["least_policy", "rights"]

Answer = Literal["yes", "no", "unknown"]

_READ = "secretmanager.versions.access"
_LIST = "secretmanager.secrets.list"
_WRITE = ("secretmanager.versions.add", "secretmanager.secrets.get", "secretmanager.secrets.update")
# By verb: what is allowed on the secrets themselves, and what only a whole project can allow.
_ON_SECRETS = {
    "read": (_READ,),
    "list": ("secretmanager.secrets.get", "secretmanager.versions.list"),
    "write": (*_WRITE, "secretmanager.secrets.delete", "secretmanager.versions.enable"),
}
_ON_PROJECT = {"read": (), "list": (_LIST,), "write": ("secretmanager.secrets.create",)}
_NOBODY = "strongroom-check-of-a-secret-that-nobody-made"


def rights(session: GoogleSession, folder: str, whole: str = "") -> tuple[str, dict[str, Answer]]:
    """
    Find out what *session* may, without reading a value or writing anything.

    A secret that is there is asked about (TestIamPermissions). Where none is found, a read of one that cannot
    be there is tried: who may read is told that it is absent.

    Args:
        session: whose rights.
        folder: what the names of the secrets begin with; "" where *whole* is the only one.
        whole: a secret that holds many.

    Returns:
        What is missing in words, "" where nothing is; and `read`, `list` and `write`.

    Raises:
        As `GoogleSession.ask`, but for what is denied.
    """
    may: dict[str, Answer] = {"read": "unknown", "list": "yes", "write": "unknown"}
    found = ""
    try:
        found = _found(session, folder, whole)
    except AccessDeniedError:
        may["list"] = "no"
    asked = found or ("" if folder else whole)
    held = _held(session, asked) if asked else set()
    if found or held:
        may["read"] = "yes" if _READ in held else "no"
        may["write"] = "yes" if held.issuperset(_WRITE) else "no"
    elif folder:
        may["read"] = _tried(session, folder)
    return _told(may, session.project), may


def _found(session: GoogleSession, folder: str, whole: str) -> str:
    """Give the name of a secret that is there, "" where the first page has none."""
    narrow = narrowed(folder or whole)
    page = session.ask("list_secrets", parent=session.parent, page_size=100, **narrow)
    names = [str(secret.name).rpartition("/")[2] for secret in page.secrets]
    return next((name for name in names if (name.startswith(folder) if folder else name == whole)), "")


def _held(session: GoogleSession, name: str) -> set[str]:
    resource = f"{session.parent}/secrets/{name}"
    answer = session.ask("test_iam_permissions", resource=resource, permissions=[_READ, *_WRITE])
    return set(answer.permissions)


def _tried(session: GoogleSession, folder: str) -> Answer:
    name = f"{session.parent}/secrets/{folder}{_NOBODY}/versions/latest"
    try:
        session.ask("access_secret_version", name=name)
    except AccessDeniedError:
        return "unknown"  # secret by secret it may be allowed
    except GoogleRefusal:
        return "yes"
    return "yes"


def _told(may: dict[str, Answer], project: str) -> str:
    missing = [
        f"{verb}: needs {permission} in the project {project}"
        for verb, permission in (("read", _READ), ("list", _LIST), ("write", ", ".join(_WRITE)))
        if may[verb] == "no" or (verb == "read" and may[verb] == "unknown")
    ]
    return "; ".join(missing)


def least_policy(
    session: GoogleSession,
    verbs: Collection[str],
    beginnings: Sequence[str],
    whole: Sequence[str],
    *,
    name: str,
) -> str:
    """
    Give the commands of gcloud that allow exactly *verbs*.

    Args:
        session: whose account and project.
        verbs: of `read`, `list` and `write`.
        beginnings: what names of secrets begin with.
        whole: names of secrets, exactly.
        name: the backend's, for the roles.
    """
    role = re.sub(r"[^a-zA-Z0-9_]", "_", name)
    asked = [verb for verb in ("read", "list", "write") if verb in verbs]
    project, account = session.said()
    member = account if "@" in account else "NAME@PROJECT_ID.iam.gserviceaccount.com"
    lines = [  # quoted: both may be of a file or an environment that somebody else wrote
        f"PROJECT={quote(project or 'PROJECT_ID')}",
        f"MEMBER={quote(f'serviceAccount:{member}')}",
        "NUMBER=$(gcloud projects describe \"$PROJECT\" --format='value(projectNumber)')",
    ]
    on_secrets = _joined(_ON_SECRETS[verb] for verb in asked)
    if on_secrets:
        region = session.access.location
        below = "projects/$NUMBER/" + (f"locations/{region}/" if region else "") + "secrets/"
        lines += _granted(f"strongroom_{role}_entries", on_secrets, _condition(below, beginnings, whole))
    on_project = _joined(_ON_PROJECT[verb] for verb in asked)
    if on_project:
        lines += _granted(f"strongroom_{role}_names", on_project, "None")
    return "\n".join(lines) + "\n"


def _joined(groups: Iterable[tuple[str, ...]]) -> str:
    every = [permission for group in groups for permission in group]
    return ",".join(dict.fromkeys(every))


def _granted(role: str, permissions: str, condition: str) -> list[str]:
    return [
        f'gcloud iam roles create {role} --project="$PROJECT" \\',
        f"    --permissions={permissions}",
        'gcloud projects add-iam-policy-binding "$PROJECT" --member="$MEMBER" \\',
        f'    --role="projects/$PROJECT/roles/{role}" --condition="{condition}"',
    ]


def _condition(below: str, beginnings: Sequence[str], whole: Sequence[str]) -> str:
    parts = [f"resource.name.startsWith('{below}{one}')" for one in beginnings]
    for one in whole:
        parts += [f"resource.name == '{below}{one}'", f"resource.name.startsWith('{below}{one}/')"]
    return f"title=strongroom,expression={' || '.join(parts)}"
