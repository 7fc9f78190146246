"""Any secrets backend class of Airflow's kind as a backend: here a plain one, which needs no Airflow."""

import json
import os
import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import pytest

from strongroom.assembly import open_room
from strongroom.backends.airflow_class import AirflowClass, AirflowClassOptions
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    MalformedEntryError,
)
from strongroom.model.connection import Connection
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.settings import load
from strongroom.testing.contract import CANARY, BackendContract


class Plain:
    """What Airflow would ask: it derives from nothing."""

    def __init__(self, **kwargs):
        self.kwargs = kwargs
        self.held = {}
        self.trouble = None

    def _answer(self, kind, name, team_name):
        if self.trouble is not None:
            raise self.trouble
        return self.held.get((kind, name, team_name))

    def get_conn_value(self, conn_id, team_name=None):
        return self._answer("connection", conn_id, team_name)

    def get_variable(self, key, team_name=None):
        return self._answer("variable", key, team_name)

    def get_config(self, key):
        return self._answer("config", key, None)


class Teamless:
    def get_variable(self, key):
        return "global"


class Objects:
    """One that makes its connections itself, as LocalFilesystemBackend does."""

    def get_connection(self, conn_id):
        return Held() if conn_id == "orders_db" else None

    def get_variable(self, key):
        return {"object": {"a": 1}, "bytes": b"x"}.get(key)


class Held:
    conn_type = "postgres"
    host = "Db.Example"
    login = ""
    password = CANARY
    schema = port = description = None
    extra = '{"sslmode": "require", "n": 1}'


class Picky:
    def __init__(self, url):
        self.url = url

    def get_variable(self, key):
        return self.url


class Forbidden(Exception):  # noqa: N818 -- as hvac calls it
    pass


class AnsweredError(Exception):
    def __init__(self, status):
        super().__init__(CANARY)
        self.status_code = status


class ClientError(Exception):
    def __init__(self, code):
        super().__init__(CANARY)
        self.response = {"Error": {"Code": code, "Message": CANARY}}


def clock():
    return datetime.now(timezone.utc)


def backend_of(kind=Plain, **kwargs):
    path = f"{kind.__module__}.{kind.__qualname__}"
    return AirflowClass("old", AirflowClassOptions(path=path, kwargs=kwargs), clock)


class TestPlain(BackendContract):
    def make(self, tmp_path):
        return backend_of()

    def put(self, backend, ref, text):
        backend._instance().held[ref.kind, ref.name, ref.team] = text

    def remove(self, backend, ref):
        del backend._instance().held[ref.kind, ref.name, ref.team]

    def down(self, backend):
        backend._instance().trouble = OSError(CANARY)

    def deny(self, backend, ref):
        backend._instance().trouble = PermissionError(CANARY)


@pytest.mark.parametrize(
    "trouble",
    [
        PermissionError(CANARY),
        Forbidden(CANARY),
        AnsweredError(403),
        ClientError("AccessDeniedException"),
    ],
    ids=lambda trouble: type(trouble).__name__,
)
def test_refusal_in_each_sdks_words_is_denied(trouble):
    backend = backend_of()
    backend._instance().trouble = trouble
    with pytest.raises(AccessDeniedError) as caught:
        backend.read(Ref("variable", "region"))
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("status", "told"),
    [("PERMISSION_DENIED", AccessDeniedError), ("UNAVAILABLE", BackendUnavailableError)],
)
def test_refusal_over_grpc_is_denied_and_other_trouble_is_not(status, told):
    grpc = pytest.importorskip("grpc")
    backend = backend_of()

    def refuse(_request, context):
        context.abort(grpc.StatusCode[status], CANARY)

    handler = grpc.method_handlers_generic_handler("s", {"Get": grpc.unary_unary_rpc_method_handler(refuse)})
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            channel.unary_unary("/s/Get")(b"", timeout=20)
        except grpc.RpcError as error:
            backend._instance().trouble = error
        with pytest.raises(told) as caught:
            backend.read(Ref("variable", "region"))
    server.stop(None).wait()
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_refusal_below_another_error_is_denied():
    backend = backend_of()
    outer = RuntimeError(CANARY)
    outer.__cause__ = Forbidden(CANARY)
    backend._instance().trouble = outer
    with pytest.raises(AccessDeniedError):
        backend.read(Ref("variable", "region"))


