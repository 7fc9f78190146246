"""
Hooks and operators of Airflow's own providers get their connections from us, in both Airflows.

The services they speak to are strict: a PostgreSQL that wants its password, a bucket that computes the
signature of each request, a token endpoint that checks the signed assertion, and a site with basic access.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, parse_qsl, quote, urlsplit

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from parts.agent import agent
from parts.databases import server_of
from strongroom.assembly import create_room
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.service.entries import Change

AWS_KEY, AWS_SECRET = "AKIASTRONGROOMTEST", "aws/Secret+of'the' bucket"
WEB_PASSWORD = "web:p@ss/word of it"
PG_PASSWORD = "p/w:@%?#"
ACCESS_TOKEN = "ya29.a-token-of-the-fake"
_CHANGED = b"<Size>16</Size><LastModified>2026-01-01T00:00:00Z</LastModified>"
DAG = """
from __future__ import annotations
import datetime
try:
    from airflow.sdk import DAG, task
except ImportError:
    from airflow import DAG
    from airflow.decorators import task
from airflow.providers.amazon.aws.operators.s3 import S3ListOperator
from airflow.providers.common.sql.operators.sql import SQLExecuteQueryOperator
from airflow.providers.http.operators.http import HttpOperator

START = datetime.datetime(2024, 1, 1)

with DAG("hooks", start_date=START, schedule=None):
    @task
    def s3():
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook
        keys = AwsBaseHook(aws_conn_id="aws_of_us", client_type="s3").get_credentials()
        return [S3Hook(aws_conn_id="aws_of_us").read_key("a/file", "bucket"), keys.access_key]

    @task
    def google():
        # Google's client of its Secret Manager is not installed, and only other ways to log in need it.
        import sys, types
        class Absent(types.ModuleType):
            __path__ = []
            def __getattr__(self, name):
                if name.startswith("__"):
                    raise AttributeError(name)
                return type(name, (), {})
        for name in ("", ".types", ".types.service"):
            name = "google.cloud.secretmanager_v1" + name
            sys.modules.setdefault(name, Absent(name))
        import google.auth.transport.requests
        from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
        hook = GoogleBaseHook(gcp_conn_id="google_of_us")
        credentials = hook.get_credentials()
        credentials.refresh(google.auth.transport.requests.Request())
        return [credentials.service_account_email, hook.project_id, len(credentials.token)]

    @task
    def postgres():
        from contextlib import closing
        from airflow.providers.postgres.hooks.postgres import PostgresHook
        hook = PostgresHook(postgres_conn_id="pg_of_us")
        with closing(hook.get_conn()) as connection, closing(connection.cursor()) as cursor:
            cursor.execute("SELECT current_user::text")
            return [cursor.fetchone()[0], hook.get_first("SELECT 6 * 7")[0]]

    @task
    def http():
        from airflow.providers.http.hooks.http import HttpHook
        return HttpHook(method="GET", http_conn_id="web_of_us").run("hello").text

    s3()
    google()
    postgres()
    http()
    S3ListOperator(task_id="listed", bucket="bucket", aws_conn_id="aws_of_us")
    SQLExecuteQueryOperator(task_id="query", conn_id="pg_of_us", sql="SELECT current_user::text")
    HttpOperator(task_id="page", http_conn_id="web_of_us", endpoint="hello", method="GET")
