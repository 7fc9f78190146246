"""One identity a process, asked over our own transport; and what each refusal of AWS means."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs

import pytest

from parts.aws import KEY, REGION, SECRET, Endpoint, access, good, hermetic, ministack, moto, refusal
from parts.proxy import Proxy, reply
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    NotAuthenticatedError,
    StrongroomError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.aws import AwsAccess, AwsSession, Fault
from strongroom.vendors.aws_answer import trouble
from strongroom.vendors.aws_options import check_access

__all__ = ["hermetic", "ministack", "moto"]

pytestmark = pytest.mark.usefixtures("hermetic")
ROLE = "arn:aws:iam::123456789012:role/reader"
CANARY = "c4nary-aws"
GET = {"SecretId": "a", "VersionStage": "AWSCURRENT"}


def session(options, **more):
    clock = more.pop("clock", None)
    made = {} if clock is None else {"clock": clock}
    return AwsSession(AwsAccess(**{**options, **more}), place="aws", **made)


def get(asked):
    return asked.call("secretsmanager", "GetSecretValue", GET, must_have="VersionId")


def sts(operation, token="t0ken", lasts=3600):
    """What STS answers: XML of its own."""
    ends = datetime.now(timezone.utc) + timedelta(seconds=lasts)
    body = (
        f'<{operation}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{operation}Result>'
        f"<Credentials><AccessKeyId>ASIA0000000000000001</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
        f"<SessionToken>{token}</SessionToken><Expiration>{ends:%Y-%m-%dT%H:%M:%SZ}</Expiration></Credentials>"
        f"<AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/reader/x</Arn><AssumedRoleId>A:x</AssumedRoleId>"
        f"</AssumedRoleUser></{operation}Result></{operation}Response>"
    )
    return reply(200, {"Content-Type": "text/xml"}, body.encode())


class Aws(Endpoint):
    """Secrets Manager and STS at one endpoint; counts logins."""

    def __init__(self, login=None):
        self.logins = []
        self.login = login or sts
        super().__init__(lambda operation, body: good(SecretString="x", VersionId="v" * 32, Name="a"))

    def _judge(self, request):
        head, _, body = request.partition(b"\r\n\r\n")
        if b"x-amz-target" in head.lower():
            return super()._judge(request)
        asked = {key: values[0] for key, values in parse_qs(body.decode()).items()}
        self.logins.append((asked, head.decode()))
        return self.login(asked["Action"])


# --- as whom -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["moto", "ministack"])
def test_a_key_of_the_settings_is_who_we_are(request, name):
    server = request.getfixturevalue(name)
    made = session(server.access())
    assert made.identity().startswith("arn:aws:")
    assert made.region() == REGION
    made.close()


@pytest.mark.parametrize("name", ["moto", "ministack"])
def test_a_role_is_assumed_with_its_external_id_and_names_the_session(request, name):
    server = request.getfixturevalue(name)
    made = session(
        server.access(),
        role_arn=ROLE,
        external_id="ours",
        role_session_name="workers",
        assume_role_kwargs={"DurationSeconds": 900},
    )
    assert ":assumed-role/reader/workers" in made.identity()
    made.close()


def test_a_role_is_asked_for_with_all_that_was_said_and_once_by_many_threads():
    with Aws() as server:
        made = session(
            server.access(),
            role_arn=ROLE,
            external_id="ours",
            assume_role_kwargs={"DurationSeconds": 900, "SourceIdentity": "dag"},
        )
        start = threading.Barrier(8)

        def ask(_):
            start.wait(10)
            return get(made)["SecretString"]

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(ask, range(8))) == {"x"}
        ((asked, head),) = server.logins
        made.close()
        signed = [request.decode() for request in server.seen if b"GetSecretValue" in request]
    assert asked["RoleArn"] == ROLE
    assert (asked["ExternalId"], asked["RoleSessionName"]) == ("ours", "strongroom")
    assert (asked["DurationSeconds"], asked["SourceIdentity"]) == ("900", "dag")
    assert KEY in head
    assert len(signed) == 8
    assert all("x-amz-security-token: t0ken" in one.lower() for one in signed)
    assert not any(KEY in one for one in signed)


def test_a_web_identity_is_shown_unsigned_and_read_anew_at_each_login(tmp_path):
    token = tmp_path / "token"
    token.write_text("first\n")
    with Aws(lambda operation: sts(operation, lasts=30)) as server:
        made = session(
            {key: value for key, value in server.access().items() if not key.startswith("aws_")},
            role_arn=ROLE,
            assume_role_method="assume_role_with_web_identity",
            assume_role_with_web_identity_token_file=token,
        )
        get(made)
        token.write_text("second\n")
        get(made)
        made.close()
    assert [asked["WebIdentityToken"] for asked, _ in server.logins] == ["first", "second"]
    assert all(asked["Action"] == "AssumeRoleWithWebIdentity" for asked, _ in server.logins)
    assert all("authorization" not in head.lower() for _, head in server.logins)


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"x" * 70_000])
def test_a_web_identity_that_cannot_be_read_is_told_with_its_setting(tmp_path, content):
    token = tmp_path / "token"
    if content is not None:
        token.write_bytes(content)
    with Aws() as server:
        made = session(
            {"region_name": REGION, "endpoint_url": server.url(), "sts_endpoint_url": server.url()},
            role_arn=ROLE,
            assume_role_method="assume_role_with_web_identity",
            assume_role_with_web_identity_token_file=token,
        )
        with pytest.raises(NotAuthenticatedError) as caught:
            get(made)
        made.close()
    assert "token_file" in caught.value.hint
    assert server.logins == []


def test_a_profile_names_key_region_and_role(hermetic):
    (hermetic / "aws-config").write_text(
        f"[profile reader]\nregion = eu-north-1\nrole_arn = {ROLE}\nsource_profile = base\n"
        "external_id = ours\n"
    )
    (hermetic / "aws-credentials").write_text(
        f"[base]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    )
    with Aws() as server:
        # STS of a profile is the SDK's to find; its own setting names it.
        config = hermetic / "aws-config"
        config.write_text(
            config.read_text()
            + f"services = local\n\n[services local]\nsts =\n  endpoint_url = {server.url()}\n"
        )
        made = session({"endpoint_url": server.url()}, profile_name="reader")
        assert made.region() == "eu-north-1"
        assert get(made)["SecretString"] == "x"
        made.close()
    assert server.logins[0][0]["ExternalId"] == "ours"
    assert b"eu-north-1/secretsmanager" in server.seen[-1]


def test_a_profile_that_is_not_there_is_a_setting_to_change():
    made = session({"region_name": REGION}, profile_name="nobody")
    with pytest.raises(BackendConfigError, match="profile_name"):
        get(made)
    made.close()


@pytest.mark.parametrize(
    ("program", "kind"),
    [
        (f"/nowhere/at-all {CANARY}", BackendConfigError),
        (f"/bin/echo {CANARY}", StrongroomError),
        ("/bin/false", NotAuthenticatedError),
    ],
)
def test_a_program_of_a_profile_that_gives_no_key_is_one_error_of_ours(hermetic, program, kind):
    (hermetic / "aws-config").write_text(f"[profile p]\nregion = {REGION}\ncredential_process = {program}\n")
    made = session({"profile_name": "p"})
    for ask in (made.identity, made.keys, lambda: get(made)):
        with pytest.raises(kind) as caught:
            ask()
        shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
        assert CANARY not in shown
    made.close()


def test_an_answer_too_deep_to_be_read_is_one_error_of_ours():
    deep = reply(200, {"Content-Type": "application/x-amz-json-1.1"}, b'{"a":' * 200_000)
    with Endpoint(lambda *_: deep) as server:
        made = session(server.access())
        with pytest.raises(BackendUnavailableError):
            get(made)
        made.close()


@pytest.mark.parametrize("body", [b"<a>" * 50_000, b"<a>" * 50_000 + b"</a>" * 50_000, b"\xff\xfe", b""])
def test_an_answer_of_sts_that_is_none_is_one_error_of_ours(body):
    with Endpoint(lambda *_: reply(200, {"Content-Type": "text/xml"}, body)) as server:
        made = session(server.access())
        with pytest.raises(BackendUnavailableError):
            made.identity()
        made.close()


def test_without_any_identity_nothing_is_sent():
    with Aws() as server:
        made = session({"region_name": REGION, "endpoint_url": server.url()})
        with pytest.raises(NotAuthenticatedError) as caught:
            get(made)
        made.close()
        assert (server.seen, server.logins) == ([], [])
    assert "role_arn" in caught.value.hint


def test_without_a_region_the_setting_is_named():
    made = session({"aws_access_key_id": KEY, "aws_secret_access_key": Secret(SECRET)})
    for ask in (made.region, lambda: get(made)):
        with pytest.raises(BackendConfigError, match="region_name"):
            ask()
    made.close()


def test_a_refused_login_is_not_tried_again_at_once_and_names_what_to_allow():
    clock = Clock()
    xml = (
        b'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        b"<Code>AccessDenied</Code><Message>User: arn:aws:iam::1:user/c4nary-aws is not authorized to "
        b"perform: sts:AssumeRole on resource: r</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )
    with Aws(lambda _operation: reply(403, {"Content-Type": "text/xml"}, xml)) as server:
        made = session(server.access(), role_arn=ROLE, clock=clock)
        for _ in range(3):
            with pytest.raises(NotAuthenticatedError) as caught:
                get(made)
        assert len(server.logins) == 1
        clock.now = 6.0
        with pytest.raises(NotAuthenticatedError):
            get(made)
        assert len(server.logins) == 2
        made.close()
    assert "allow sts:AssumeRole" in caught.value.hint
    _assert_silent(caught.value)


class Clock:
    """Seconds that go up when told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_key_that_was_replaced_is_fetched_again_and_the_question_asked_once_more():
    keys, clock = {"now": "old"}, Clock()

    def say(operation, body):
        is_known = b"Credential=AKIAnew/" in server.seen[-1]
        return good(SecretString="x", VersionId="v" * 32) if is_known else refusal("ExpiredTokenException")

    with Endpoint(say) as server:
        key = {
            "aws_access_key_id": lambda: Secret(f"AKIA{keys['now']}"),
            "aws_secret_access_key": Secret("s"),
        }
        made = session(server.access(**key), clock=clock)
        for _ in range(3):  # with nothing new to show it is looked up once, and not at every question
            with pytest.raises(Fault):
                get(made)
        assert len(server.asked) == 4
        keys["now"] = "new"
        clock.now = 6.0
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: get(made)["SecretString"], range(4)))
        assert found == ["x"] * 4
        made.close()