@pytest.mark.parametrize(
    "trouble", [AnsweredError(500), AnsweredError(401), ClientError("Throttling"), KeyError(CANARY)]
)
def test_any_other_trouble_is_unavailable(trouble):
    backend = backend_of()
    backend._instance().trouble = trouble
    with pytest.raises(BackendUnavailableError) as caught:
        backend.read(Ref("variable", "region"))
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_connection_object_becomes_airflows_json():
    entry = backend_of(Objects).read(Ref("connection", "orders_db"))
    assert json.loads(entry.secret.reveal()) == {
        "conn_type": "postgres",
        "host": "Db.Example",
        "login": "",
        "password": CANARY,
        "extra": {"sslmode": "require", "n": 1},
    }
    assert Connection.parse(entry.secret.reveal()).host == "Db.Example"
    assert backend_of(Objects).read(Ref("connection", "other")) is None


def test_variable_that_is_an_object_becomes_json_and_bytes_are_trouble():
    backend = backend_of(Objects)
    assert backend.read(Ref("variable", "object")).secret.reveal() == '{"a": 1}'
    with pytest.raises((BackendUnavailableError, MalformedEntryError)):
        backend.read(Ref("variable", "bytes"))


def test_class_that_knows_no_teams_holds_nothing_of_theirs():
    backend = backend_of(Teamless)
    assert backend.read(Ref("variable", "region", "data")) is None
    assert backend.read(Ref("variable", "region")).secret.reveal() == "global"


def test_config_is_asked_where_the_class_has_it():
    backend = backend_of()
    backend._instance().held["config", "sql_alchemy_conn", None] = "x"
    assert backend.read(Ref("config", "sql_alchemy_conn")).secret.reveal() == "x"
    assert backend_of(Teamless).read(Ref("config", "sql_alchemy_conn")) is None


@pytest.mark.parametrize(
    "path",
    [
        "no_dots",
        "strongroom.airflow.StrongroomBackend",
        "nobody_has.this.Class",
        "os.path.join",
        "json.decoder.JSONDecoder",
        "os; x.y",
    ],
)
def test_what_is_no_such_class_is_a_wrong_setting(path):
    backend = AirflowClass("old", AirflowClassOptions(path=path), clock)
    with pytest.raises(BackendConfigError):
        backend.read(Ref("variable", "region"))
    assert backend.check().status == "error"


def test_class_that_cannot_be_made_says_its_error_and_no_argument():
    backend = backend_of(Picky, token=CANARY)
    with pytest.raises(BackendUnavailableError) as caught:
        backend.read(Ref("variable", "region"))
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert CANARY not in f"{backend.check()}"


def test_nothing_is_made_before_something_is_asked():
    assert backend_of(Picky)._made == {}


def test_forked_child_makes_one_of_its_own():
    backend = backend_of()
    mine = backend._instance()
    child = os.fork()
    if child == 0:
        os._exit(0 if backend._instance() is not mine else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_secrets_of_its_arguments_are_fetched_at_any_depth(tmp_path):
    (tmp_path / "token").write_text(CANARY)
    (tmp_path / "token").chmod(0o600)
    (tmp_path / "strongroom.toml").write_text(
        f"""
        chain = ["old"]
        [backend.old]
        kind = "airflow_class"
        path = "{Echo.__module__}.Echo"
        [backend.old.kwargs]
        token = {{ file = "token" }}
        deep = {{ inner = {{ env = "INNER" }}, n = 1 }}
        plain = "p"
        """
    )
    environ = {"HOME": str(tmp_path), "INNER": "in the environment"}
    settings = load(tmp_path / "strongroom.toml", environ=environ)
    with open_room(settings, environ=environ) as room:
        held = json.loads(room.lookup.find(Ref("variable", "all")).secret.reveal())
    assert held == {"token": CANARY, "deep": {"inner": "in the environment", "n": 1}, "plain": "p"}


def test_argument_that_is_none_is_handed_over_as_such():
    options = AirflowClassOptions(path=f"{__name__}.Echo", kwargs={"a": 1}, none=("b",))
    held = AirflowClass("old", options, clock).read(Ref("variable", "all"))
    assert json.loads(held.secret.reveal()) == {"a": 1, "b": None}


def test_options_do_not_print_their_secrets():
    assert CANARY not in repr(AirflowClassOptions(path="a.B", kwargs={"token": Secret(CANARY)}))


class Echo:
    def __init__(self, **kwargs):
        self.kwargs = kwargs

    def get_variable(self, key):
        return self.kwargs
