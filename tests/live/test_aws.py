"""boto3's clients of a connection: they sign as it says now, through rotation, roles and refusals."""

from __future__ import annotations

import base64
import gc
import json
import logging
import os
import pickle
import subprocess
import sys
import textwrap
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import datetime, timedelta, timezone

import pytest

from parts.aws import KEY, REGION, SECRET, Guarded, hermetic, moto
from parts.aws_sts import FIRST, ROLE, Metadata, Sts, framed
from parts.certificates import DAY, Authority, server_context
from parts.held import kept
from parts.openbao import shared
from parts.proxy import Listener, Proxy, Scripted, reply

pytest.importorskip("boto3")
from botocore.config import Config
from botocore.exceptions import ClientError
from urllib3.exceptions import InsecureRequestWarning

import strongroom
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError
from strongroom.live import aws
from strongroom.live.around import Around, Run

__all__ = ["hermetic", "moto"]

pytestmark = pytest.mark.usefixtures("hermetic")
CANARY = "c4nary-aws-live"
POLICY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": ["sts:*", "s3:*"], "Resource": "*"}],
    }
)
ROOT = ("test", "test")
RUN = Run("etl_orders", "load", "scheduled__2026-11-22T00:00:00+00:00")
NAMED = "etl_orders@scheduled__2026-11-22T00-00-00+00-00"


class Account(Guarded):
    """An account that looks at signatures, policies and who trusts whom."""

    def environ(self):
        return {**super().environ(), "SERVICES": "sts,iam,s3"}

    def extra(self, **more):
        return {
            "region_name": REGION,
            "endpoint_url": self.url,
            "service_config": {"sts": {"endpoint_url": self.url}},
            **more,
        }

    def end(self, key):
        """Delete a key of a user."""
        for user in self.asked("iam", "ListUsers", key=ROOT)["Users"]:
            name = user["UserName"]
            for one in self.asked("iam", "ListAccessKeys", key=ROOT, UserName=name)["AccessKeyMetadata"]:
                if one["AccessKeyId"] == key[0]:
                    self.asked("iam", "DeleteAccessKey", key=ROOT, UserName=name, AccessKeyId=key[0])

    def role(self, name, trusted, **condition):
        """Make a role that *trusted* may take on, and give its ARN."""
        statement = {"Effect": "Allow", "Principal": {"AWS": trusted}, "Action": "sts:AssumeRole"}
        if condition:
            statement["Condition"] = {"StringEquals": condition}
        trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        made = self.asked("iam", "CreateRole", key=ROOT, RoleName=name, AssumeRolePolicyDocument=trust)
        self.asked("iam", "PutRolePolicy", key=ROOT, RoleName=name, PolicyName="p", PolicyDocument=POLICY)
        return made["Role"]["Arn"]


@pytest.fixture(scope="module")
def account():
    with shared(Account) as server:
        server.asked(
            "s3",
            "CreateBucket",
            key=ROOT,
            Bucket="orders",
            CreateBucketConfiguration={"LocationConstraint": REGION},
        )
        server.asked("s3", "PutObject", key=ROOT, Bucket="orders", Key="one", Body=b"1")
        yield server


@pytest.fixture
def sts():
    with Sts() as server:
        yield server


def keyed(key, extra, **more):
    return {"conn_type": "aws", "login": key[0], "password": key[1], "extra": extra, **more}


def asked(stored, service="sts", *, driver="boto3", run=None, now=None, environ=None, **options):
    found = stored.asked(service, driver=driver, **options)
    around = Around(
        environ=environ or {},
        now=now or (lambda: datetime.now(timezone.utc)),
        run=lambda: run,
        held=found.around._held,
    )
    return found._replace(around=around)


def who(made):
    return made.get_caller_identity()["Arn"]