"""
SCRIPT = 'tell(run=run_dag("hooks"))'


# --- the services --------------------------------------------------------------------------------------


class Services(BaseHTTPRequestHandler):
    """A bucket, a token endpoint and a site; each refuses who does not prove who he is."""

    key = None  # the public half of the service account's

    def log_message(self, *_arguments):
        """Say nothing."""

    def do_GET(self):
        split = urlsplit(self.path)
        if split.path.startswith("/bucket"):
            self._bucket(split)
        elif self.headers.get("Authorization") == f"Basic {_base64(f'anna:{WEB_PASSWORD}'.encode())}":
            self._say(200, b"hello anna")
        else:
            self._say(401, b"who are you?")

    def do_HEAD(self):
        self.do_GET()

    def do_POST(self):
        said = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        head, claims, signature = said["assertion"][0].split(".")
        signed = f"{head}.{claims}".encode()
        self.key.verify(_unpadded(signature), signed, padding.PKCS1v15(), hashes.SHA256())
        issuer = json.loads(_unpadded(claims))["iss"]
        assert issuer == "robot@project.iam.gserviceaccount.com"
        self._say(
            200,
            json.dumps({"access_token": ACCESS_TOKEN, "expires_in": 3600, "token_type": "Bearer"}).encode(),
        )

    def _bucket(self, split):
        if not self._is_signed(split):
            self._say(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        elif split.path == "/bucket/a/file":
            self._say(200, b"held in a bucket")
        else:
            listed = (
                b"<ListBucketResult><Name>bucket</Name><IsTruncated>false</IsTruncated><KeyCount>1</KeyCount>"
            )
            self._say(
                200, listed + b"<Contents><Key>a/file</Key>" + _CHANGED + b"</Contents></ListBucketResult>"
            )

    def _is_signed(self, split):
        """Compute the signature of this request (AWS, Signature Version 4) and compare."""
        said = dict(
            part.strip().split("=", 1)
            for part in self.headers["Authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(",")
        )
        key, day, region, service, end = said["Credential"].split("/")
        names = said["SignedHeaders"].split(";")
        query = sorted(parse_qsl(split.query, keep_blank_values=True))
        request = "\n".join(
            [
                self.command,
                split.path,
                "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query),
                *(f"{name}:{' '.join((self.headers[name] or '').split())}" for name in names),
                "",
                said["SignedHeaders"],
                self.headers["x-amz-content-sha256"],
            ]
        )
        scope = f"{day}/{region}/{service}/{end}"
        text = "\n".join(
            [
                "AWS4-HMAC-SHA256",
                self.headers["x-amz-date"],
                scope,
                hashlib.sha256(request.encode()).hexdigest(),
            ]
        )
        signing = f"AWS4{AWS_SECRET}".encode()
        for part in (day, region, service, end):
            signing = hmac.digest(signing, part.encode(), "sha256")
        wanted = hmac.new(signing, text.encode(), "sha256").hexdigest()
        return key == AWS_KEY and hmac.compare_digest(wanted, said["Signature"])

    def _say(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def services(key):
    """Serve on a free port; give the address."""
    handler = type("Handler", (Services,), {"key": key.public_key()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(10)


def _base64(data):
    return base64.b64encode(data).decode()


def _unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def connections(address, key):
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    robot = {
        "type": "service_account",
        "project_id": "project",
        "private_key_id": "1",
        "private_key": pem,
        "client_email": "robot@project.iam.gserviceaccount.com",
        "token_uri": f"{address}/token",
    }
    host, _, port = address.rpartition("//")[2].partition(":")
    database = server_of("postgresql")
    return {
        "aws_of_us": json.dumps(
            {
                "conn_type": "aws",
                "login": AWS_KEY,
                "password": AWS_SECRET,
                "extra": {"region_name": "eu-central-1", "endpoint_url": address},
            }
        ),
        "google_of_us": json.dumps(
            {
                "conn_type": "google_cloud_platform",
                "extra": {"keyfile_dict": json.dumps(robot), "project": "project"},
            }
        ),
        "pg_of_us": json.dumps(
            {
                "conn_type": "postgres",
                "host": database.socket,
                "login": "guarded",
                "password": PG_PASSWORD,
                "schema": "postgres",
            }
        ),
        # As a URI, as most are written.
        "web_of_us": f"http://anna:{quote(WEB_PASSWORD, safe='')}@{host}:{port}",
    }


@pytest.fixture(scope="session")
def hooked(inside):
    def make(folder):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        home = folder / "agent"
        home.mkdir()
        with services(key) as address, agent(home, 'chain = ["native"]\n', start=False) as one:
            changes = [
                Change(ref=Ref("connection", name), secret=Secret(text))
                for name, text in connections(address, key).items()
            ]
            with create_room(one.settings, environ={"HOME": str(home), "STRONGROOM_HOME": str(home)}) as room:
                room.entries.write_many(changes)
            one.start()
            environ = inside.backend(socket=one.socket) | {"NO_PROXY": "*"}
            return inside.run(folder, SCRIPT, dags={"hooks.py": DAG}, environ=environ, seconds=240)

    return inside.once("hooks", make)


def given(ran, task):
    run = ran.told["run"]
    assert run["tasks"][task] == "success", ran.told_of_itself()
    return run["xcoms"].get(task)


# --- what came of it -----------------------------------------------------------------------------------


def test_s3_is_read_with_the_keys_of_the_connection(hooked):
    assert given(hooked, "s3") == ["held in a bucket", AWS_KEY]


def test_an_operator_of_s3_lists(hooked):
    assert given(hooked, "listed") == ["a/file"]


def test_google_takes_the_keyfile_of_the_connection(hooked):
    assert given(hooked, "google") == ["robot@project.iam.gserviceaccount.com", "project", len(ACCESS_TOKEN)]


def test_postgresql_lets_the_user_of_the_connection_in(hooked):
    assert given(hooked, "postgres") == ["guarded", 42]


def test_an_operator_queries_postgresql(hooked):
    (row,) = given(hooked, "query")
    assert (row["__data__"] if isinstance(row, dict) else row) == [
        "guarded"
    ]  # a tuple, as Airflow 3 keeps one


def test_a_site_knows_the_user_of_the_connection(hooked):
    assert given(hooked, "http") == "hello anna"


def test_an_operator_fetches_a_page(hooked):
    assert given(hooked, "page") == "hello anna"


def test_nothing_of_them_is_left_in_logs_or_database(hooked):
    assert hooked.leaks(AWS_SECRET, WEB_PASSWORD, PG_PASSWORD, without=("stdout", "stderr")) == []
