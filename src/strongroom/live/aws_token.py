"""The token of a web identity, asked for anew at each login: a file, or Google's of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.live.trouble import trouble

if TYPE_CHECKING:
    from strongroom.live.around import Around
    from strongroom.live.aws_fields import WebIdentity

__all__ = ["web_token"]

_MAX_BYTES = 65_536


def web_token(name: str, web: WebIdentity, around: Around) -> str:
    """
    Give the token that shows who we are, for the connection *name*.

    Raises:
        BackendConfigError: there is none here.
    """
    if web.source == "google":
        return _of_google(name, web)
    path = web.path or around.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE")
    if not path:
        raise trouble("options", "missing", name=name, detail="assume_role_with_web_identity_token_file")
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- as much of it as is read
            data = file.read(_MAX_BYTES + 1)
        text = data.decode("ascii").strip()
    except (OSError, UnicodeDecodeError, ValueError):
        text, data = "", b""
    if not text or len(data) > _MAX_BYTES:
        raise trouble("token", "missing", name=name, detail="assume_role_with_web_identity_token_file")
    return text


def _of_google(name: str, web: WebIdentity) -> str:
    try:
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415 -- only who federates has it
        from google.auth.transport.requests import Request  # noqa: PLC0415 -- as above
        from google.oauth2.id_token import fetch_id_token  # noqa: PLC0415 -- as above
    except ImportError:
        raise trouble(
            "driver", "missing", name=name, detail="google-auth", hint="pip install 'strongroom[gcp]'"
        ) from None
    try:
        return str(fetch_id_token(Request(), web.audience))  # type: ignore[no-untyped-call]  # its own types lack it
    except (GoogleAuthError, OSError, ValueError):
        raise trouble("token", "missing", name=name, detail="Google's identity of this machine") from None