def refused(work, kind=AccessDeniedError):
    with pytest.raises(kind) as caught:
        work()
    error = caught.value
    shown = "".join(traceback.format_exception(error)) + repr(vars(error))
    assert "127.0.0.1" not in shown
    for each in (CANARY, SECRET, KEY, "t0ken"):
        assert each not in shown + framed(error)
    return error


# --- keys ----------------------------------------------------------------------------------------------


def test_a_client_signs_with_the_key_of_the_connection(account):
    key = account.user(POLICY)
    with kept(**keyed(key, account.extra())) as stored:
        made = aws.client(stored.held, asked(stored))
        assert ":user/" in who(made)
        assert made.meta.region_name == REGION


def test_a_key_that_is_rotated_and_told_signs_the_next_request_and_nobody_is_asked(account):
    before, after = account.user(POLICY), account.user(POLICY)
    with kept(**keyed(before, account.extra())) as stored:
        made = aws.client(stored.held, asked(stored))
        first = who(made)
        stored.write(**keyed(after, account.extra()))
        stored.tell()
        account.end(before)
        assert who(made) != first
        assert stored.questions == 0


def test_a_key_that_is_rotated_under_hundreds_of_reads_loses_none(account):
    before, after = account.user(POLICY), account.user(POLICY)
    with kept(**keyed(before, account.extra())) as stored:
        made = aws.client(stored.held, asked(stored, "s3"))

        def read(number):
            if number == 100:
                stored.write(**keyed(after, account.extra()))
                account.end(before)
            with made.get_object(Bucket="orders", Key="one")["Body"] as body:
                return body.read()

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(read, range(400))) == {b"1"}
        assert stored.questions == 1


def test_a_head_that_may_be_refused_for_the_key_is_tried_once_more_with_a_newer_one(account):
    before, after = account.user(POLICY), account.user(POLICY)
    with kept(**keyed(before, account.extra())) as stored:
        made = aws.client(stored.held, asked(stored, "s3"))
        account.end(before)
        with pytest.raises(ClientError):  # nothing newer: what it means is the library's to say
            made.head_object(Bucket="orders", Key="one")
        stored.write(**keyed(after, account.extra()))
        assert made.head_object(Bucket="orders", Key="one")["ContentLength"] == 1


def test_a_refused_key_with_nothing_newer_is_asked_about_once_and_told(account):
    key = ("AKIANOBODYKNOWS00000", CANARY)
    with kept(**keyed(key, account.extra())) as stored:
        made = aws.client(stored.held, asked(stored))
        with Proxy("127.0.0.1", account.port) as proxy:
            through = aws.client(stored.held, asked(stored, endpoint_url=proxy.url()))
            error = refused(lambda: who(through))
            assert proxy.requests == 1
        assert (error.step, error.reason) == ("authentication", "credentials")
        refused(made.get_caller_identity)
        assert "AKIANOBODY" not in f"{error}{error.hint}{made!r}{stored.held!r}"


def test_two_wrong_keys_in_a_row_are_two_tries_and_no_more(account):
    fields = keyed(("AKIANOBODYKNOWS00000", CANARY), account.extra())
    with kept(**fields) as stored, Proxy("127.0.0.1", account.port) as proxy:
        made = aws.client(stored.held, asked(stored, endpoint_url=proxy.url()))
        stored.write(**keyed(("AKIANOBODYKNOWS00001", CANARY), account.extra()))
        refused(lambda: who(made))
        assert proxy.requests == 2


def test_what_a_service_says_of_the_work_stays_the_libraries_own(account):
    key = account.user(POLICY)
    with kept(**keyed(key, account.extra())) as stored:
        made = aws.client(stored.held, asked(stored, "s3"))
        with pytest.raises(made.exceptions.NoSuchKey):
            made.get_object(Bucket="orders", Key="nowhere")
        assert stored.questions == 0


# --- roles ---------------------------------------------------------------------------------------------


