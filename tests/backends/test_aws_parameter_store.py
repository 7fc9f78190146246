"""AWS Parameter Store: the contract against two emulators, batches, versions and labels, and what only AWS says."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from parts.aws import (
    Endpoint,
    good,
    guarded,
    hermetic,
    ministack,
    moto,
    prefix,
    refusal,
)
from parts.proxy import Proxy
from strongroom.backends.aws_parameter_store import ParameterStore, ParameterStoreOptions
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
    hard_texts = {label: text for label, text in HARD_TEXTS.items() if label not in ("empty", "template")}

    def make(self, tmp_path):
        self.proxy = Proxy("127.0.0.1", self.server.port)
        access = self.server.access(endpoint_url=self.proxy.url())
        return ParameterStore("aws", options(access, multi_team=True, tier="Intelligent-Tiering"), clock)

    @pytest.fixture
    def backend(self, tmp_path, server):
        self.server = server
        made = self.make(tmp_path)
        yield made
        made.close()
        made.close()
        self.proxy.stop()

    def down(self, backend):
        self.proxy.become("refuse")

    def deny(self, backend, ref):
        body = b'{"__type": "AccessDeniedException", "message": "no"}'
        self.proxy.answer(400, {"Content-Type": "application/x-amz-json-1.1"}, body)

    def test_text_of_one_mebibyte_is_held(self, backend):
        ref = Ref("variable", "big")
        text = "é" + "x" * (8192 - 2)
        self.put(backend, ref, text)
        assert self._text(backend, ref) == text

    def test_write_over_the_limit_is_refused_and_nothing_is_kept(self, backend):
        for text, limit in (("x" * 8193, 8192), (CANARY + "x" * 1_048_576, 1_048_576)):
            with pytest.raises(InvalidInputError) as caught:
                backend.write(self._draft("too_big", text))
            assert caught.value.limit == limit
        assert backend.read(Ref("variable", "too_big")) is None

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
        with pytest.raises(NotFoundError, match="nothing of .* is left"):
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
