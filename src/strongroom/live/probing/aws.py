"""
AWS: name, TCP and TLS of the service, the roles that are taken on, and who we are then.

Where the connection leads to another place than AWS, such as a MinIO, its buckets are listed instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from strongroom.live import aws, aws_fields
from strongroom.live.families import loaded
from strongroom.live.probing.authority import authority
from strongroom.live.probing.failed import FailedError
from strongroom.live.probing.tls import Plan

if TYPE_CHECKING:
    from strongroom.live.aws_fields import AwsFields
    from strongroom.live.probing.course import Course

__all__ = ["run"]

_ANYWHERE = "us-east-1"
_PORTS = {"http": 80, "https": 443}
_SECONDS = 5
_DENIED = ("AccessDenied", "AccessDeniedException", "AllAccessDisabled", "UnauthorizedOperation")
_REFUSED, _TROUBLE = (401, 403), 500


def run(course: Course) -> None:
    """Make the test."""
    with course.step("driver", is_quiet=True):
        loaded("boto3", course.held, extra="aws")
        fields = aws_fields.read(course.held.name, course.connection)
        service = _service(fields)
        made = _client(course, fields, service)
    parts = urlsplit(str(made.meta.endpoint_url))
    host = parts.hostname or ""
    plan = _plan(fields, host) if parts.scheme == "https" else None
    if not fields.config.get("proxies"):  # else these steps would be the proxy's
        course.meet(host, parts.port or _PORTS.get(parts.scheme, 443), plan)
    with course.step("token") as mark:
        mark.is_skipped = fields.key is not None and not fields.roles
        if not mark.is_skipped:
            aws.credentials(course.held, course.around)
    with course.step("authentication"):
        if service == "sts":
            _ask(made.get_caller_identity)
        else:
            _ask(made.list_buckets)


def _service(fields: AwsFields) -> str:
    # One place for everything, and nothing said of where roles are taken on: a MinIO, or one of its kind.
    is_told = fields.endpoint is None or fields.login_endpoint is not None
    if is_told or "sts" in (urlsplit(fields.endpoint or "").hostname or "").split("."):
        return "sts"
    return "s3"


def _client(course: Course, fields: AwsFields, service: str) -> Any:  # noqa: ANN401 -- boto3 makes its classes as it goes
    from botocore.config import Config  # noqa: PLC0415 -- the SDK takes its time

    once = {"total_max_attempts": 1, "mode": "standard"}
    config = Config(connect_timeout=_SECONDS, read_timeout=_SECONDS, retries=once)
    options: dict[str, object] = {"config": config}
    if not fields.region:
        options["region_name"] = _ANYWHERE
    return aws.client(course.held, course.asked("boto3", service=service, **options))


def _plan(fields: AwsFields, host: str) -> Plan:
    is_path = isinstance(fields.verify, str)
    return Plan(host, is_checked=fields.verify is not False, ca=authority(fields.verify) if is_path else None)


def _ask(call: Any) -> None:  # noqa: ANN401 -- as above
    from botocore.exceptions import ClientError  # noqa: PLC0415 -- as above

    try:
        call()
    except ClientError as error:
        found = error.response
        code = str(found.get("Error", {}).get("Code"))
        status = int(found.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        raise _failed(code, status) from None


def _failed(code: str, status: int) -> FailedError:
    if code in _DENIED:
        # Who is known, but may not list, is let in all the same.
        return FailedError("forbidden", step="read")
    from strongroom.live.aws_refusal import is_refusal  # noqa: PLC0415 -- as above

    if is_refusal(code) or status in _REFUSED:
        return FailedError("credentials")
    return FailedError("unavailable" if status >= _TROUBLE else "other")
