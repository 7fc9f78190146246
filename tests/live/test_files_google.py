"""Buckets of Google as file systems of a connection: rotation, refusals, keyless, and what is told."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import pickle
import sys
import threading
import traceback

import pytest

from parts.aws_sts import framed
from parts.certificates import Authority, server_context
from parts.google import google, google_servers  # noqa: F401 -- fixtures
from parts.held import kept
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError

pytest.importorskip("gcsfs")

import gcsfs.retry
from fsspec.asyn import sync

from parts.google_storage import Storage
from strongroom.live import files

TYPE = "google_cloud_platform"
SECOND = "second@home.iam.gserviceaccount.com"
BOSS = "boss@other.iam.gserviceaccount.com"
CANARY = "c4nary-of-the-buckets"


@pytest.fixture(scope="module")
def running(google_servers):  # noqa: F811 -- the fixture
    with Storage(google_servers) as storage:
        yield storage


@pytest.fixture
def storage(running, google):  # noqa: F811 -- the fixture
    running.forget()
    running.buckets["lake"] = {"in/one": b"1", "in/two": b"0123456789" * 3, "in/deep/three": b"3"}
    yield running
    assert running.wrong == []


def fields(storage, account=None, **extra):
    key = storage.google.key(account)
    return {"conn_type": TYPE, "extra": {"keyfile_dict": key, "gcs.endpoint": storage.url, **extra}}


def opened(stored, environ=None, **options):
    return files.client(stored.held, stored.asked(driver="fsspec", environ=environ, **options))


def refused(work, kind=AccessDeniedError):
    with pytest.raises(kind) as caught:
        work()
    error = caught.value
    shown = "".join(traceback.format_exception(error)) + repr(vars(error))
    assert "127.0.0.1" not in shown
    for each in ("ya29.", "PRIVATE KEY", CANARY):
        assert each not in shown + framed(error)
    return error.step, error.reason


# --- what it does ----------------------------------------------------------------------------------------


def test_a_bucket_is_read_written_listed_and_emptied(storage, tmp_path):
    with kept(**fields(storage)) as stored:
        made = opened(stored)
        assert made.ls("lake/in", detail=False) == ["lake/in/deep", "lake/in/one", "lake/in/two"]
        assert made.cat("gs://lake/in/one") == b"1"
        assert made.cat_file("lake/in/two", 5, 12) == b"5678901"
        with made.open("lake/in/two", block_size=2**18) as file:
            file.seek(8)
            assert file.read(4) == b"8901"
        made.pipe("lake/out/small", b"s")
        with made.open("lake/out/large", "wb", block_size=2**18) as file:
            file.write(b"x" * 600_000)
        assert storage.buckets["lake"]["out/large"] == b"x" * 600_000
        made.get_file("lake/out/small", str(tmp_path / "small"))
        assert (tmp_path / "small").read_bytes() == b"s"
        assert (made.info("lake/in/two")["size"], made.exists("lake/none")) == (30, False)
        made.rm("lake/out", recursive=True)
        assert sorted(storage.buckets["lake"]) == ["in/deep/three", "in/one", "in/two"]
        assert {asked.who for asked in storage.asked} == {storage.google.account}
        assert storage.google.logins == [("/token", 200)]


def test_buckets_are_those_of_the_project_that_the_connection_says(storage):
    for said in ({"project": "orders"}, {"gcs.project-id": "orders"}, {}):
        with kept(**fields(storage, **said)) as stored:
            made = opened(stored)
            assert made.project == ("orders" if said else "home")
            assert made.buckets == ["lake/"]


# --- following -------------------------------------------------------------------------------------------


def test_a_key_that_is_rotated_under_reads_loses_none(storage):
    with kept(**fields(storage)) as stored:
        made, failed = opened(stored), []

        def read():
            for _ in range(25):
                try:
                    assert made.cat_file("lake/in/one") == b"1"
                except Exception as error:  # noqa: BLE001 -- told in the test
                    failed.append(error)

        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        stored.write(**fields(storage, SECOND))
        storage.google.revoked.add(storage.google.account)
        for reader in readers:
            reader.join()
        assert failed == []
        assert storage.asked[-1].who == SECOND
        assert stored.questions == 1


def test_a_key_that_was_told_of_signs_the_next_request(storage):
    with kept(**fields(storage)) as stored:
        made = opened(stored)
        assert made.cat("lake/in/one") == b"1"
        stored.write(**fields(storage, SECOND))
        stored.tell()
        assert made.cat("lake/in/one") == b"1"
        assert [asked.who for asked in storage.asked] == [storage.google.account, SECOND]
        assert stored.questions == 0


def test_a_token_that_is_refused_is_replaced_once_and_the_request_sent_once_more(storage):
    with kept(**fields(storage)) as stored:
        made = opened(stored)
        storage.refuse = 1
        assert made.cat("lake/in/one") == b"1"
        assert [path for path, _ in storage.google.logins] == ["/token", "/token"]
        storage.asked.clear()
        storage.refuse = 9
        assert refused(lambda: made.cat("lake/in/one")) == ("authentication", "credentials")
        assert len(storage.asked) == 2


def test_what_was_being_written_is_whole_after_a_refusal(storage):
    with kept(**fields(storage)) as stored:
        made = opened(stored)
        storage.refuse = 1
        made.pipe("lake/out/small", b"s" * 1000)
        assert storage.buckets["lake"]["out/small"] == b"s" * 1000
        with made.open("lake/out/large", "wb", block_size=2**18) as file:
            file.write(b"x" * 300_000)
            stored.write(**fields(storage, SECOND))
            storage.google.revoked.add(storage.google.account)
            file.write(b"y" * 300_000)
        assert storage.buckets["lake"]["out/large"] == b"x" * 300_000 + b"y" * 300_000


def test_a_key_that_google_refuses_is_told_in_our_own_words(storage):
    storage.google.revoked.add(storage.google.account)
    with kept(**fields(storage)) as stored:
        made = opened(stored)
        assert refused(lambda: made.ls("lake")) == ("token", "credentials")
        assert refused(lambda: made.exists("lake/in/one")) == ("token", "credentials")
    assert storage.asked == []


# --- without keys ----------------------------------------------------------------------------------------


def test_a_federated_workload_reads_as_the_last_account_of_its_chain(storage, tmp_path):
    google, file = storage.google, tmp_path / "token"  # noqa: F811 -- the same
    google.subjects["eyJ.workload"] = "principal://pool/subject/ci"
    google.may_act_as |= {("principal://pool/subject/ci", SECOND), (SECOND, BOSS)}
    file.write_text("eyJ.workload")
    config = google.federation(credential_source={"file": str(file)})
    extra = {
        "credential_config_file": config,
        "impersonation_chain": [SECOND, BOSS],
        "iam_endpoint": google.url,
        "gcs.endpoint": storage.url,
    }
    with kept(conn_type=TYPE, extra=extra) as stored:
        made = opened(stored)
        assert (made.cat("lake/in/one"), made.project) == (b"1", "other")
        assert [asked.who for asked in storage.asked] == [BOSS]


def test_the_account_of_the_machine_reads_where_nothing_is_said(storage):
    google = storage.google  # noqa: F811 -- the same
    google.machine = "vm@home.iam.gserviceaccount.com"
    machine = {"GCE_METADATA_HOST": f"127.0.0.1:{google.http_port}"}
    with kept(conn_type=TYPE, extra={"gcs.endpoint": storage.url}) as stored:
        made = opened(stored, environ=machine)
        assert (made.cat("lake/in/one"), made.project) == (b"1", "machine-home")
        assert [asked.who for asked in storage.asked] == [google.machine]


def test_nobody_reads_what_is_public_and_shows_nothing(storage):
    storage.public.add("lake")
    with kept(conn_type=TYPE, extra={"is_anonymous": True, "gcs.endpoint": storage.url}) as stored:
        made = opened(stored)
        assert made.cat("lake/in/one") == b"1"
        assert [asked.who for asked in storage.asked] == [None]


# --- asynchronous ----------------------------------------------------------------------------------------


def test_the_asynchronous_file_system_follows_too(storage):
    async def work(stored):
        made = await files.aclient(stored.held, stored.asked(driver="fsspec"))
        try:
            assert await made._cat_file("lake/in/one") == b"1"
            stored.write(**fields(storage, SECOND))
            storage.google.revoked.add(storage.google.account)
            read = [made._cat_file("lake/in/one") for _ in range(5)]
            assert await asyncio.gather(*read) == [b"1"] * 5
        finally:
            await made.session.close()

    with kept(**fields(storage)) as stored:
        asyncio.run(work(stored))
        assert stored.questions == 1


def test_a_login_that_waits_does_not_hold_the_loop(storage):
    google = storage.google  # noqa: F811 -- the same
    begun, go = threading.Event(), threading.Event()
    login = google._login

    def wait(*given):
        begun.set()
        assert go.wait(10)
        return login(*given)

    async def work(stored):
        made = await files.aclient(stored.held, stored.asked(driver="fsspec"))
        reading = asyncio.ensure_future(made._cat_file("lake/in/one"))
        assert await asyncio.to_thread(begun.wait, 10)
        go.set()  # said by the loop itself, which is free
        assert await reading == b"1"
        await made.session.close()

    google._login = wait
    try:
        with kept(**fields(storage)) as stored:
            asyncio.run(work(stored))
    finally:
        del google._login


# --- what is not told ------------------------------------------------------------------------------------


def test_no_token_goes_to_another_origin_wherever_an_answer_leads(storage, google_servers):  # noqa: F811
    with Storage(google_servers) as other, kept(**fields(storage)) as stored:
        other.buckets["lake"]["x"] = b"elsewhere"
        other.public.add("lake")
        storage.leads = f"{other.url}/storage/v1/b/lake/o/x?alt=media"
        assert opened(stored).cat("lake/in/one") == b"elsewhere"
        assert [asked.who for asked in other.asked] == [None]


def test_no_token_goes_where_others_could_read_it(storage):
    with kept(**fields(storage, **{"gcs.endpoint": "http://storage.example.com"})) as stored:
        made = opened(stored)
        assert refused(lambda: made.cat("lake/in/one"), BackendConfigError) == ("options", "malformed")


def test_nothing_of_the_library_holds_a_token_after_a_request(storage, caplog):
    caplog.set_level(logging.DEBUG)
    with kept(**fields(storage)) as stored:
        made = opened(stored)
        status, headers, info, _ = _asked(made, "GET", "b/lake/o/in%2Fone")
        assert status == 200
        assert "ya29." not in f"{headers}{info}{made.credentials.heads}{made.session.headers}"
        with pytest.raises(FileNotFoundError) as caught:
            made.cat("lake/none")
        assert "ya29." not in "".join(traceback.format_exception(caught.value)) + framed(caught.value)
    assert "ya29." not in caplog.text


def _asked(made, *given):
    return sync(made.loop, made._request, *given)


def test_a_file_system_shows_no_secret_and_cannot_be_written_down(storage):
    with kept(**fields(storage, idp_note=CANARY)) as stored:
        made = opened(stored)
        assert made.cat("lake/in/one") == b"1"
        shown = f"{made!r}{made}{made.storage_options!r}{made.storage_args!r}{vars(made)!r}"
        for each in (CANARY, "PRIVATE", "ya29."):
            assert each not in shown
        for write in (pickle.dumps, lambda one: one.to_json(), lambda one: one.to_dict()):
            with pytest.raises(TypeError, match="live"):
                write(made)
        assert opened(stored) is not made


def test_the_following_ends_with_the_file_system(storage):
    with kept(**fields(storage)) as stored:
        made = opened(stored)
        assert made.cat("lake/in/one") == b"1"
        connector = made.session.connector
        assert stored.held._clients > 0
        del made
        gc.collect()
        assert stored.held._clients == 0
        assert connector.closed


@pytest.mark.parametrize("option", ["token", "access", "no such"])
def test_an_option_that_is_none_is_told(storage, option):
    with kept(**fields(storage)) as stored:
        assert refused(lambda: opened(stored, **{option: "read_only"}), BackendConfigError) == (
            "options",
            "unknown",
        )


def test_storage_that_nobody_serves_is_told_by_its_step(storage, monkeypatch):
    monkeypatch.setattr(gcsfs.retry, "asyncio", _Hasty)
    with kept(**fields(storage, **{"gcs.endpoint": "http://127.0.0.1:1"})) as stored:
        made = opened(stored)
        assert refused(lambda: made.cat("lake/in/one"), BackendUnavailableError) == ("tcp", "refused")


def test_storage_whose_certificate_nobody_vouches_for_is_told_at_once(storage, tmp_path):
    pair = Authority(tmp_path).issue("storage", "127.0.0.1")
    with Storage(storage.google, server_context(*pair)) as secured, kept(**fields(secured)) as stored:
        made = opened(stored)  # with gcsfs's own retries, which would wait for half a minute
        assert refused(lambda: made.cat("lake/in/one"), BackendConfigError) == ("tls", "untrusted")
        assert secured.asked == []


class _Hasty:
    """gcsfs waits between its tries for half a minute."""

    @staticmethod
    async def sleep(_seconds):
        return


def test_a_key_that_is_none_is_told():
    with kept(conn_type=TYPE, extra={"keyfile_dict": json.dumps({"type": "service_account"})}) as stored:
        made = opened(stored, project="home")
        assert refused(lambda: made.cat("lake/in/one"), BackendConfigError)[0] == "options"


@pytest.mark.parametrize("library", ["fsspec", "gcsfs"])
def test_a_library_that_is_missing_is_told_with_what_to_install(storage, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with kept(**fields(storage)) as stored:
        with pytest.raises(BackendConfigError) as caught:
            opened(stored)
        assert caught.value.hint == "pip install 'strongroom[gcsfs]'"
        with pytest.raises(BackendConfigError):
            asyncio.run(files.aclient(stored.held, stored.asked(driver="fsspec")))