def test_a_role_is_taken_on_as_its_trust_policy_asks_and_named_by_the_run(account):
    key = account.user(POLICY)
    role = account.role("with-id", "arn:aws:iam::000000000000:root", **{"sts:ExternalId": "ours"})
    extra = account.extra(role_arn=role, assume_role_kwargs={"ExternalId": "ours", "DurationSeconds": 900})
    with kept(**keyed(key, extra)) as stored:
        made = aws.client(stored.held, asked(stored, run=RUN))
        assert who(made).endswith(f":assumed-role/with-id/{NAMED}")


def test_roles_are_taken_on_one_after_the_other(account):
    key = account.user(POLICY)
    first = account.role("first", "arn:aws:iam::000000000000:root")
    last = account.role("last", first)
    with kept(**keyed(key, account.extra(role_arn=last))) as stored:
        error = refused(lambda: who(aws.client(stored.held, asked(stored))))
        assert (error.step, error.reason) == ("token", "credentials")
        assert "sts:AssumeRole" in error.hint
        stored.write(**keyed(key, account.extra(role_arn=last, role_chain=[first])))
        stored.tell()
        assert ":assumed-role/last/" in who(aws.client(stored.held, asked(stored)))


def test_each_role_of_a_chain_is_asked_for_as_the_one_before(sts):
    chain = [{"role_arn": FIRST, "assume_role_kwargs": {"ExternalId": "theirs"}}]
    with kept(**keyed((KEY, SECRET), sts.extra(role_arn=ROLE, role_chain=chain))) as stored:
        assert ":assumed-role/reader/strongroom@cloud" in who(aws.client(stored.held, asked(stored)))
    first, last = sts.logins
    assert (first["RoleArn"], first["by"], first["ExternalId"]) == (
        FIRST,
        f"arn:aws:iam::123456789012:user/{KEY}",
        "theirs",
    )
    assert last["RoleArn"] == ROLE
    assert ":assumed-role/first/" in last["by"]
    assert "ExternalId" not in last


def test_one_login_serves_all_clients_and_threads_of_a_run(sts):
    with kept(**keyed((KEY, SECRET), sts.extra(role_arn=ROLE))) as stored:
        clients = [aws.client(stored.held, asked(stored, run=RUN)) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(who, clients * 4))) == 1
        assert len(sts.logins) == 1
        assert aws.credentials(stored.held, asked(stored, run=RUN).around).token == "t0ken-1"
        assert ":assumed-role/reader/other@1" in who(
            aws.client(stored.held, asked(stored, run=Run("other", "t", "1")))
        )
    assert [login["RoleSessionName"] for login in sts.logins] == [NAMED, "other@1"]


def test_a_session_is_renewed_before_it_ends_and_not_with_each_request(sts):
    clock = [datetime.now(timezone.utc)]
    sts.lasts = 900  # the shortest there is
    with kept(**keyed((KEY, SECRET), sts.extra(role_arn=ROLE))) as stored:
        made = aws.client(stored.held, asked(stored, now=lambda: clock[0]))
        for _ in range(3):
            who(made)
        assert len(sts.logins) == 1
        clock[0] += timedelta(seconds=700)
        who(made)
        assert len(sts.logins) == 2


def test_a_session_that_is_renewed_is_renewed_with_the_key_of_that_moment(sts):
    clock = [datetime.now(timezone.utc)]
    with kept(**keyed((KEY, SECRET), sts.extra(role_arn=ROLE))) as stored:
        made = aws.client(stored.held, asked(stored, now=lambda: clock[0]))
        who(made)
        sts.keys = {"AKIAAFTER00000000000": "after"}
        who(made)  # the session goes on
        stored.write(**keyed(("AKIAAFTER00000000000", "after"), sts.extra(role_arn=ROLE)))
        clock[0] += timedelta(seconds=3590)
        assert who(made)
        assert stored.questions == 1
    assert sts.logins[-1]["by"].endswith("/AKIAAFTER00000000000")


