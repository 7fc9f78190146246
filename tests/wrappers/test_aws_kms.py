"""Keys wrapped by AWS KMS, against two emulators of it."""

from __future__ import annotations

import json

import pytest

from parts.aws import REGION, Endpoint, good, guarded, hermetic, ministack, moto, refusal
from parts.outer_keys import CONTEXT, KEY, OuterKeyContract
from parts.proxy import Proxy
from strongroom.errors import BackendConfigError, SealedError, TamperedError
from strongroom.model.secret import Secret
from strongroom.vendors.sessions import Sessions
from strongroom.wrappers.aws_kms import AwsKmsOptions, AwsKmsWrapper

__all__ = ["guarded", "hermetic", "ministack", "moto"]

pytestmark = pytest.mark.usefixtures("hermetic")


def made(server, key, **more):
    return AwsKmsWrapper(AwsKmsOptions(key=key, **server.access(**more)), sessions=Sessions())


def outcome(act):
    """Give what *act* gives, or the error it raises."""
    try:
        return act()
    except (SealedError, TamperedError) as error:
        return error


class Emulated(OuterKeyContract):
    """The contract over an emulator, through a proxy that can be taken down."""

    def started(self, emulator):
        self.emulator = emulator
        self.id = self.asked("CreateKey")["KeyMetadata"]["KeyId"]
        self.proxy = Proxy("127.0.0.1", emulator.port)

    @pytest.fixture(autouse=True)
    def stopped(self, service):
        yield
        self.proxy.stop()

    def asked(self, operation, **arguments):
        return self.emulator.asked("kms", operation, **arguments)

    def make(self, key=None):
        access = self.emulator.access(endpoint_url=self.proxy.url())
        return AwsKmsWrapper(AwsKmsOptions(key=key or self.id, **access), sessions=Sessions())

    def another(self):
        return self.asked("CreateKey")["KeyMetadata"]["KeyId"]

    def nowhere(self):
        return "11111111-2222-3333-4444-555555555555"

    def disable(self):
        self.asked("DisableKey", KeyId=self.id)

    def enable(self):
        self.asked("EnableKey", KeyId=self.id)

    def destroy(self):
        self.asked("ScheduleKeyDeletion", KeyId=self.id, PendingWindowInDays=7)

    def deny(self):
        body = refusal(
            "AccessDeniedException", "User: u is not authorized to perform: kms:Decrypt on resource: k"
        )
        self.proxy.say(body)

    def rotate(self):
        self.asked("EnableKeyRotation", KeyId=self.id)

    def trouble(self, status):
        codes = {429: "ThrottlingException", 500: "KMSInternalException", 503: "DependencyTimeoutException"}
        self.proxy.say(refusal(codes[status], status=400 if status == 429 else status))

    def down(self):
        self.proxy.stop()

    def keys(self):
        return sorted(one["KeyId"] for one in self.asked("ListKeys")["Keys"])


class TestMoto(Emulated):
    """It decrypts with a key that is disabled or about to be deleted; what KMS says then stands below."""

    can_disable = False

    def destroy(self):
        self.proxy.say(refusal("KMSInvalidStateException"))

    @pytest.fixture(autouse=True)
    def service(self, moto):
        self.started(moto)


class TestMinistack(Emulated):
    """It authenticates nothing that it decrypts: what comes of it is refused by the canary of the key."""

    def test_a_changed_blob_never_gives_another_key(self):
        wrapper = self.make()
        blob = bytearray(wrapper.wrap(KEY, context=CONTEXT))
        blob[-1] ^= 1
        assert outcome(lambda: wrapper.unwrap(bytes(blob), context=CONTEXT)) != KEY

    def test_another_key_does_not_unwrap_it_and_is_named(self):
        blob = self.make().wrap(KEY, context=CONTEXT)
        other = self.make(self.another())
        assert outcome(lambda: other.unwrap(blob, context=CONTEXT)) != KEY

    @pytest.fixture(autouse=True)
    def service(self, ministack):
        self.started(ministack)


def test_the_key_that_wrapped_is_told_whatever_it_is_called(moto):
    arn = moto.asked("kms", "CreateKey")["KeyMetadata"]["Arn"]
    name = f"alias/{arn[-12:]}"
    moto.asked("kms", "CreateAlias", AliasName=name, TargetKeyId=arn)
    wrapper = made(moto, name)
    blob = wrapper.wrap(KEY, context=CONTEXT)
    assert wrapper.detail(blob) == arn
    assert made(moto, arn).unwrap(blob, context=CONTEXT) == KEY