@pytest.mark.parametrize("said", [{"external_id": "x"}, {"assume_role_kwargs": {"DurationSeconds": "long"}}])
def test_what_sts_would_not_take_is_a_setting_to_change(said):
    with Aws() as server:
        made = session(server.access(), role_arn=ROLE, **said)
        with pytest.raises(BackendConfigError) as caught:
            get(made)
        made.close()
        assert server.logins == []
    assert "external_id" in caught.value.hint


def test_a_login_without_an_answer_is_unavailable_and_tried_again():
    with Aws(lambda _operation: reply(503, {}, b"")) as server:
        made = session(server.access(), role_arn=ROLE)
        for _ in range(2):
            with pytest.raises(BackendUnavailableError):
                get(made)
        assert len(server.logins) >= 2
        made.close()


# --- how it is asked -----------------------------------------------------------------------------------


def test_the_sdk_is_not_loaded_before_the_first_question():
    code = (
        "import sys\n"
        "from datetime import datetime\n"
        "from strongroom.backends.aws_secrets_manager import SecretsManager, SecretsManagerOptions\n"
        "from strongroom.backends.aws_parameter_store import ParameterStore, ParameterStoreOptions\n"
        "SecretsManager('a', SecretsManagerOptions(region_name='eu-west-1'), datetime.now).close()\n"
        "ParameterStore('a', ParameterStoreOptions(region_name='eu-west-1'), datetime.now).close()\n"
        "assert not {'boto3', 'botocore', 'urllib3'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_the_sdk_the_extra_is_named():
    code = (
        "import sys\n"
        "sys.modules['boto3'] = None\n"
        "from strongroom.errors import BackendConfigError\n"
        "from strongroom.vendors.aws import AwsAccess, AwsSession\n"
        "try:\n"
        "    AwsSession(AwsAccess(region_name='eu-west-1'), place='aws').identity()\n"
        "except BackendConfigError as error:\n"
        "    assert error.hint == \"pip install 'strongroom[aws]'\", error.hint\n"
        "else:\n"
        "    raise SystemExit('it asked')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_nothing_is_asked_again_by_the_sdk_itself():
    with Endpoint(lambda *_: refusal("ThrottlingException", status=400)) as server:
        made = session(server.access())
        with pytest.raises(Fault):
            get(made)
        assert len(server.asked) == 1
        made.close()


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    with Aws() as server, Aws() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        made = session(server.access(), role_arn=ROLE)
        get(made)
        made.close()
        assert proxy.seen == []
        assert len(server.seen) == 2


def test_nothing_of_a_secret_reaches_a_log_at_any_level(caplog):
    caplog.set_level(logging.DEBUG)
    say = good(SecretString=CANARY, VersionId="v" * 32, Name="a")
    with Endpoint(lambda *_: say) as server:
        made = session(server.access())
        for _ in range(2):
            assert get(made)["SecretString"] == CANARY
        made.close()
    with Endpoint(lambda *_: refusal("AccessDeniedException", CANARY)) as server:
        made = session(server.access())
        with pytest.raises(Fault) as caught:
            get(made)
        made.close()
    with Aws(lambda operation: sts(operation, token=CANARY)) as server:
        made = session(server.access(), role_arn=ROLE)
        get(made)
        made.close()
    assert CANARY not in caplog.text
    assert SECRET not in caplog.text
    assert CANARY not in repr(caught.value)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_what_others_log_of_their_own_questions_is_left_alone(caplog):
    with Aws() as server:
        made = session(server.access())
        get(made)
        caplog.set_level(logging.DEBUG)
        logging.getLogger("botocore.parsers").debug("theirs")
        made.close()
    assert "theirs" in caplog.text


def test_a_child_has_a_session_of_its_own(moto):
    moto.asked("secretsmanager", "CreateSecret", Name="forked", SecretString="x")
    code = (
        "import os, sys\n"
        "sys.path[:0] = ['tests']\n"
        "from parts.aws import access\n"
        "from strongroom.vendors.aws import AwsAccess, AwsSession\n"
        f"made = AwsSession(AwsAccess(**access({moto.url!r})), place='aws')\n"
        "def ask():\n"
        "    return made.call('secretsmanager', 'GetSecretValue', {'SecretId': 'forked'})['SecretString']\n"
        "assert ask() == 'x'\n"
        "made._side().lock.acquire()  # as if another thread of the parent held it at the fork\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os._exit(0 if ask() == 'x' else 1)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        "made._side().lock.release()\n"
        "assert ask() == 'x'\n"
        "made.close()\n"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60, env=environ)


def test_after_closing_nothing_is_asked():
    with Aws() as server:
        made = session(server.access())
        get(made)
        made.close()
        made.close()
        with pytest.raises(BackendUnavailableError, match="closed"):
            get(made)
        assert len(server.seen) == 1


def test_an_outage_opens_the_circuit_and_nobody_waits_for_it(moto):
    with Proxy("127.0.0.1", moto.port) as proxy:
        made = session(moto.access(endpoint_url=proxy.url(), timeout=timedelta(seconds=5)))
        proxy.become("refuse")
        for _ in range(6):
            with pytest.raises(BackendUnavailableError) as caught:
                get(made)
        assert made.is_circuit_open
        assert caught.value.retry_after is not None
        made.close()


# --- what an answer means ------------------------------------------------------------------------------

DENIED = (
    "User: arn:aws:iam::1:user/x is not authorized to perform: secretsmanager:GetSecretValue on resource: r"
)
MEANINGS = [
    ("AccessDeniedException", DENIED, 400, AccessDeniedError, "allow secretsmanager:GetSecretValue"),
    (
        "AccessDeniedException",
        "is not authorized to perform: kms:Decrypt on resource: k",
        400,
        AccessDeniedError,
        "kms:Decrypt",
    ),
    ("AccessDeniedException", "Access to KMS is not allowed", 400, AccessDeniedError, "kms:Decrypt"),
    ("AccessDeniedException", DENIED + " with an explicit deny", 400, AccessDeniedError, "explicitly"),
    (
        "AccessDeniedException",
        DENIED + " because no VPC endpoint policy allows it",
        400,
        AccessDeniedError,
        "policy of the VPC endpoint",
    ),
    ("DecryptionFailure", "", 400, AccessDeniedError, "kms:Decrypt"),
    ("KMSInvalidStateException", "", 400, BackendConfigError, "enable the key"),
    ("ThrottlingException", "", 400, BackendUnavailableError, None),
    ("TooManyRequestsException", "", 429, BackendUnavailableError, None),
    ("InternalServiceError", "", 500, BackendUnavailableError, None),
    ("ServiceUnavailable", "", 503, BackendUnavailableError, None),
    ("Whatever", "", 502, BackendUnavailableError, None),
    ("ExpiredTokenException", "", 400, NotAuthenticatedError, "renew the key"),
    ("UnrecognizedClientException", "", 400, NotAuthenticatedError, "renew the key"),
    ("InvalidSignatureException", "Signature expired: now", 403, NotAuthenticatedError, "clock"),
    (
        "InvalidSignatureException",
        "Credential should be scoped to a valid region.",
        403,
        BackendConfigError,
        "region of the endpoint",
    ),
    ("OptInRequired", "", 403, BackendConfigError, "enable it"),
    ("UnknownOperationException", "", 400, BackendConfigError, "own endpoint"),
    ("403", "", 403, AccessDeniedError, "proxy"),
    ("WhoKnows", CANARY, 400, BackendUnavailableError, "region_name"),
]


@pytest.mark.parametrize(("code", "words", "status", "kind", "hint"), MEANINGS)
def test_each_refusal_of_aws_is_one_error_that_says_what_to_do(code, words, status, kind, hint):
    with Endpoint(lambda *_: refusal(code, words + " " + CANARY, status)) as server:
        made = session(server.access())
        with pytest.raises(Fault) as caught:
            get(made)
        made.close()
    error = trouble(
        caught.value, place="aws", action="secretsmanager:GetSecretValue", resource="the secret a"
    )
    assert type(error) is kind
    if hint is not None:
        assert hint in error.hint
    if kind is BackendUnavailableError and hint is None:
        assert error.retry_after == timedelta(seconds=1)
    _assert_silent(error)


def test_the_store_says_itself_how_long_to_wait():
    with Endpoint(lambda *_: refusal("ThrottlingException", **{"Retry-After": "7"})) as server:
        made = session(server.access())
        with pytest.raises(Fault) as caught:
            get(made)
        made.close()
    error = trouble(caught.value, place="aws", action="x:Y", resource="*")
    assert error.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize("body", [b"<html>welcome</html>", b"", b"[1]", b'{"hello": 1}', b'"text"'], ids=repr)
def test_an_answer_that_is_none_of_aws_is_unavailable(body):
    with Endpoint(lambda *_: reply(200, {"Content-Type": "text/html"}, body)) as server:
        made = session(server.access())
        with pytest.raises(StrongroomError) as caught:
            get(made)
        made.close()
    assert type(caught.value) is BackendUnavailableError
    assert "none of AWS" in str(caught.value) or "failed with" in str(caught.value)


# --- options -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"region_name": "Frankfurt"}, "region_name"),
        ({"aws_access_key_id": KEY}, "aws_access_key_id"),
        ({"aws_secret_access_key": Secret(SECRET)}, "aws_access_key_id"),
        ({"aws_session_token": Secret("x")}, "aws_session_token"),
        (
            {"aws_access_key_id": KEY, "aws_secret_access_key": Secret("x"), "profile_name": "p"},
            "profile_name",
        ),
        ({"role_arn": "reader"}, "role_arn"),
        ({"external_id": "x"}, "role_arn"),
        ({"assume_role_method": "assume_role_with_saml"}, "assume_role_method"),
        ({"role_arn": ROLE, "assume_role_kwargs": {"RoleArn": "x"}}, "assume_role_kwargs"),
        ({"role_arn": ROLE, "assume_role_kwargs": {"ExternalId": "x"}, "external_id": "y"}, "external_id"),
        ({"role_arn": ROLE, "role_session_name": "a b"}, "role_session_name"),
        (
            {"role_arn": ROLE, "assume_role_method": "assume_role_with_web_identity"},
            "assume_role_with_web_identity_token_file",
        ),
        (
            {"assume_role_with_web_identity_federation": "google"},
            "assume_role_with_web_identity_federation",
        ),
        ({"use_ssl": False}, "use_ssl"),
        ({"config_kwargs": {"proxies": {}}}, "config_kwargs"),
        ({"session_kwargs": {"profile_name": "p"}}, "session_kwargs"),
        ({"endpoint_url": "localhost:4566"}, "endpoint_url"),
        ({"service_config": {"sts": {"endpoint_url": "nowhere"}}}, "sts_endpoint_url"),
    ],
    ids=repr,
)
def test_options_that_cannot_be_are_refused_by_name(options, key):
    with pytest.raises(BackendConfigError) as caught:
        check_access("aws", AwsAccess(**options))
    assert f"backend.aws.{key} " in str(caught.value)
    assert caught.value.hint


def test_what_authenticates_does_not_print():
    made = session(access("http://127.0.0.1:1"), external_id=CANARY, role_arn=ROLE)
    assert CANARY not in repr(made) + repr(made.access)
    assert SECRET not in repr(made.access)
    made.close()


def _assert_silent(error):
    shown = "".join(traceback.format_exception(error)) + repr(error) + json.dumps(vars(error), default=repr)
    assert CANARY not in shown