def test_a_session_that_was_ended_is_taken_on_anew_once(sts):
    with kept(**keyed((KEY, SECRET), sts.extra(role_arn=ROLE))) as stored:
        made = aws.client(stored.held, asked(stored))
        who(made)
        sts.revoke()
        assert who(made)
        assert len(sts.logins) == 2
        sts.revoke()  # and again at once: somebody ends what we begin
        error = refused(lambda: who(made))
        assert (error.step, error.reason) == ("authentication", "credentials")
        assert len(sts.logins) == 2


def test_a_refused_role_is_not_asked_for_again_by_each_request(sts):
    sts.refusal = ("AccessDenied", 403)
    with kept(**keyed((KEY, SECRET), sts.extra(role_arn=ROLE))) as stored:
        made = aws.client(stored.held, asked(stored))
        for _ in range(5):
            error = refused(lambda: who(made))
            assert (error.step, error.reason) == ("token", "credentials")
        assert len(sts.logins) == 1
        sts.refusal = None
        stored.write(
            **keyed((KEY, SECRET), sts.extra(role_arn=ROLE, assume_role_kwargs={"ExternalId": "ours"}))
        )
        assert who(made)


@pytest.mark.parametrize(
    ("refusal", "step", "reason", "kind"),
    [
        (("Throttling", 400), "token", "unavailable", BackendUnavailableError),
        (("InternalFailure", 500), "token", "unavailable", BackendUnavailableError),
        (("RegionDisabledException", 403), "options", "malformed", BackendConfigError),
        (("MalformedPolicyDocument", 400), "options", "malformed", BackendConfigError),
    ],
)
def test_what_sts_says_of_a_role_is_told_as_what_it_is(sts, refusal, step, reason, kind):
    sts.refusal = refusal
    with kept(**keyed((KEY, SECRET), sts.extra(role_arn=ROLE))) as stored:
        error = refused(lambda: who(aws.client(stored.held, asked(stored))), kind)
        assert (error.step, error.reason) == (step, reason)


@pytest.mark.parametrize("page", [b"<html>welcome</html>", b"<html><br>" + CANARY.encode(), b"", b"{}"])
def test_a_provider_that_answers_nonsense_is_told_so(sts, page):
    sts.say = lambda _request: reply(200, {"Content-Type": "text/html"}, page)
    with kept(**keyed((KEY, SECRET), sts.extra(role_arn=ROLE))) as stored:
        error = refused(lambda: who(aws.client(stored.held, asked(stored))), BackendConfigError)
        assert (error.step, error.reason) == ("token", "malformed")


# --- without a key -------------------------------------------------------------------------------------


def web(sts, **more):
    extra = sts.extra(role_arn=ROLE, assume_role_method="assume_role_with_web_identity", **more)
    return {"conn_type": "aws", "extra": extra}


def test_a_web_identity_is_read_anew_at_each_login_and_signs_nothing(sts, tmp_path):
    token = tmp_path / "token"
    token.write_text("web-token\n")
    clock = [datetime.now(timezone.utc)]
    with kept(**web(sts, assume_role_with_web_identity_token_file=str(token))) as stored:
        made = aws.client(stored.held, asked(stored, run=RUN, now=lambda: clock[0]))
        assert who(made).endswith(NAMED)
        sts.web_tokens = {"later"}
        token.write_text("later")
        clock[0] += timedelta(seconds=3590)
        assert who(made)
    assert [login["WebIdentityToken"] for login in sts.logins] == ["web-token", "later"]


def test_a_web_identity_leads_to_further_roles(sts, tmp_path):
    token = tmp_path / "token"
    token.write_text("web-token")
    fields = web(sts, role_chain=FIRST, assume_role_with_web_identity_token_file=str(token))
    with kept(**fields) as stored:
        assert ":assumed-role/reader/" in who(aws.client(stored.held, asked(stored)))
    first, last = sts.logins
    assert (first["RoleArn"], first["by"], last["RoleArn"]) == (FIRST, "web", ROLE)
    assert ":assumed-role/first/" in last["by"]