def test_an_alias_that_comes_to_mean_another_key_does_not_open(moto):
    first, second = (moto.asked("kms", "CreateKey")["KeyMetadata"]["KeyId"] for _ in range(2))
    name = f"alias/{first[-12:]}"
    moto.asked("kms", "CreateAlias", AliasName=name, TargetKeyId=first)
    wrapper = made(moto, name)
    blob = wrapper.wrap(KEY, context=CONTEXT)
    moto.asked("kms", "UpdateAlias", AliasName=name, TargetKeyId=second)
    with pytest.raises(SealedError):
        wrapper.unwrap(blob, context=CONTEXT)


def test_rights_on_the_key_are_wanted_and_named(guarded):
    key = guarded.asked("kms", "CreateKey", key=("test", "test"))["KeyMetadata"]["Arn"]
    rights = {"Effect": "Allow", "Action": ["kms:Encrypt"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rights]})
    name, secret = guarded.user(policy)
    access = {"aws_access_key_id": name, "aws_secret_access_key": Secret(secret)}
    with pytest.raises(SealedError) as caught:
        made(guarded, key, **access).wrap(KEY, context=CONTEXT)
    assert "kms:Decrypt" in f"{caught.value} {caught.value.hint}"


WORDS = [
    ("IncorrectKeyException", "another key"),
    ("InvalidCiphertextException", "another key"),
    ("NotFoundException", "is nowhere"),
    ("DisabledException", "is disabled"),
    ("KMSInvalidStateException", "about to be deleted"),
    ("InvalidKeyUsageException", "no key to encrypt with"),
    ("AccessDeniedException", "may not"),
    ("ExpiredTokenException", "has expired"),
]


@pytest.mark.parametrize(("code", "words"), WORDS)
def test_what_kms_says_is_told_and_never_its_words(code, words):
    with Endpoint(lambda *_: refusal(code, "canary-of-theirs")) as endpoint:
        wrapper = made(endpoint, "alias/strongroom")
        with pytest.raises(SealedError, match=words) as caught:
            wrapper.unwrap(b"SRW\x01\x07aws_kms\x00blob", context=CONTEXT)
        wrapper.close()
    assert "canary" not in f"{caught.value} {caught.value.hint}"
    assert "alias/strongroom" in str(caught.value)
    assert caught.value.retry_after is None


@pytest.mark.parametrize("code", ["ThrottlingException", "KeyUnavailableException", "KMSInternalException"])
def test_what_kms_says_for_now_is_waited_for(code):
    with Endpoint(lambda *_: refusal(code, status=500)) as endpoint:
        wrapper = made(endpoint, "alias/strongroom")
        with pytest.raises(SealedError) as caught:
            wrapper.unwrap(b"SRW\x01\x07aws_kms\x00blob", context=CONTEXT)
        wrapper.close()
    assert caught.value.retry_after is not None


def test_the_key_and_the_context_are_said_each_time_and_the_context_is_a_digest():
    with Endpoint(lambda operation, _: good(CiphertextBlob="Yg==", Plaintext="a2V5")) as endpoint:
        wrapper = made(endpoint, "alias/strongroom")
        with pytest.raises(Exception, match="no key"):
            wrapper.wrap(KEY, context=CONTEXT)
        wrapper.close()
    said = [json.loads(body) for _, body in endpoint.asked]
    assert [target for target, _ in endpoint.asked] == ["TrentService.Encrypt", "TrentService.Decrypt"]
    assert {one["KeyId"] for one in said} == {"alias/strongroom"}
    assert {len(one["EncryptionContext"]["strongroom"]) for one in said} == {44}
    assert CONTEXT.decode() not in json.dumps(said)


@pytest.mark.parametrize(
    "key", ["", "strongroom", "alias/", "arn:aws:s3:::bucket", f"arn:aws:kms:{REGION}:1:key/x", "alias/a\n"]
)
def test_what_is_no_key_is_refused_by_the_setting(key):
    with pytest.raises(BackendConfigError, match=r"store\.wrappers\.key"):
        AwsKmsWrapper(AwsKmsOptions(key=key), sessions=Sessions())
