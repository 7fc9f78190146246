"""AWS Parameter Store: the contract against two emulators, batches, versions, labels, and AWS's own words."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import ClassVar

import pytest

from parts.aws import (
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
from strongroom.backends.aws_parameter_store import ParameterStore, ParameterStoreOptions
from strongroom.backends.aws_secrets_manager import SecretsManager, SecretsManagerOptions
from strongroom.bulkhead import within
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    ReadOnlyError,
)
from strongroom.model.entry import MUST_BE_ABSENT, Draft
from strongroom.model.ref import Ref
from strongroom.model.secret import Secret
from strongroom.testing.contract import CANARY, HARD_TEXTS, BackendContract
from strongroom.vendors.sessions import Sessions

__all__ = ["guarded", "hermetic", "ministack", "moto"]

pytestmark = pytest.mark.usefixtures("hermetic")


def clock():
    return datetime.now(timezone.utc)


def options(access, head=None, **more):
    head = head or prefix()
    heads = {f"{kind}_prefix": f"/{head}/{kind}" for kind in ("connections", "variables", "config")}
    return ParameterStoreOptions(**{**access, **heads, **more})


class Contract(BackendContract):
    """
    What AWS keeps is text of 1 to 8,192 bytes without {{…}} under names of its own grammar. It compares no
    versions, and forgets a deleted parameter with all of them.
    """

    has_compare_and_set = False
    max_text_bytes = 8192
    hard_texts: ClassVar = {
        label: text for label, text in HARD_TEXTS.items() if label not in ("empty", "template")
    }

    def make(self, tmp_path, **more):
        access = self.server.access(endpoint_url=self.proxy.url())
        made = {"use_team_secrets_path": True, **more}
        return ParameterStore("aws", options(access, **made, tier="Intelligent-Tiering"), clock)

    def make_holding(self, tmp_path):
        head = prefix()
        each = {f"{kind}_prefix": f"{head}/{kind}#" for kind in ("connections", "variables", "config")}
        return self.make(tmp_path, **each)

    def make_shaped(self, tmp_path, shape):
        if shape == "fields":
            pytest.skip("this backend keeps texts, not fields")
        return self.make(tmp_path, connection_shape=shape)

    def break_write(self, backend):
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
        assert [info.version for info in history] == versions[::-1] == ["3", "2", "1"]
        assert [info.is_current for info in history] == [True, False, False]

    def test_every_version_can_be_read(self, backend):
        ref = Ref("variable", "v")
        versions = {text: backend.write(self._draft("v", text)) for text in ("one", "two")}
        for text, version in versions.items():
            assert backend.read_version(ref, version).secret.reveal() == text

    def test_undelete_brings_the_last_text_back(self, backend):
        backend.write(self._draft("v", "one"))
        backend.delete(Ref("variable", "v"), author="contract")
        with pytest.raises(NotFoundError, match=r"nothing of .* is left"):
            backend.undelete(Ref("variable", "v"), author="contract")

    def test_deleted_name_written_again_continues_its_versions(self, backend):
        ref = Ref("variable", "v")
        backend.write(self._draft("v", "old"))
        backend.delete(ref, author="contract")
        assert backend.history(ref) == []
        backend.write(self._draft("v", "new", MUST_BE_ABSENT))
        assert [info.version for info in backend.history(ref)] == ["1"]

    def test_batch_with_one_conflict_writes_nothing(self, backend):
        backend.write(self._draft("there", "old"))
        with pytest.raises(ConflictError):
            backend.write_many([self._draft("fresh", "x"), self._draft("there", "new", MUST_BE_ABSENT)])
        assert backend.read(Ref("variable", "fresh")) is None
        assert self._text(backend, Ref("variable", "there")) == "old"


class TestMinistack(Contract):
    @pytest.fixture
    def server(self, ministack):
        return ministack


class TestMoto(Contract):
    @pytest.fixture
    def server(self, moto):
        return moto


class TestFaults(FaultContract):
    requests_for_twenty = 2

    @pytest.fixture(autouse=True)
    def server(self, ministack):
        self.head = prefix()
        ministack.asked(
            "ssm", "PutParameter", Name=f"/{self.head}/variables/held", Value=TEXT, Type="SecureString"
        )
        self.emulator = ministack

    def serve(self, request):
        return self.emulator.port

    def make(self, url, *, timeout, ca=None):
        access = self.emulator.access(endpoint_url=url, sts_endpoint_url=url, timeout=timeout, ca=ca)
        return ParameterStore("aws", options(access, self.head), clock)


# --- names ---------------------------------------------------------------------------------------------


def _answer(name="/x", value="x", version=1, **more):
    return {"Name": name, "Type": "SecureString", "Value": value, "Version": version, **more}


@pytest.mark.parametrize(
    ("head", "name"),
    [
        ("/airflow/variables", "/airflow/variables/x"),
        ("airflow/variables/", "/airflow/variables/x"),
        ("", "/x"),
        ("/", "/x"),
    ],
)
def test_a_prefix_has_its_slash_whether_it_was_written_or_not(head, name):
    with Endpoint(lambda *_: good(Parameter=_answer())) as server:
        made = ParameterStoreOptions(
            **server.access(), variables_prefix=head, connections_prefix=None, config_prefix=None
        )
        backend = ParameterStore("aws", made, clock)
        assert backend.read(Ref("variable", "x")).version == "1"
        assert json.loads(server.asked[0][1]) == {"Name": name, "WithDecryption": True}
        backend.close()


def test_names_that_aws_cannot_spell_are_not_asked_for():
    with Endpoint(lambda *_: good(Parameter=_answer())) as server:
        backend = ParameterStore("aws", options(server.access(), connections_lookup_pattern="^db_"), clock)
        bare = ParameterStore(
            "aws",
            ParameterStoreOptions(**server.access(), variables_prefix="", connections_prefix=None),
            clock,
        )
        names = ["x:1", "x:label", "a b", "ü", "/".join("abcdefghijklmnop"), "x" * 250 + "é"]
        for ref in (*(Ref("variable", name) for name in names[:5]), Ref("connection", "x")):
            assert backend.read(ref) is None
            with pytest.raises(InvalidInputError):
                backend.write(Draft(ref=ref, secret=Secret("x"), author="me"))
        for name in ("aws/x", "AwsOme", "ssm-x"):
            assert bare.read(Ref("variable", name)) is None
        assert server.asked == []
        backend.close()
        bare.close()


@pytest.mark.parametrize("head", ["/aws/airflow", "/a b", "/ssm"])
def test_a_prefix_that_no_parameter_can_have_is_refused(head):
    with pytest.raises(BackendConfigError, match="variables_prefix"):
        ParameterStore("aws", ParameterStoreOptions(variables_prefix=head), clock)


# --- many at once --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ministack", "moto"])
def test_many_are_read_by_tens_each_with_its_own_answer(request, name):
    server, head = request.getfixturevalue(name), prefix()
    for number in range(0, 25, 2):
        server.asked(
            "ssm",
            "PutParameter",
            Name=f"/{head}/variables/v{number}",
            Value=str(number),
            Type="SecureString" if number % 4 else "String",
        )
    with Proxy("127.0.0.1", server.port) as proxy:
        backend = ParameterStore("aws", options(server.access(endpoint_url=proxy.url()), head), clock)
        refs = [Ref("variable", f"v{number}") for number in range(25)]
        found = [None if one is None else one.secret.reveal() for one in backend.read_many(refs)]
        assert found == [None if number % 2 else str(number) for number in range(25)]
        assert proxy.requests == 3
        backend.close()


def test_one_denial_in_ten_is_told_of_its_name_alone():
    def say(operation, body):
        if operation == "GetParameters":
            return refusal("AccessDeniedException", "is not authorized to perform: ssm:GetParameters")
        name = json.loads(body)["Name"]
        if name.endswith("secret"):
            return refusal("AccessDeniedException", "is not authorized to perform: ssm:GetParameter")
        return good(Parameter=_answer(name, name))

    with Endpoint(say) as server:
        backend = ParameterStore("aws", options(server.access(), "h"), clock)
        one, denied, other = backend.read_many([Ref("variable", name) for name in ("a", "secret", "b")])
        assert (one.secret.reveal(), other.secret.reveal()) == ("/h/variables/a", "/h/variables/b")
        assert isinstance(denied, AccessDeniedError)
        assert denied.reason == "ssm:GetParameter"
        backend.close()


def test_an_answer_that_leaves_one_out_is_asked_for_it_alone():
    def say(operation, body):
        if operation == "GetParameters":
            return good(Parameters=[_answer("/h/variables/a", "1")], InvalidParameters=[])
        return good(Parameter=_answer("/h/variables/b", "2"))

    with Endpoint(say) as server:
        backend = ParameterStore("aws", options(server.access(), "h"), clock)
        found = backend.read_many([Ref("variable", "a"), Ref("variable", "b")])
        assert [one.secret.reveal() for one in found] == ["1", "2"]
        backend.close()


def test_a_list_goes_on_where_its_page_ends_and_has_no_values():
    def say(operation, body):
        said = json.loads(body)
        assert operation == "DescribeParameters"
        assert said["ParameterFilters"] == [
            {"Key": "Name", "Option": "BeginsWith", "Values": ["/h/variables/"]}
        ]
        page = int(said.get("NextToken", 0))
        rows = [
            {"Name": f"/h/variables/v{number:03}", "Version": number, "LastModifiedDate": 1.5}
            for number in range(99 - page * 50, 49 - page * 50, -1)
        ]
        return good(Parameters=rows, **({"NextToken": "1"} if not page else {}))

    with Endpoint(say) as server:
        backend = ParameterStore("aws", options(server.access(), "h"), clock)
        found = backend.list("variable")
        assert [row.ref.name for row in found] == [f"v{number:03}" for number in range(100)]
        assert found[7].version == "7"
        assert len(server.asked) == 2
        backend.close()


# --- versions and labels -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ministack", "moto"])
def test_a_label_says_which_version_is_read_and_what_is_written_gets_it(request, name):
    server, head = request.getfixturevalue(name), prefix()
    newest = ParameterStore("aws", options(server.access(), head), clock)
    labelled = ParameterStore("aws", options(server.access(), head, parameter_label="prod"), clock)
    ref, other = Ref("variable", "x"), Ref("variable", "y")
    assert newest.write(Draft(ref=ref, secret=Secret("one"), author="me")) == "1"
    assert labelled.read(ref) is None
    assert labelled.write(Draft(ref=ref, secret=Secret("two"), author="me")) == "2"
    assert newest.write(Draft(ref=ref, secret=Secret("three"), author="me")) == "3"
    assert (newest.read(ref).secret.reveal(), labelled.read(ref).secret.reveal()) == ("three", "two")
    assert labelled.read(ref).version == "2"
    labelled.write(Draft(ref=other, secret=Secret("y"), author="me"))
    assert [one.secret.reveal() for one in labelled.read_many([ref, other])] == ["two", "y"]
    assert [info.version for info in labelled.history(ref) if info.is_current] == ["2"]
    assert newest.read_version(ref, "1").secret.reveal() == "one"
    for version in ("9", "prod", "-1", "", "1:2"):
        with pytest.raises(NotFoundError):
            newest.read_version(ref, version)
    newest.close()
    labelled.close()


def test_a_label_that_is_none_is_refused():
    for label in ("1st", "aws-x", "a b"):
        with pytest.raises(BackendConfigError, match="parameter_label"):
            ParameterStore("aws", ParameterStoreOptions(parameter_label=label), clock)


# --- writing -------------------------------------------------------------------------------------------


def test_what_is_written_is_encrypted_in_its_tier_and_says_who_wrote_it(ministack):
    head = prefix()
    key = ministack.asked("kms", "CreateKey")["KeyMetadata"]["Arn"]
    made = options(ministack.access(), head, kms_key_id=key, tier="Advanced")
    backend = ParameterStore("aws", made, clock)
    backend.write(Draft(ref=Ref("variable", "x"), secret=Secret(CANARY), author="local:me"))
    name = f"/{head}/variables/x"
    (found,) = ministack.asked(
        "ssm", "DescribeParameters", ParameterFilters=[{"Key": "Name", "Values": [name]}]
    )["Parameters"]
    assert (found["Type"], found["KeyId"], found["Tier"]) == ("SecureString", key, "Advanced")
    tags = ministack.asked("ssm", "ListTagsForResource", ResourceType="Parameter", ResourceId=name)
    assert tags["TagList"] == [{"Key": "strongroom-author", "Value": "local:me"}]
    assert CANARY not in repr(found) + repr(tags)
    backend.close()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("{{ var.value.x }}", "reference"),
        ("a{{ssm:/x}}b", "reference"),
        ("x" * 4097, "4096 bytes"),
        ("é" * 2049, "4096 bytes"),
    ],
    ids=["empty", "template", "reference", "long", "long in bytes"],
)
def test_what_aws_cannot_keep_is_refused_before_it_is_asked(text, words):
    with Endpoint(lambda *_: good(Version=1)) as server:
        backend = ParameterStore("aws", options(server.access()), clock)
        with pytest.raises(InvalidInputError, match=words):
            backend.write(Draft(ref=Ref("variable", "x"), secret=Secret(text), author="me"))
        backend.write(Draft(ref=Ref("variable", "x"), secret=Secret('{"a": {"b": 1}}'), author="me"))
        assert len(server.asked) == 2
        backend.close()


def test_only_the_first_of_those_who_create_wins_and_other_versions_cannot_be_expected(ministack):
    backend = ParameterStore("aws", options(ministack.access()), clock)
    ref = Ref("variable", "x")
    backend.write(Draft(ref=ref, secret=Secret("1"), author="me", expected_version=MUST_BE_ABSENT))
    with pytest.raises(ConflictError) as caught:
        backend.write(Draft(ref=ref, secret=Secret("2"), author="me", expected_version=MUST_BE_ABSENT))
    assert caught.value.current_version == "1"
    for change in (
        lambda: backend.write(Draft(ref=ref, secret=Secret("2"), author="me", expected_version="1")),
        lambda: backend.delete(ref, expected_version="1", author="me"),
    ):
        with pytest.raises(ReadOnlyError):
            change()
    assert backend.read(ref).secret.reveal() == "1"
    backend.close()


@pytest.mark.parametrize(
    ("operation", "words"), [("AddTagsToResource", "its tag was not"), ("LabelParameterVersion", "its label")]
)
def test_a_write_that_fails_half_way_says_what_is_written(operation, words):
    def say(asked, body):
        return refusal("ThrottlingException") if asked == operation else good(Version=4)

    with Endpoint(say) as server:
        backend = ParameterStore("aws", options(server.access(), parameter_label="prod"), clock)
        with pytest.raises(BackendUnavailableError, match=f"the value was written and {words}"):
            backend.write(Draft(ref=Ref("variable", "x"), secret=Secret(CANARY), author="me"))
        backend.close()


def test_a_write_is_not_sent_twice():
    with Endpoint(lambda *_: []) as server:
        access = server.access(timeout=timedelta(seconds=0.3))
        backend = ParameterStore("aws", options(access), clock)
        with pytest.raises(BackendUnavailableError):
            backend.write(Draft(ref=Ref("variable", "x"), secret=Secret("x"), author="me"))
        assert len(server.asked) == 1
        backend.close()


@pytest.mark.parametrize("name", ["ministack", "moto"])
def test_one_parameter_can_hold_many_entries(request, name):
    server, head = request.getfixturevalue(name), prefix()
    made = ParameterStoreOptions(
        **server.access(), variables_prefix=f"/{head}/all#", connections_prefix=None, config_prefix=None
    )
    backend = ParameterStore("aws", made, clock)
    one, two = Ref("variable", "one"), Ref("variable", "two:x y")
    backend.write(Draft(ref=one, secret=Secret("1"), author="me"))
    version = backend.write(Draft(ref=two, secret=Secret("2"), author="me"))
    assert [entry.secret.reveal() for entry in backend.read_many([one, two])] == ["1", "2"]
    assert [row.ref.name for row in backend.list("variable")] == ["one", "two:x y"]
    assert backend.read_version(two, version).secret.reveal() == "2"
    assert backend.delete(one, author="me") is True
    assert (backend.read(one), backend.read(two).secret.reveal()) == (None, "2")
    backend.close()


# --- checking, and what it may -------------------------------------------------------------------------


@pytest.mark.parametrize("verbs", [("read",), ("list",), ("write",), ("read", "list", "write")], ids="+".join)
def test_the_least_policy_allows_exactly_what_it_says(guarded, verbs):
    head = prefix()
    root = ParameterStore(
        "aws",
        options(guarded.access(aws_access_key_id="test", aws_secret_access_key=Secret("test")), head),
        clock,
    )
    ref = Ref("variable", "there")
    root.write(Draft(ref=ref, secret=Secret("x"), author="root"))
    key, secret = guarded.user(root.least_policy(verbs))
    access = guarded.access(aws_access_key_id=key, aws_secret_access_key=Secret(secret))
    mine = ParameterStore("aws", options(access, head), clock)
    health = mine.check()
    assert health.identity.startswith("arn:aws:iam::")
    assert health.may == {
        "read": "yes" if "read" in verbs else "no",
        "list": "yes" if "list" in verbs else "no",
        "write": "unknown" if "write" in verbs else "no",
    }
    assert _allows(lambda: mine.read(ref)) is ("read" in verbs)
    assert _allows(lambda: mine.history(ref)) is ("read" in verbs)
    assert isinstance(mine.read_many([ref, Ref("variable", "y")])[0], AccessDeniedError) is (
        "read" not in verbs
    )
    assert _allows(lambda: mine.list("variable")) is ("list" in verbs)
    assert _allows(lambda: mine.write(Draft(ref=ref, secret=Secret("y"), author="me"))) is ("write" in verbs)
    assert _allows(lambda: mine.delete(ref, author="me")) is ("write" in verbs)
    other = ParameterStore("aws", options(access, prefix()), clock)
    assert not _allows(lambda: other.read(ref))
    for backend in (root, mine, other):
        backend.close()


def test_check_changes_nothing(ministack):
    head = prefix()
    backend = ParameterStore("aws", options(ministack.access(), head), clock)
    assert backend.check().status == "ready"
    assert backend.list("connection") == []
    backend.close()


def test_both_stores_of_one_access_share_a_session_until_the_last_is_closed(ministack):
    head, sessions = prefix(), Sessions()
    access = ministack.access(aws_secret_access_key=Secret("same"))
    parameters = ParameterStore("a", options(access, head), clock, sessions=sessions)
    secrets = SecretsManager(
        "b",
        SecretsManagerOptions(**access, variables_prefix=f"{head}/v"),
        clock,
        sessions=sessions,
    )
    assert parameters._session is secrets._session
    parameters.close()
    assert secrets.read(Ref("variable", "x")) is None
    secrets.close()
    with pytest.raises(BackendUnavailableError):
        secrets.read(Ref("variable", "x"))


@pytest.mark.parametrize(
    "answer",
    [{}, {"Parameter": {}}, {"Parameter": "x"}, {"Parameter": {"Value": 5, "Version": 1}}],
    ids=repr,
)
def test_an_answer_of_another_shape_is_unavailable_and_not_absent(answer):
    with Endpoint(lambda *_: good(**answer)) as server:
        backend = ParameterStore("aws", options(server.access()), clock)
        with pytest.raises(BackendUnavailableError):
            backend.read(Ref("variable", "x"))
        with pytest.raises(BackendUnavailableError):
            backend.list("variable")
        backend.close()


def test_a_label_that_the_answer_says_was_not_put_is_told_so():
    said = good(Version=3, InvalidLabels=["prod"], ParameterVersion=3)
    with Endpoint(lambda *_: said) as server:
        backend = ParameterStore("aws", options(server.access(), parameter_label="prod"), clock)
        with pytest.raises(BackendUnavailableError, match="the value was written and its label was not"):
            backend.write(Draft(ref=Ref("variable", "x"), secret=Secret("v"), author="a"))
        backend.close()


@pytest.mark.parametrize("operation", ["list", "history"])
def test_pages_that_never_end_are_trouble(operation):
    with Endpoint(lambda *_: good(Parameters=[], NextToken="again")) as server, within(5):
        backend = ParameterStore("aws", options(server.access()), clock)
        argument = "variable" if operation == "list" else Ref("variable", "x")
        with pytest.raises(BackendUnavailableError):
            getattr(backend, operation)(argument)
        assert len(server.asked) < 4
        backend.close()


@pytest.mark.parametrize("verb", ["read", "list", "write"])
def test_the_page_shows_the_least_policy_as_it_is_printed(verb):
    backend = ParameterStore("aws", ParameterStoreOptions(region_name="eu-west-1"), clock)
    page = Path(__file__).parents[2] / "docs" / "backends" / "aws_parameter_store.md"
    assert f"```json\n{backend.least_policy([verb])}```\n" in page.read_text(encoding="utf-8")
    backend.close()


def _allows(work):
    try:
        work()
    except AccessDeniedError:
        return False
    return True