def test_a_web_identity_that_is_refused_or_not_there_is_told(sts, tmp_path):
    token = tmp_path / "token"
    token.write_text(CANARY)
    with kept(**web(sts, assume_role_with_web_identity_token_file=str(token))) as stored:
        error = refused(lambda: who(aws.client(stored.held, asked(stored))))
        assert (error.step, error.reason) == ("token", "credentials")
    with kept(**web(sts, assume_role_with_web_identity_token_file=str(tmp_path / "none"))) as stored:
        made = aws.client(stored.held, asked(stored))
        error = refused(lambda: who(made), BackendConfigError)
        assert (error.step, error.reason) == ("token", "missing")
        (tmp_path / "none").write_text("web-token")  # there by now, and nobody is made to wait
        assert who(made)
    with kept(**web(sts)) as stored:
        error = refused(lambda: who(aws.client(stored.held, asked(stored))), BackendConfigError)
        assert (error.step, error.reason) == ("options", "missing")


def test_a_pods_own_role_is_taken_on_under_the_runs_name(sts, tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("web-token")
    environ = {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": str(token)}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with kept(conn_type="aws", extra=sts.extra()) as stored:
        assert who(aws.client(stored.held, asked(stored, run=RUN, environ=environ))).endswith(NAMED)
        assert aws.credentials(stored.held, asked(stored, run=RUN, environ=environ).around).access_key
    assert len(sts.logins) == 1


def test_a_pods_own_role_leads_to_the_connections(sts, tmp_path, monkeypatch):
    token = tmp_path / "token"
    token.write_text("web-token")
    monkeypatch.setenv("AWS_ROLE_ARN", FIRST)
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url())
    with kept(conn_type="aws", extra=sts.extra(role_arn=ROLE)) as stored:
        assert ":assumed-role/reader/" in who(aws.client(stored.held, asked(stored)))
    assert [login["RoleArn"] for login in sts.logins] == [FIRST, ROLE]


def test_the_role_of_an_instance_is_asked_for_as_it_asks_to_be(sts, monkeypatch):
    with Metadata(sts) as machine:
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        for name, value in machine.environ.items():
            monkeypatch.setenv(name, value)
        with kept(conn_type="aws", extra=sts.extra()) as stored:
            made = aws.client(stored.held, asked(stored))
            assert who(made) == machine.ROLE
            sts.revoke()
            assert who(made) == machine.ROLE
        assert machine.given == 2
        with kept(conn_type="aws", extra=sts.extra(role_arn=ROLE)) as stored:
            assert ":assumed-role/reader/" in who(aws.client(stored.held, asked(stored)))
    assert sts.logins[0]["by"] == machine.ROLE


def test_the_role_of_a_container_is_asked_for_with_its_token(sts, monkeypatch, tmp_path):
    with Metadata(sts) as machine:
        token = tmp_path / "pod-token"
        token.write_text(machine.token)
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
        for name, value in machine.container.items():
            monkeypatch.setenv(name, value)
        with kept(conn_type="aws", extra=sts.extra()) as stored:
            assert who(aws.client(stored.held, asked(stored))) == machine.ROLE


def test_the_token_of_a_machine_of_google_is_a_web_identity(sts):
    def part(held):
        return base64.urlsafe_b64encode(json.dumps(held).encode()).decode().rstrip("=")

    token = f"{part({'alg': 'none'})}.{part({'iat': 1, 'exp': 9_999_999_999})}.{part({})}"
    sts.web_tokens = {token}

    def say(request):
        line = request.split(b"\r\n")[0].decode()
        said = {"Metadata-Flavor": "Google", "Content-Type": "application/text"}
        if "/identity?" in line:
            return reply(200, said, token.encode() if "audience=sts.example" in line else b"")
        account = json.dumps({"email": "default", "scopes": [], "aliases": []}).encode()
        is_account = "service-accounts/default/" in line
        return reply(200, {**said, "Content-Type": "application/json"} if is_account else said, account)

    google = {
        "assume_role_with_web_identity_federation": "google",
        "assume_role_with_web_identity_federation_audience": "sts.example",
    }
    with Scripted(say) as machine:
        script = """
            import json, sys, strongroom
            with strongroom.open_room(environ=json.loads(sys.argv[1])) as room, strongroom.use_room(room):
                print(strongroom.client("aws_default", service="sts").get_caller_identity()["Arn"])
        """
        place = f"127.0.0.1:{machine.port}"
        done = ran(script, web(sts, **google), GCE_METADATA_HOST=place, GCE_METADATA_IP=place)
    assert done.returncode == 0, done.stderr
    assert ":assumed-role/reader/strongroom@aws_default" in done.stdout
    nowhere = {"GCE_METADATA_IP": "127.0.0.1:1", "GCE_METADATA_DETECT_RETRIES": "1"}
    nobody = ran(script, web(sts, **google), **nowhere)
    assert "finds no identity on this machine" in nobody.stderr


def ran(script, fields, **environ):
    """Run a program in a process of its own, whose room has the connection aws_default."""
    room = {
        "STRONGROOM__CHAIN": '["env"]',
        "HOME": os.environ.get("HOME", "/"),
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps({**fields, "extra": json.dumps(fields["extra"])}),
    }
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script), json.dumps(room)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "AWS_EC2_METADATA_DISABLED": "true", **environ},
    )


