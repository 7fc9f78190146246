"""AWS Secrets Manager: the contract against two emulators, Airflow's shapes, and what only AWS says."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from parts.aws import (
    REGION,
    Endpoint,
    Untagging,
    good,
    guarded,
    hermetic,
    ministack,
    moto,
    prefix,
    refusal,
)
from parts.faults import TEXT, FaultContract
from parts.proxy import Proxy
from strongroom.backends.aws_secrets_manager import SecretsManager, SecretsManagerOptions
from strongroom.bulkhead import within
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    MalformedEntryError,
    NotAuthenticatedError,
    NotFoundError,
    ReadOnlyError,
)
from strongroom.model.connection import Connection
from strongroom.model.entry import MUST_BE_ABSENT, Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.testing.contract import CANARY, HARD_TEXTS, BackendContract

__all__ = ["guarded", "hermetic", "ministack", "moto"]

pytestmark = pytest.mark.usefixtures("hermetic")


def clock():
    return datetime.now(timezone.utc)


def options(access, head=None, **more):
    heads = {
        f"{kind}_prefix": f"{head or prefix()}/{kind}" for kind in ("connections", "variables", "config")
    }
    return SecretsManagerOptions(**{**access, **heads, **more})


class Contract(BackendContract):
    """
    What AWS keeps is text of 1 to 65,536 bytes under names of its own grammar. It tells no authors of
    versions, and a version of a deleted secret is read after it was brought back.
    """

    keeps = 3  # versions of one secret that the emulator lists
    max_text_bytes = 65536
    hard_texts: ClassVar = {label: text for label, text in HARD_TEXTS.items() if label != "empty"}

    def make(self, tmp_path, **more):
        access = self.server.access(endpoint_url=self.proxy.url())
        made = {"use_team_secrets_path": True, **more}
        return SecretsManager("aws", options(access, **made), clock)

    def make_holding(self, tmp_path):
        head = prefix()
        each = {f"{kind}_prefix": f"{head}/{kind}#" for kind in ("connections", "variables", "config")}
        return self.make(tmp_path, **each)

    def make_shaped(self, tmp_path, shape):
        return self.make(tmp_path, connection_shape=shape)

    def break_write(self, backend):
        backend.write(self._draft("halved", "made with its tag in one step"))
        self.proxy.is_armed = True

    @pytest.fixture(autouse=True)
    def behind_a_proxy(self, server):
        self.server = server
        with Untagging("127.0.0.1", server.port) as self.proxy:
            yield

    @pytest.fixture
    def backend(self, tmp_path):
        made = self.make(tmp_path)
        yield made
        made.close()
        made.close()

    def down(self, backend):
        self.proxy.become("refuse")

    def deny(self, backend, ref):
        body = b'{"__type": "AccessDeniedException", "message": "no"}'
        self.proxy.answer(400, {"Content-Type": "application/x-amz-json-1.1"}, body)

    def test_history_is_newest_first_and_tells_repeats(self, backend):
        versions = [backend.write(self._draft("v", text)) for text in ("one", "two", "one")]
        history = backend.history(Ref("variable", "v"))
        assert [info.version for info in history] == versions[::-1][: self.keeps]
        assert [info.is_current for info in history] == [True, False, False][: self.keeps]

    def test_every_version_can_be_read(self, backend):
        ref = Ref("variable", "v")
        versions = {text: backend.write(self._draft("v", text)) for text in ("one", "two")}
        for text, version in versions.items():
            assert backend.read_version(ref, version).secret.reveal() == text
        backend.delete(ref, author="contract")
        with pytest.raises(NotFoundError, match="no such version"):
            backend.read_version(ref, versions["one"])


class TestMinistack(Contract):
    keeps = 2

    @pytest.fixture
    def server(self, ministack):
        return ministack


class TestMoto(Contract):
    @pytest.fixture
    def server(self, moto):
        return moto

    def test_deleted_name_written_again_continues_its_versions(self, backend):
        pytest.skip(
            "another test proves it: this emulator leaves what is written again scheduled for deletion"
        )


class TestFaults(FaultContract):
    requests_for_twenty = 1

    @pytest.fixture(autouse=True)
    def server(self, ministack):
        self.head = prefix()
        ministack.asked(
            "secretsmanager", "CreateSecret", Name=f"{self.head}/variables/held", SecretString=TEXT
        )
        self.emulator = ministack

    def serve(self, request):
        return self.emulator.port

    def make(self, url, *, timeout, ca=None):
        access = self.emulator.access(endpoint_url=url, sts_endpoint_url=url, timeout=timeout, ca=ca)
        return SecretsManager("aws", options(access, self.head), clock)


# --- Airflow's shapes ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shelf(ministack):
    """One backend for tests that only read what they put beside it."""
    head = prefix()
    made = SecretsManager("aws", options(ministack.access(), head), clock)

    def put(name, text=None, kind="connections", **more):
        said = {"SecretString": text} if text is not None else {}
        ministack.asked("secretsmanager", "CreateSecret", Name=f"{head}/{kind}/{name}", **said, **more)

    yield made, put
    made.close()


RDS = {
    "engine": "postgres",
    "host": "db.example",
    "username": "airflow",
    "password": "p@ss/w:rd",
    "dbname": "sales",
    "port": 5432,
    "dbInstanceIdentifier": "db-1",
}
OBJECTS = [
    (RDS, ("postgres", "db.example", "airflow", "p@ss/w:rd", "sales", 5432)),
    (
        {"conn_id": "mysql", "server": "h", "user_name": "u", "key": "k", "database": "d", "port": "1"},
        ("mysql", "h", "u", "k", "d", 1),
    ),
    # The first key of the object counts, not the first word of the list.
    ({"user": "first", "login": "second", "engine": "http"}, ("http", None, "first", None, None, None)),
    (
        {"conn_type": "http", "host": "h", "uri": "x://y", "comment": "z"},
        ("http", "h", None, None, None, None),
    ),
    (
        {"conn_type": "http", "login": "u", "description": "kept", "schema": "s"},
        ("http", None, "u", None, "s", None),
    ),
]


@pytest.mark.parametrize(("held", "fields"), OBJECTS, ids=range(len(OBJECTS)))
def test_an_object_becomes_the_connection_airflow_makes_of_it(shelf, held, fields):
    backend, put = shelf
    name = f"c{uuid.uuid4().hex}"
    put(name, json.dumps(held))
    found = Connection.parse(backend.read(Ref("connection", name)).secret.reveal())
    secret = None if found.password is None else found.password.reveal()
    assert (found.conn_type, found.host, found.login, secret, found.schema, found.port) == fields
    assert found.description == held.get("description")


def test_more_words_are_taken_from_the_settings(ministack):
    head = prefix()
    ministack.asked(
        "secretsmanager",
        "CreateSecret",
        Name=f"{head}/connections/c",
        SecretString='{"uid": "me", "what": "http", "login": "late"}',
    )
    words = {"user": ["uid"], "conn_type": ["what"]}
    backend = SecretsManager("aws", options(ministack.access(), head, extra_conn_words=words), clock)
    found = Connection.parse(backend.read(Ref("connection", "c")).secret.reveal())
    assert (found.login, found.conn_type) == ("me", "http")
    backend.close()


@pytest.mark.parametrize("words", [{"secret": ["x"]}, {"login": "uid"}, {"login": [1]}], ids=repr)
def test_words_for_no_field_are_refused(words):
    with pytest.raises(BackendConfigError, match="extra_conn_words"):
        SecretsManager("aws", SecretsManagerOptions(extra_conn_words=words), clock)


def test_an_object_of_a_variable_is_given_as_it_stands(shelf):
    backend, put = shelf
    put("json", '{"user": 1}', kind="variables")
    assert backend.read(Ref("variable", "json")).secret.reveal() == '{"user": 1}'


def test_an_object_that_is_none_is_malformed_and_shows_nothing(shelf):
    backend, put = shelf
    put("broken", '{"password": "' + CANARY + '"')
    with pytest.raises(MalformedEntryError) as caught:
        backend.read(Ref("connection", "broken"))
    assert CANARY not in f"{caught.value!r} {caught.value.hint}"


def test_bytes_that_are_text_are_read_and_others_are_malformed(shelf):
    backend, put = shelf
    put("text", kind="variables", SecretBinary="grün".encode())
    put("bytes", kind="variables", SecretBinary=b"\xff\xfe" + CANARY.encode())
    assert backend.read(Ref("variable", "text")).secret.reveal() == "grün"
    found = backend.read_many([Ref("variable", "text"), Ref("variable", "bytes")])
    assert found[0].secret.reveal() == "grün"
    for error in (found[1], _error(MalformedEntryError, lambda: backend.read(Ref("variable", "bytes")))):
        assert isinstance(error, MalformedEntryError)
        assert CANARY not in repr(error)


def test_a_secret_without_a_value_is_absent(shelf):
    backend, put = shelf
    put("empty", kind="variables")
    assert backend.read(Ref("variable", "empty")) is None


def test_names_that_match_no_pattern_are_not_asked_for():
    say = good(SecretString="x", VersionId="v" * 32, Name="a")
    with Endpoint(lambda *_: say) as server:
        backend = SecretsManager(
            "aws",
            options(server.access(), variables_lookup_pattern="^(prod|test)_", config_prefix=None),
            clock,
        )
        assert backend.read(Ref("variable", "dev_x")) is None
        assert backend.read(Ref("variable", "a_prod_x")) is None
        assert backend.read(Ref("config", "x")) is None
        assert backend.read(Ref("variable", "no:such name")) is None
        assert server.asked == []
        assert backend.read(Ref("variable", "PROD_x")) is not None
        assert backend.read(Ref("connection", "anything")) is not None
        with pytest.raises(InvalidInputError):
            backend.write(Draft(ref=Ref("variable", "dev_x"), secret=Secret("x"), author="me"))
        backend.close()


@pytest.mark.parametrize(
    ("sep", "head", "name"),
    [("/", "a/v/", "a/v/x"), ("-", "a-v-", "a-v-x"), ("/", "", "x"), ("--", "a", "a--x")],
)
def test_prefix_and_separator_are_joined_as_airflow_joins_them(sep, head, name):
    say = good(SecretString="x", VersionId="v" * 32, Name="a")
    with Endpoint(lambda *_: say) as server:
        made = SecretsManagerOptions(
            **server.access(), variables_prefix=head, connections_prefix=None, config_prefix=False, sep=sep
        )
        backend = SecretsManager("aws", made, clock)
        assert backend.read(Ref("variable", "x")) is not None
        asked = [json.loads(body) for _, body in server.asked]
        assert asked == [{"SecretId": name, "VersionStage": "AWSCURRENT"}]
        backend.close()


def test_a_team_has_names_of_its_own_where_there_are_teams():
    say = good(SecretString="x", VersionId="v" * 32, Name="a")
    with Endpoint(lambda *_: say) as server:
        with_teams = SecretsManager("aws", options(server.access(), "h", use_team_secrets_path=True), clock)
        without = SecretsManager("aws", options(server.access(), "h"), clock)
        assert with_teams.read(Ref("variable", "x", "data")) is not None
        assert with_teams.read(Ref("variable", "data--x")) is None
        assert without.read(Ref("variable", "x", "data")) is None
        assert without.read(Ref("variable", "data--x")) is not None
        asked = [json.loads(body)["SecretId"] for _, body in server.asked]
        assert asked == ["h/variables/data--x", "h/variables/data--x"]
        with_teams.close()
        without.close()


def test_another_stage_is_read_and_not_written(ministack):
    head = prefix()
    ministack.asked("secretsmanager", "CreateSecret", Name=f"{head}/variables/x", SecretString="now")
    ministack.asked(
        "secretsmanager",
        "PutSecretValue",
        SecretId=f"{head}/variables/x",
        SecretString="next",
        VersionStages=["AWSPENDING"],
    )
    made = options(ministack.access(), head, version_stage="AWSPENDING")
    backend = SecretsManager("aws", made, clock)
    ref = Ref("variable", "x")
    assert backend.read(ref).secret.reveal() == "next"
    assert [one.secret.reveal() for one in backend.read_many([ref, ref])] == ["next", "next"]
    for change in (
        lambda: backend.write(Draft(ref=ref, secret=Secret("x"), author="me")),
        lambda: backend.delete(ref, author="me"),
    ):
        with pytest.raises(ReadOnlyError, match="version_stage"):
            change()
    backend.close()


# --- many at once --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ministack", "moto"])
def test_many_are_read_by_twenties_each_with_its_own_answer(request, name):
    server, head = request.getfixturevalue(name), prefix()
    for number in range(0, 50, 2):
        server.asked(
            "secretsmanager", "CreateSecret", Name=f"{head}/variables/v{number}", SecretString=str(number)
        )
    server.asked("secretsmanager", "DeleteSecret", SecretId=f"{head}/variables/v48")
    with Proxy("127.0.0.1", server.port) as proxy:
        backend = SecretsManager("aws", options(server.access(endpoint_url=proxy.url()), head), clock)
        refs = [Ref("variable", f"v{number}") for number in range(50)]
        found = [None if one is None else one.secret.reveal() for one in backend.read_many(refs)]
        assert found == [None if number % 2 or number == 48 else str(number) for number in range(50)]
        assert proxy.requests == 3
        backend.close()


def test_after_the_current_version_was_moved_many_are_read_as_one_is(moto):
    head = prefix()
    backend = SecretsManager("aws", options(moto.access(), head), clock)
    refs = [Ref("variable", "moved"), Ref("variable", "other")]
    for ref in refs:
        first = backend.write(Draft(ref=ref, secret=Secret("one"), author="me"))
    backend.write(Draft(ref=refs[1], secret=Secret("two"), author="me", expected_version=first))
    assert backend.read(refs[1]).secret.reveal() == "two"
    assert [one.secret.reveal() for one in backend.read_many(refs)] == ["one", "two"]
    backend.close()


def test_where_a_batch_is_not_allowed_each_is_asked_for_and_the_batch_not_again():
    def say(operation, body):
        if operation == "BatchGetSecretValue":
            return refusal("AccessDeniedException", "no")
        name = json.loads(body)["SecretId"]
        if name.endswith("secret"):
            return refusal("AccessDeniedException", "no")
        return good(SecretString=name, VersionId="v" * 32, Name=name)

    with Endpoint(say) as server:
        backend = SecretsManager("aws", options(server.access(), "h"), clock)
        refs = [Ref("variable", name) for name in ("a", "secret", "b")]
        for _ in range(2):
            one, denied, other = backend.read_many(refs)
            assert (one.secret.reveal(), other.secret.reveal()) == ("h/variables/a", "h/variables/b")
            assert isinstance(denied, AccessDeniedError)
        assert [target for target, _ in server.asked].count("secretsmanager.BatchGetSecretValue") == 1
        backend.close()


def test_a_refusal_inside_a_batch_is_of_its_name_alone():
    errors = [
        {"SecretId": "h/variables/denied", "ErrorCode": "AccessDeniedException", "Message": "no"},
        {"SecretId": "h/variables/gone", "ErrorCode": "ResourceNotFoundException", "Message": "no"},
        {"SecretId": "h/variables/key", "ErrorCode": "DecryptionFailure", "Message": "no"},
        {"SecretId": "h/variables/busy", "ErrorCode": "InternalServiceError", "Message": "no"},
    ]
    value = {
        "Name": "h/variables/fine",
        "SecretString": "x",
        "VersionId": "v" * 32,
        "VersionStages": ["AWSCURRENT"],
    }

    def say(operation, body):
        # Two pages: the first has no values at all.
        more = json.loads(body).get("NextToken")
        return good(SecretValues=[value], Errors=[]) if more else good(Errors=errors, NextToken="n")

    with Endpoint(say) as server:
        backend = SecretsManager("aws", options(server.access(), "h"), clock)
        refs = [Ref("variable", name) for name in ("fine", "denied", "gone", "key", "busy")]
        fine, denied, gone, key, busy = backend.read_many(refs)
        assert fine.secret.reveal() == "x"
        assert isinstance(denied, AccessDeniedError)
        assert gone is None
        assert isinstance(key, AccessDeniedError)
        assert key.reason == "kms:Decrypt"
        assert isinstance(busy, BackendUnavailableError)
        backend.close()


def test_a_list_goes_on_where_its_page_ends_and_is_asked_for_once_for_all_pages():
    def say(operation, body):
        said = json.loads(body)
        assert said["Filters"] == [{"Key": "name", "Values": ["h/variables/"]}]
        page = int(said.get("NextToken", 0))
        rows = [
            {"Name": f"h/variables/v{number:03}", "LastChangedDate": 1.5}
            for number in range(299 - page * 100, 199 - page * 100, -1)
        ]
        rows.append({"Name": "h/variablesX", "LastChangedDate": 1.5})
        rows.append({"Name": "h/variables/gone", "LastChangedDate": 1.5, "DeletedDate": 1.5})
        return good(SecretList=rows, **({"NextToken": str(page + 1)} if page < 2 else {}))

    with Endpoint(say) as server:
        backend = SecretsManager("aws", options(server.access(), "h"), clock)
        found = []
        while page := backend.list("variable", after=found[-1].ref.name if found else "", limit=120):
            found += page
        assert [row.ref.name for row in found] == [f"v{number:03}" for number in range(300)]
        assert found[0].changed_at == datetime.fromtimestamp(1.5, timezone.utc)
        assert len(server.asked) == 3
        backend.close()


# --- another region ------------------------------------------------------------------------------------


def _two_regions(primary, replica, head, **more):
    return SecretsManager(
        "aws",
        options(
            primary.access(),
            head,
            replica_regions=("eu-central-1",),
            replica_endpoint_urls={"eu-central-1": replica.url()},
            **more,
        ),
        clock,
    )


def test_another_region_is_asked_only_where_the_first_gives_no_answer():
    first = {"say": good(SecretString="first", VersionId="v" * 32, Name="h/variables/x")}
    second = {"say": good(SecretString="second", VersionId="v" * 32, Name="h/variables/x")}
    ref = Ref("variable", "x")
    with Endpoint(lambda *_: first["say"]) as one, Endpoint(lambda *_: second["say"]) as two:
        backend = _two_regions(one, two, "h")
        assert backend.read(ref).secret.reveal() == "first"
        first["say"] = refusal("ResourceNotFoundException")
        assert backend.read(ref) is None
        first["say"] = refusal("AccessDeniedException")
        with pytest.raises(AccessDeniedError):
            backend.read(ref)
        first["say"] = refusal("ExpiredTokenException")
        with pytest.raises(NotAuthenticatedError):
            backend.read(ref)
        assert two.asked == []
        first["say"] = refusal("ThrottlingException")
        assert backend.read(ref).secret.reveal() == "second"
        first["say"] = refusal("InternalServiceError", status=500)
        assert backend.read(ref).secret.reveal() == "second"
        assert b"eu-central-1/secretsmanager" in two.seen[-1]
        # What the copy lacks, or may not give, says nothing of what the first one holds.
        for answer in ("ResourceNotFoundException", "AccessDeniedException"):
            second["say"] = refusal(answer)
            with pytest.raises(BackendUnavailableError):
                backend.read(ref)
        backend.close()


@pytest.mark.parametrize("is_batch", [True, False])
def test_what_a_copy_lacks_or_may_not_give_is_no_absence_of_many_either(is_batch):
    value = {
        "Name": "h/variables/copied",
        "SecretString": "second",
        "VersionId": "v" * 32,
        "VersionStages": ["AWSCURRENT"],
    }
    errors = [
        {"SecretId": f"h/variables/{name}", "ErrorCode": f"{code}Exception", "Message": "no"}
        for name, code in (("lacking", "ResourceNotFound"), ("denied", "AccessDenied"))
    ]

    def copy(operation, body):
        if operation == "BatchGetSecretValue":
            return good(SecretValues=[value], Errors=errors) if is_batch else refusal("AccessDeniedException")
        codes = {error["SecretId"]: error["ErrorCode"] for error in errors}
        name = json.loads(body)["SecretId"]
        return refusal(codes[name]) if name in codes else good(**value)

    refs = [Ref("variable", name) for name in ("copied", "lacking", "denied")]
    with Endpoint(lambda *_: refusal("ThrottlingException")) as one, Endpoint(copy) as two:
        backend = _two_regions(one, two, "h")
        copied, *others = backend.read_many(refs)
        assert copied.secret.reveal() == "second", (copied, two.asked)
        assert [type(other) for other in others] == [BackendUnavailableError] * 2
        backend.close()


def test_what_a_copy_gave_is_kept_no_longer_than_what_was_got_past_an_outage():
    found = {"SecretString": "x", "VersionId": "v" * 32, "Name": "h/variables/x"}
    batch = good(SecretValues=[{**found, "VersionStages": ["AWSCURRENT"]}], Errors=[])

    def copy(operation, _body):
        return batch if operation == "BatchGetSecretValue" else good(**found)

    refs = [Ref("variable", name) for name in ("x", "y")]
    with Endpoint(lambda *_: refusal("ThrottlingException")) as one, Endpoint(copy) as two:
        backend = _two_regions(one, two, "h")
        assert backend.read(refs[0]).lifetime == timedelta(seconds=10)
        assert backend.read_many(refs)[0].lifetime == timedelta(seconds=10)
        backend.close()


@pytest.mark.parametrize("operation", ["list", "history", "read_many"])
def test_pages_that_never_end_are_trouble(operation):
    def say(asked, _body):
        if asked == "DescribeSecret":
            return good(ARN="arn:aws:x", VersionIdsToStages={"v" * 32: ["AWSCURRENT"]})
        return good(SecretList=[], Versions=[], SecretValues=[], NextToken="again")

    with Endpoint(say) as server:
        backend = SecretsManager("aws", options(server.access(), "h"), clock)
        refs = [Ref("variable", name) for name in ("a", "b")]
        with within(5):
            if operation == "read_many":
                assert all(isinstance(one, BackendUnavailableError) for one in backend.read_many(refs))
            else:
                asked = {
                    "list": lambda: backend.list("variable"),
                    "history": lambda: backend.history(refs[0]),
                }
                with pytest.raises(BackendUnavailableError):
                    asked[operation]()
        assert len(server.asked) < 10
        backend.close()


# --- writing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ministack", "moto"])
def test_of_writers_that_expect_the_same_version_one_wins(request, name):
    server = request.getfixturevalue(name)
    backend = SecretsManager("aws", options(server.access(), tag_author=False), clock)
    ref = Ref("variable", "raced")
    first = backend.write(Draft(ref=ref, secret=Secret("0"), author="me"))

    def write(number):
        draft = Draft(ref=ref, secret=Secret(str(number)), author="me", expected_version=first)
        try:
            return backend.write(draft), str(number)
        except ConflictError:
            return None

    with ThreadPoolExecutor(6) as pool:
        won = [one for one in pool.map(write, range(1, 7)) if one is not None]
    assert len(won) == 1
    entry = backend.read(ref)
    assert (entry.version, entry.secret.reveal()) == won[0]
    stages = server.asked("secretsmanager", "DescribeSecret", SecretId=backend.naming.path(ref))[
        "VersionIdsToStages"
    ]
    assert not any(label.startswith("strongroom-") for labels in stages.values() for label in labels)
    backend.close()


def test_what_is_written_says_who_wrote_it_and_never_what(ministack):
    head = prefix()
    backend = SecretsManager("aws", options(ministack.access(), head), clock)
    ref = Ref("variable", "x")
    for author in ("local:me", "o'other"):
        backend.write(Draft(ref=ref, secret=Secret(CANARY), author=author))
        found = ministack.asked("secretsmanager", "DescribeSecret", SecretId=f"{head}/variables/x")
        assert found["Tags"] == [{"Key": "strongroom-author", "Value": author.replace("'", "_")}]
        assert CANARY not in repr(found)
    backend.close()


def test_a_value_that_was_written_without_its_tag_is_told_so():
    def say(operation, body):
        if operation == "TagResource":
            return refusal(
                "AccessDeniedException", "is not authorized to perform: secretsmanager:TagResource"
            )
        return good(VersionId="v" * 32, Name="x", ARN="a")

    with Endpoint(say) as server:
        backend = SecretsManager("aws", options(server.access()), clock)
        with pytest.raises(AccessDeniedError) as caught:
            backend.write(Draft(ref=Ref("variable", "x"), secret=Secret(CANARY), author="me"))
        backend.close()
    assert "was written and its tag was not" in str(caught.value)
    assert caught.value.reason == "secretsmanager:TagResource"


@pytest.mark.parametrize("answer", [[], refusal("InternalServiceError", status=500)], ids=["none", "500"])
def test_a_move_that_may_have_happened_is_told_as_unknown(answer):
    def say(operation, body):
        if operation == "UpdateSecretVersionStage":
            return answer
        return good(VersionId="v" * 32, Name="x", ARN="a")

    with Endpoint(say) as server:
        access = server.access(timeout=timedelta(seconds=0.3))
        backend = SecretsManager("aws", options(access), clock)
        draft = Draft(ref=Ref("variable", "x"), secret=Secret("x"), author="me", expected_version="v" * 32)
        with pytest.raises(BackendUnavailableError) as caught:
            backend.write(draft)
        backend.close()
    assert "not known" in caught.value.hint


def test_a_deleted_secret_is_written_anew_and_its_deletion_can_be_without_return(ministack):
    head = prefix()
    ref, name = Ref("variable", "x"), f"{head}/variables/x"
    kept = SecretsManager("aws", options(ministack.access(), head, recovery_window_days=7), clock)
    kept.write(Draft(ref=ref, secret=Secret("one"), author="me"))
    assert kept.delete(ref, author="me") is True
    assert [row.ref.name for row in kept.list_deleted("variable")] == ["x"]
    assert kept.list("variable") == []
    kept.write(Draft(ref=ref, secret=Secret("two"), author="me"))
    assert kept.read(ref).secret.reveal() == "two"
    assert kept.list_deleted("variable") == []
    for_good = SecretsManager("aws", options(ministack.access(), head, recovery_window_days=0), clock)
    with pytest.raises(ReadOnlyError, match="deletes for good"):
        for_good.delete(ref, expected_version=kept.read(ref).version, author="me")
    assert for_good.delete(ref, author="me") is True
    assert for_good.history(ref) == []
    with pytest.raises(Exception, match="ResourceNotFound"):
        ministack.asked("secretsmanager", "DescribeSecret", SecretId=name)
    kept.close()
    for_good.close()


def test_a_key_is_named_where_a_secret_is_made(ministack):
    key = ministack.asked("kms", "CreateKey")["KeyMetadata"]["Arn"]
    head = prefix()
    backend = SecretsManager("aws", options(ministack.access(), head, kms_key_id=key), clock)
    backend.write(Draft(ref=Ref("variable", "x"), secret=Secret("x"), author="me"))
    found = ministack.asked("secretsmanager", "DescribeSecret", SecretId=f"{head}/variables/x")
    assert found["KmsKeyId"] == key
    assert key in backend.least_policy(["read"])
    backend.close()


@pytest.mark.parametrize("name", ["ministack", "moto"])
def test_one_secret_can_hold_many_entries(request, name):
    server, head = request.getfixturevalue(name), prefix()
    made = SecretsManagerOptions(
        **server.access(),
        connections_prefix=f"{head}/all#",
        variables_prefix=f"{head}/variables",
        config_prefix=None,
    )
    backend = SecretsManager("aws", made, clock)
    one, two = Ref("connection", "one"), Ref("connection", "two:x")
    backend.write(Draft(ref=one, secret=Secret("http://a"), author="me"))
    version = backend.write(Draft(ref=two, secret=Secret("http://b"), author="me"))
    assert [entry.secret.reveal() for entry in backend.read_many([one, two])] == ["http://a", "http://b"]
    with pytest.raises(ConflictError):
        backend.write(Draft(ref=one, secret=Secret("http://c"), author="me", expected_version=MUST_BE_ABSENT))
    assert [row.ref.name for row in backend.list("connection")] == ["one", "two:x"]
    assert backend.read_version(two, version).secret.reveal() == "http://b"
    assert backend.delete(one, author="me") is True
    assert backend.read(one) is None
    assert json.loads(
        server.asked("secretsmanager", "GetSecretValue", SecretId=f"{head}/all", VersionStage="AWSCURRENT")[
            "SecretString"
        ]
    ) == {"two:x": "http://b"}
    backend.close()


# --- checking, and what it may -------------------------------------------------------------------------


VERBS = [("read",), ("list",), ("write",), ("read", "list", "write")]


@pytest.mark.parametrize("verbs", VERBS, ids="+".join)
def test_the_least_policy_allows_exactly_what_it_says(guarded, verbs):
    head = prefix()
    root = SecretsManager(
        "aws",
        options(guarded.access(aws_access_key_id="test", aws_secret_access_key=Secret("test")), head),
        clock,
    )
    ref = Ref("variable", "there")
    root.write(Draft(ref=ref, secret=Secret("x"), author="root"))
    key, secret = guarded.user(root.least_policy(verbs))
    access = guarded.access(aws_access_key_id=key, aws_secret_access_key=Secret(secret))
    mine = SecretsManager("aws", options(access, head), clock)
    health = mine.check()
    assert health.identity.startswith("arn:aws:iam::")
    assert health.may == {verb: "yes" if verb in verbs else "no" for verb in ("read", "list", "write")}
    assert health.status == ("ready" if "read" in verbs else "error")
    assert _allows(lambda: mine.read(ref)) is ("read" in verbs)
    assert _allows(lambda: mine.history(ref)) is ("read" in verbs)
    assert [isinstance(one, AccessDeniedError) for one in mine.read_many([ref, ref])] == [
        "read" not in verbs
    ] * 2
    assert _allows(lambda: mine.list("variable")) is ("list" in verbs)
    for name in ("there", "new"):
        draft = Draft(ref=Ref("variable", name), secret=Secret("x"), author="me")
        assert _allows(partial(mine.write, draft)) is ("write" in verbs)
    # A version that is compared needs no right to read.
    assert _allows(lambda: mine.delete(Ref("variable", "new"), author="me")) is (
        "write" in verbs or "read" in verbs
    )
    other = SecretsManager("aws", options(access, prefix()), clock)
    assert not _allows(lambda: other.read(ref))
    for backend in (root, mine, other):
        backend.close()


def test_check_changes_nothing_and_says_as_whom(ministack):
    head = prefix()
    with Proxy("127.0.0.1", ministack.port) as proxy:
        access = ministack.access(endpoint_url=proxy.url(), sts_endpoint_url=proxy.url())
        backend = SecretsManager("aws", options(access, head), clock)
        health = backend.check()
        assert (health.status, health.message) == ("ready", "")
        assert health.identity == "arn:aws:iam::000000000000:root"
        assert proxy.requests == 4
        proxy.become("refuse")
        down = backend.check()
        assert (down.status, down.identity) == ("error", "")
        backend.close()
    found = ministack.asked(
        "secretsmanager", "ListSecrets", Filters=[{"Key": "name", "Values": [head]}], MaxResults=1
    )
    assert found["SecretList"] == []


def test_check_tells_that_the_store_answers_where_sts_does_not(ministack):
    head = prefix()
    with Proxy("127.0.0.1", ministack.port) as sts:
        sts.become("refuse")
        access = ministack.access(sts_endpoint_url=sts.url())
        backend = SecretsManager("aws", options(access, head), clock)
        health = backend.check()
        backend.close()
    assert (health.status, health.is_reachable, health.identity) == ("ready", True, "")
    assert set(health.may) == {"read", "list", "write"}
    assert health.message.startswith("as whom is not known, because STS could not be asked")
    assert health.message.endswith("(check that it runs, and sts_endpoint_url)")


def test_check_says_once_that_the_store_does_not_answer_and_which_setting_says_where(ministack):
    with Proxy("127.0.0.1", ministack.port) as store:
        store.become("refuse")
        access = ministack.access(endpoint_url=store.url(), sts_endpoint_url=ministack.url)
        backend = SecretsManager("aws", options(access), clock)
        health = backend.check()
        backend.close()
    assert (health.status, health.is_reachable) == ("error", False)
    assert health.identity
    assert health.message.count("cannot be reached") == 1
    assert health.message.endswith("(check that it runs, and endpoint_url)")


def test_check_tells_of_a_key_that_is_not_known_what_to_change(guarded):
    access = guarded.access(aws_access_key_id="AKIANOBODY0000000000", aws_secret_access_key=Secret("x"))
    backend = SecretsManager("aws", options(access), clock)
    health = backend.check()
    backend.close()
    assert health.status == "error"
    assert "renew the key" in health.message


def test_the_least_policy_names_regions_account_and_one_secret_that_holds_many():
    made = SecretsManagerOptions(
        region_name="cn-north-1",
        role_arn="arn:aws-cn:iam::123456789012:role/reader",
        connections_prefix="all#",
        variables_prefix="v",
        config_prefix=None,
        replica_regions=("cn-northwest-1",),
        kms_key_id="alias/ours",
    )
    backend = SecretsManager("aws", made, clock)
    found = json.loads(backend.least_policy(["read"]))["Statement"]
    backend.close()
    assert found[0]["Resource"] == [
        "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:all-??????",
        "arn:aws-cn:secretsmanager:cn-northwest-1:123456789012:secret:all-??????",
        "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:v/*",
        "arn:aws-cn:secretsmanager:cn-northwest-1:123456789012:secret:v/*",
    ]
    assert found[-1]["Action"] == ["kms:Decrypt"]
    assert found[-1]["Condition"]["ForAnyValue:StringEquals"] == {"kms:ResourceAliases": "alias/ours"}


def test_nothing_is_asked_while_idle_and_a_read_is_one_request(ministack):
    with Proxy("127.0.0.1", ministack.port) as proxy:
        backend = SecretsManager("aws", options(ministack.access(endpoint_url=proxy.url())), clock)
        assert proxy.requests == 0
        for number in range(1, 4):
            backend.read(Ref("variable", "x"))
            assert proxy.requests == number
        backend.close()


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"connections_prefix": True}, "connections_prefix"),
        ({"variables_lookup_pattern": "("}, "variables_lookup_pattern"),
        ({"recovery_window_days": 3}, "recovery_window_days"),
        ({"are_secret_values_urlencoded": True}, "are_secret_values_urlencoded"),
        ({"replica_endpoint_urls": {"eu-west-1": "http://x"}}, "replica_endpoint_urls"),
        ({"variables_prefix": "airflow/connections"}, "prefix"),
    ],
    ids=repr,
)
def test_options_that_cannot_be_are_refused_by_name(more, key):
    with pytest.raises(BackendConfigError, match=key):
        SecretsManager("aws", SecretsManagerOptions(region_name=REGION, **more), clock)


@pytest.mark.parametrize("verb", ["read", "list", "write"])
def test_the_page_shows_the_least_policy_as_it_is_printed(verb):
    backend = SecretsManager("aws", SecretsManagerOptions(region_name="eu-west-1"), clock)
    page = Path(__file__).parents[2] / "docs" / "backends" / "aws_secrets_manager.md"
    assert f"```json\n{backend.least_policy([verb])}```\n" in page.read_text(encoding="utf-8")
    backend.close()


def _allows(work):
    try:
        work()
    except AccessDeniedError:
        return False
    return True


def _error(kind, work):
    with pytest.raises(kind) as caught:
        work()
    return caught.value
