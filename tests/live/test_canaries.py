"""
A canary in every field of every type of which there are live clients, looked for in everything that leaves.

The canary stands in one field after the other, where it may or may not be what the library takes, and in all
secret ones at once; each client is made and used, with nothing that listens where it leads. What leaves:
errors with all they carry, what the client prints as, logs of every level, warnings, output.
"""

from __future__ import annotations

import copy
import json
import pickle
import socketserver
import threading
import traceback
from contextlib import contextmanager, suppress

import pytest
from redis.backoff import NoBackoff
from redis.retry import Retry

import strongroom
from strongroom import catalog
from strongroom.errors import BackendConfigError, StrongroomError
from strongroom.live.families import DRIVERS
from strongroom.testing.plugin import strongroom_room  # noqa: F401 -- a fixture
from test_leaks import CANARY, _nothing_leaves, check, check_error  # noqa: F401 -- one is a fixture

NOWHERE = 9  # a port of this machine on which nothing listens
ALIKE = ("athena", "emr", "azure_data_factory", "gcpbigquery")  # read by what reads the one named first
TYPES = [
    (driver.name, conn_type) for driver in DRIVERS for conn_type in driver.types if conn_type not in ALIKE
]
ROBOT = {
    "type": "service_account",
    "project_id": "p",
    "private_key_id": CANARY,
    "private_key": f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n",
    "client_email": "robot@p.iam.gserviceaccount.com",
    "token_uri": f"http://127.0.0.1:{NOWHERE}/token",
}
CLUSTER = f"""
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "http://127.0.0.1:{NOWHERE}"}}}}]
users: [{{name: u, user: {{token: "{CANARY}", password: "{CANARY}"}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""
# What else a type needs so that it comes as far as a library, and no further than this machine.
NEEDED = {
    "aws": {
        "region_name": "eu-west-1",
        "endpoint_url": f"http://127.0.0.1:{NOWHERE}",
        "config_kwargs": {"retries": {"max_attempts": 0}},
    },
    "http": {"trust_env": False},
    "slack": {"base_url": f"http://127.0.0.1:{NOWHERE}/"},
    "google_cloud_platform": {"keyfile_dict": json.dumps(ROBOT)},
    "kubernetes": {"kube_config": CLUSTER},
    "redis": {"db": 0},
    "smtp": {"disable_ssl": True, "disable_tls": True, "retry_limit": 1, "timeout": 2},
}
SERVICES = {"boto3": "s3", "resource": "s3"}
# What a library would try again, and wait for, tells nothing more the second time.
HASTE = {"redis": {"retry": Retry(NoBackoff(), 1)}}
USES = {
    "sqlalchemy": lambda made: made.connect().close(),
    "psycopg": lambda made: made.connect().close(),
    "redis": lambda made: made.ping(),
    "smtplib": lambda made: made.noop(),
    "boto3": lambda made: made.list_buckets(),
    "resource": lambda made: list(made.buckets.all()),
    "httpx2": lambda made: made.get("/"),
    "slack-sdk": lambda made: (getattr(made, "auth_test", None) or (lambda: made.send(text="x")))(),
    "sftp": lambda made: made.listdir("."),
    "ssh": lambda made: made.exec_command("true"),
}


def fields_of(conn_type):
    known = catalog.find(conn_type)
    return [(field, True) for field in known.standard] + [(field, False) for field in known.extras]


def base(conn_type):
    """Give the fields of a connection that leads to this machine alone."""
    standard = {field.name for field in catalog.find(conn_type).standard}
    fields = {"conn_type": conn_type, "extra": dict(NEEDED.get(conn_type, {}))}
    given = {"host": "127.0.0.1", "port": NOWHERE, "login": "reader", "password": CANARY, "schema": "s"}
    return fields | {name: value for name, value in given.items() if name in standard}


def variants(conn_type):
    """Give connections with the canary in one field each, and one with it in all secret ones."""
    every = base(conn_type)
    for field, is_standard in fields_of(conn_type):
        one = base(conn_type)
        for at in (one, every) if field.is_secret else (one,):
            if is_standard and field.name != "port":
                at[field.name] = CANARY
            elif not is_standard:
                at["extra"][field.name] = CANARY
        yield field.name, field.is_secret, one
    yield "all secret ones", True, every


def shows(what, made):
    """Look at what *made* prints as, in every way a debugger or a log does, and at what pickling gives."""
    check(f"the repr of {what}", f"{made!r} {made!s} {made}")
    with suppress(Exception):
        check(f"the pickled {what}", pickle.dumps(made))
    with suppress(Exception):
        check(f"a copy of {what}", repr(copy.copy(made)))


def look_at(error, *, is_secret):
    """Look at *error*, and at the locals of its frames, which some report with it; hosts may stand there."""
    check_error(error)
    for frame in traceback.walk_tb(error.__traceback__) if is_secret else ():
        if frame[0].f_code.co_filename != __file__:
            check(f"a local of {frame[0].f_code.co_name}", repr(frame[0].f_locals))


@pytest.mark.parametrize(("driver", "conn_type"), TYPES)
def test_no_field_of_a_connection_shows_in_what_a_live_client_raises_logs_or_prints(
    strongroom_room,  # noqa: F811 -- the fixture above
    driver,
    conn_type,
    tmp_path,
    monkeypatch,
):
    monkeypatch.chdir(tmp_path)  # the host of SQLite is a file, made where it is not
    haste = HASTE.get(driver)
    for number, (name, is_secret, fields) in enumerate(variants(conn_type)):
        strongroom_room.connection(f"held_{number}", fields)
        try:
            made = strongroom.client(
                f"held_{number}", driver=driver, service=SERVICES.get(driver), options=haste
            )
        except StrongroomError as error:
            look_at(error, is_secret=is_secret)
            continue
        if is_secret:
            shows(f"{driver} with {name}", made)
        try:
            # What is no secret is used only where it changes who answers; nobody does.
            USES.get(driver if is_secret else None, lambda _: None)(made)
        except StrongroomError as error:
            look_at(error, is_secret=is_secret)
        finally:
            with suppress(Exception):
                (getattr(made, "dispose", None) or made.close)()


# --- where something else answers ------------------------------------------------------------------------


class Stranger(socketserver.BaseRequestHandler):
    """Answers in no protocol, and with what must not be repeated."""

    says = ""

    def handle(self):
        if self.says == "first":
            self.request.sendall(f"{CANARY}\r\n".encode())
        with suppress(OSError):
            while self.request.recv(65536):
                self.request.sendall(f"HTTP/1.1 400 {CANARY}\r\nContent-Length: 0\r\n\r\n".encode())


@contextmanager
def stranger(says):
    handler = type("Handler", (Stranger,), {"says": says})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join(10)


ROLE = {"region_name": "eu-west-1", "role_arn": "arn:aws:iam::123456789012:role/reader"}
PLAIN = {"disable_ssl": True, "disable_tls": True, "timeout": 2, "retry_limit": 1}
# What connects, or gets a token, before there is anything to work with.
MET = {
    "psycopg": ("postgres", {"connect_timeout": 2}, USES["psycopg"]),
    "sqlalchemy": ("mysql", {}, USES["sqlalchemy"]),
    "redis": ("redis", {}, USES["redis"]),
    "smtplib": ("smtp", PLAIN, USES["smtplib"]),
    "boto3": ("aws", ROLE, lambda made: made.get_credentials().get_frozen_credentials()),
    "httpx2": ("http", {"oauth2": {}}, USES["httpx2"]),
}


# A driver of MySQL waits for the service's greeting, so that there is nothing to answer.
@pytest.mark.parametrize(
    ("driver", "says"),
    [
        (driver, says)
        for driver in MET
        for says in ("first", "http")
        if (driver, says) != ("sqlalchemy", "http")
    ],
)
def test_what_answers_in_another_protocol_is_an_error_of_ours_without_a_word_of_it(
    strongroom_room,  # noqa: F811 -- the fixture above
    driver,
    says,
):
    conn_type, extra, use = MET[driver]
    with stranger(says) as port:
        address = f"http://127.0.0.1:{port}"
        more = {
            "boto3": {"service_config": {"sts": {"endpoint_url": address}}},
            "httpx2": {"oauth2": {"token_url": f"{address}/token"}},
        }
        fields = base(conn_type) | {"extra": extra | more.get(driver, {})}
        strongroom_room.connection("met", fields | ({"port": port} if "port" in fields else {}))
        with pytest.raises(StrongroomError) as caught:
            use(strongroom.client("met", driver=driver))
        look_at(caught.value, is_secret=True)


def test_a_service_of_what_has_none_is_refused_and_not_passed_over(strongroom_room):  # noqa: F811 -- as above
    strongroom_room.connection("orders_db", base("postgres"))
    with pytest.raises(BackendConfigError, match="service") as caught:
        strongroom.client("orders_db", service="s3")
    assert (caught.value.step, caught.value.reason) == ("options", "unknown")