def test_a_profile_names_a_key_and_a_role(sts, monkeypatch, hermetic, caplog):
    (hermetic / "aws-config").write_text(
        f"[profile base]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
        f"[profile reading]\nrole_arn = {ROLE}\nsource_profile = base\n"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url())
    caplog.set_level(logging.DEBUG)
    with kept(conn_type="aws", extra=sts.extra(profile_name="reading")) as stored:
        assert ":assumed-role/reader/" in who(aws.client(stored.held, asked(stored)))
        for refusal, reason in (
            (("AccessDenied", 403), "credentials"),
            (("InternalFailure", 500), "unavailable"),
        ):
            sts.refusal = refusal
            stored.held.kept.clear()
            error = refused(
                lambda: who(aws.client(stored.held, asked(stored))),
                AccessDeniedError if reason == "credentials" else BackendUnavailableError,
            )
            assert (error.step, error.reason) == ("token", reason)
        sts.say = lambda _request: reply(200, {}, b"<html><br>" + CANARY.encode())
        stored.held.kept.clear()
        error = refused(lambda: who(aws.client(stored.held, asked(stored))), BackendConfigError)
        assert (error.step, error.reason) == ("token", "malformed")
    for one in (SECRET, "secret-1", "t0ken-1"):
        assert one not in caplog.text
    with kept(conn_type="aws", extra=sts.extra(profile_name="nowhere")) as stored:
        error = refused(lambda: aws.client(stored.held, asked(stored)), BackendConfigError)
        assert (error.step, error.reason) == ("options", "unknown")


def test_a_machine_without_an_identity_is_told_so_and_asked_again_later(sts, monkeypatch):
    with kept(conn_type="aws", extra=sts.extra()) as stored:
        made = aws.client(stored.held, asked(stored))
        error = refused(lambda: who(made), BackendConfigError)
        assert (error.step, error.reason) == ("token", "missing")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        assert who(made)


# --- the way there -------------------------------------------------------------------------------------


class Plain(Listener):
    """Speaks no TLS."""

    def serve(self, connection):
        connection.recv(1)
        connection.sendall(reply(400))


def at(url, **more):
    return keyed((KEY, SECRET), {"region_name": REGION, "endpoint_url": url, **more})


@pytest.mark.parametrize(
    ("case", "step", "reason"),
    [
        ("trusted", None, None),
        ("unknown authority", "tls", "untrusted"),
        ("another host", "tls", "wrong_host"),
        ("expired", "tls", "expired"),
        ("no such authority", "tls", "malformed"),
        ("plain", "tls", "plaintext"),
        ("down", "tcp", "refused"),
        ("no such name", "name", "unknown"),
        ("unchecked", None, None),
    ],
)
def test_what_is_wrong_on_the_way_is_told_by_its_step(tmp_path, case, step, reason):
    authority = Authority(tmp_path)
    host = "elsewhere.example" if case == "another host" else "127.0.0.1"
    files = authority.issue("server", host, lasts=-DAY if case == "expired" else DAY)
    tls = None if case in ("plain", "down") else server_context(*files)
    said = {"verify": str(authority.file), "config_kwargs": {"retries": {"total_max_attempts": 1}}}
    said |= {"unknown authority": {"verify": True}, "unchecked": {"verify": "False"}}.get(case, {})
    said |= {"verify": str(tmp_path / "none.pem")} if case == "no such authority" else {}
    with Plain() if case == "plain" else Sts(tls=tls) as server:
        url = server.url("https")
        if case == "down":
            server.stop()
        if case == "no such name":
            url = "https://no-such-host.invalid"
        with kept(**at(url, **said)) as stored:
            made = aws.client(stored.held, asked(stored))
            if step is None:
                with pytest.warns(InsecureRequestWarning) if case == "unchecked" else nullcontext():
                    assert who(made)
                return
            kind = BackendUnavailableError if step == "tcp" else BackendConfigError
            error = refused(lambda: who(made), kind)
            if case == "no such name" and error.reason == "unavailable":
                return  # a machine without any DNS cannot know
            assert (error.step, error.reason) == (step, reason)


# --- what is given -------------------------------------------------------------------------------------


def test_a_session_gives_clients_that_follow_and_tells_no_secret(sts, caplog):
    caplog.set_level(logging.DEBUG)
    with kept(**keyed((KEY, CANARY), sts.extra(role_arn=ROLE))) as stored:
        sts.keys[KEY] = CANARY
        made = aws.client(stored.held, asked(stored, None))
        client = made.client("sts")
        assert who(client)
        signs = made.get_credentials()
        assert (signs.access_key, signs.token) == ("ASIA0000000000000001", "t0ken-1")
        shown = f"{made!r}{signs!r}{client!r}{vars(made)}"
        for one in (CANARY, "secret-1", "t0ken"):
            assert one not in shown
        for one in (CANARY, "secret-1", "t0ken-1"):
            assert one not in caplog.text
        for one in (made, signs):
            with pytest.raises(TypeError):
                pickle.dumps(one)


def test_a_client_that_is_closed_ends_the_following_and_so_does_one_that_nobody_has(account):
    with kept(**keyed(account.user(POLICY), account.extra())) as stored:
        made = aws.client(stored.held, asked(stored))
        other = aws.client(stored.held, asked(stored, "s3"))
        who(made)
        made.close()
        made.close()
        assert stored.held._clients == 1
        del other
        gc.collect()
        assert stored.held._clients == 0


def test_a_session_that_lives_on_makes_clients_where_the_connection_is_by_then(sts):
    with kept(**keyed((KEY, SECRET), sts.extra())) as stored:
        made = aws.client(stored.held, asked(stored, None))
        fixed = aws.client(stored.held, asked(stored, None, region_name="eu-west-2"))
        stored.write(**keyed((KEY, SECRET), sts.extra(region_name="us-west-2")))
        stored.tell()
        assert made.client("sts").meta.region_name == "us-west-2"
        assert fixed.client("sts").meta.region_name == "eu-west-2"
        assert made.client("sts", region_name="eu-central-1").meta.region_name == "eu-central-1"


def test_what_the_caller_says_goes_before_what_the_connection_says(moto):
    extra = {
        "region_name": REGION,
        "endpoint_url": "http://127.0.0.1:1",
        "config_kwargs": {"read_timeout": 7},
    }
    with kept(**keyed((KEY, SECRET), extra)) as stored:
        made = aws.client(
            stored.held,
            asked(
                stored, "s3", endpoint_url=moto.url, region_name="us-east-1", config=Config(connect_timeout=3)
            ),
        )
        assert (made.meta.region_name, made.meta.endpoint_url) == ("us-east-1", moto.url)
        assert (made.meta.config.read_timeout, made.meta.config.connect_timeout) == (7, 3)
        made.create_bucket(Bucket="said-before")


def test_a_resource_follows_as_a_client_does(moto):
    extra = {
        "region_name": REGION,
        "endpoint_url": moto.url,
        "config_kwargs": {"s3": {"addressing_style": "path"}},
    }
    with kept(**keyed((KEY, SECRET), extra)) as stored:
        made = aws.client(stored.held, asked(stored, "s3", driver="resource"))
        made.create_bucket(Bucket="resourced", CreateBucketConfiguration={"LocationConstraint": REGION})
        made.Object("resourced", "a").put(Body=b"x")
        assert [one.key for one in made.Bucket("resourced").objects.all()] == ["a"]


@pytest.mark.parametrize(
    ("service", "driver", "options", "reason"),
    [
        (None, "resource", {}, "missing"),
        ("nope", "boto3", {}, "unknown"),
        ("nope", "resource", {}, "unknown"),
        ("s3", "boto3", {"no_such_option": 1}, "unknown"),
        (None, "boto3", {"endpoint_url": "x"}, "unknown"),
        ("s3", "boto3", {"endpoint_url": "no url"}, "malformed"),
    ],
)
def test_what_the_library_does_not_have_is_told(service, driver, options, reason):
    with kept(**keyed((KEY, SECRET), {"region_name": REGION})) as stored:
        error = refused(
            lambda: aws.client(stored.held, asked(stored, service, driver=driver, **options)),
            BackendConfigError,
        )
        assert (error.step, error.reason) == ("options", reason)


def test_a_connection_without_a_region_is_told_so():
    with kept(**keyed((KEY, SECRET), {})) as stored:
        error = refused(lambda: aws.client(stored.held, asked(stored, "sqs")), BackendConfigError)
        assert (error.step, error.reason) == ("options", "missing")


def test_a_forked_child_logs_in_for_itself_and_shares_no_socket(sts):
    script = """
        import json, os, sys
        import strongroom
        room = strongroom.open_room(environ=json.loads(sys.argv[1]))
        with strongroom.use_room(room):
            made = strongroom.client("aws_default", service="sts")
            first = made.get_caller_identity()["Arn"]
            child = os.fork()
            same = made.get_caller_identity()["Arn"] == first
            if child == 0:
                os._exit(0 if same else 1)
            _, status = os.waitpid(child, 0)
            assert same and status == 0, (same, status)
            print(first)
    """
    done = ran(script, keyed((KEY, SECRET), sts.extra(role_arn=ROLE)))
    assert done.returncode == 0, done.stderr
    assert ":assumed-role/reader/strongroom@aws_default" in done.stdout
    assert len(sts.logins) == 2
    assert sts.connections >= 4


def test_strongroom_client_gives_all_that(moto, tmp_path):
    extra = json.dumps({"region_name": REGION, "endpoint_url": moto.url})
    environ = {
        "HOME": str(tmp_path),
        "STRONGROOM__CHAIN": '["env"]',
        "AIRFLOW_CONN_AWS_DEFAULT": json.dumps(keyed((KEY, SECRET), extra)),
    }
    with strongroom.open_room(environ=environ) as room, strongroom.use_room(room):
        assert who(strongroom.client("aws_default", service="sts")).startswith("arn:aws:")
        assert strongroom.client("aws_default").client("sts")
