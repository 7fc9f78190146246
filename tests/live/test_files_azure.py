"""Containers of Azure as file systems of a connection: rotation, refusals, keyless, and what is told."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pickle
import sys
import threading
import traceback

import pytest

from parts.aws_sts import framed
from parts.azure import CLIENT, MACHINE, SECRET, TENANT, Azure
from parts.certificates import Authority
from parts.held import kept
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError

pytest.importorskip("adlfs")

from azure.core.exceptions import HttpResponseError
from fsspec.asyn import sync

from parts.azure_blobs import ACCOUNT, Blobs, key
from strongroom.live import files

CANARY = "c4nary-of-the-blobs"
SIGNED = "sv=2026-01-01&se=2030-01-01&sig=" + CANARY
AGAIN = "sv=2026-01-01&se=2031-01-01&sig=second" + CANARY


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with Azure(Authority(tmp_path_factory.mktemp("azure"))) as azure, Blobs(azure) as blobs:
        yield blobs


@pytest.fixture
def blobs(running):
    running.azure.clear()
    running.forget()
    running.containers["lake"] = {"in/one": b"1", "in/two": b"0123456789" * 3, "in/deep/three": b"3"}
    yield running
    assert running.wrong == []
    assert running.azure.wrong == []


def keyed(blobs, word="first", conn_type="wasb", **extra):
    return {
        "conn_type": conn_type,
        "host": blobs.url,
        "login": ACCOUNT,
        "password": key(word),
        "extra": extra,
    }


def principal(blobs, secret=SECRET):
    there = {"authority": blobs.azure.entra, "connection_verify": str(blobs.azure.ca)}
    extra = {"tenant_id": TENANT, "account_url": blobs.url, "client_secret_auth_config": there}
    return {"conn_type": "wasb", "login": CLIENT, "password": secret, "extra": extra}


def opened(stored, environ=None, **options):
    return files.client(stored.held, stored.asked(driver="fsspec", environ=environ, **options))


def refused(work, kind=AccessDeniedError):
    with pytest.raises(kind) as caught:
        work()
    error = caught.value
    shown = "".join(traceback.format_exception(error)) + repr(vars(error))
    assert "127.0.0.1" not in shown
    for each in (CANARY, SECRET, key("first"), key("second"), "Bearer ", "SharedKey lake"):
        assert each not in shown + framed(error)
    return error.step, error.reason


# --- what it does ----------------------------------------------------------------------------------------


def test_a_container_is_read_written_listed_and_emptied(blobs, tmp_path):
    with kept(**keyed(blobs)) as stored:
        made = opened(stored)
        assert made.ls("lake/in", detail=False) == ["lake/in/deep", "lake/in/one", "lake/in/two"]
        assert made.cat("abfs://lake/in/one") == b"1"
        assert made.cat_file("lake/in/two", 5, 12) == b"5678901"
        with made.open("lake/in/two", block_size=7) as file:
            file.seek(8)
            assert file.read(4) == b"8901"
        made.pipe("lake/out/a name+%2B", b"s")
        assert made.cat("lake/out/a name+%2B") == b"s"
        with made.open("lake/out/large", "wb", block_size=100_000) as file:
            file.write(b"x" * 250_000)
        assert blobs.containers["lake"]["out/large"] == b"x" * 250_000
        made.get_file("lake/out/large", str(tmp_path / "large"))
        assert (tmp_path / "large").read_bytes() == b"x" * 250_000
        assert (made.info("lake/in/two")["size"], made.exists("lake/none")) == (30, False)
        made.rm("lake/out", recursive=True)
        assert sorted(blobs.containers["lake"]) == ["in/deep/three", "in/one", "in/two"]
        made.mkdir("shore")
        assert made.ls("", detail=False) == ["lake", "shore"]
        assert {asked.how for asked in blobs.asked} == {"key"}


@pytest.mark.parametrize("conn_type", ["wasb", "adls"])
def test_a_connection_string_says_where_and_who(blobs, conn_type):
    kind = {"wasb": "Blob", "adls": "Dfs"}[conn_type]
    text = f"{kind}Endpoint={blobs.url};AccountName={ACCOUNT};AccountKey={key('first')}"
    with kept(conn_type=conn_type, extra={"connection_string": text}) as stored:
        assert opened(stored).cat("lake/in/one") == b"1"


@pytest.mark.parametrize("conn_type", ["wasb", "adls"])
def test_a_key_and_a_signature_may_stand_in_the_extra(blobs, conn_type):
    blobs.signatures = {SIGNED}
    for extra, how in (({"account_key": key("first")}, "key"), ({"sas_token": SIGNED}, "signature")):
        said = {"conn_type": conn_type, "host": blobs.url, "login": ACCOUNT, "extra": extra}
        with kept(**said) as stored:
            assert opened(stored).cat_file("lake/in/one") == b"1"
        assert blobs.asked[-1].how == how


def test_who_is_said_to_be_nobody_and_somebody_asks_as_somebody(blobs):
    said = principal(blobs)
    said["extra"]["anon"] = True
    with kept(**said) as stored:
        assert opened(stored).cat_file("lake/in/one") == b"1"
    assert blobs.asked[-1].how == CLIENT


def test_the_account_is_where_the_connection_says_it_or_the_caller():
    with kept(conn_type="azure") as stored:
        assert opened(stored, account_name="lake").account_url == "https://lake.blob.core.windows.net"
        assert refused(lambda: opened(stored), BackendConfigError) == ("options", "missing")
    for extra, url in (
        ({"account_name": "lake"}, "https://lake.blob.core.windows.net"),
        ({"account_host": "lake.blob.core.chinacloudapi.cn"}, "https://lake.blob.core.chinacloudapi.cn"),
    ):
        with kept(conn_type="azure", extra=extra) as stored:
            assert opened(stored).account_url == url
    with kept(conn_type="adls", host="lake", password=key("first")) as stored:
        assert opened(stored).account_url == "https://lake.blob.core.windows.net"


def test_an_address_is_signed_with_the_key_of_now(blobs):
    with kept(**keyed(blobs)) as stored:
        made = opened(stored)
        first = made.sign("lake/in/one", expiration=60)
        stored.write(**keyed(blobs, "second"))
        stored.tell()
        assert made.sign("lake/in/one", expiration=60).partition("sig=")[2] != first.partition("sig=")[2]
        assert first.startswith(f"{blobs.url}/lake/in/one?")


# --- following -------------------------------------------------------------------------------------------


def test_a_key_that_is_rotated_under_reads_loses_none(blobs):
    with kept(**keyed(blobs)) as stored:
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
        stored.write(**keyed(blobs, "second"))
        blobs.keys = {key("second")}
        for reader in readers:
            reader.join()
        assert failed == []
        assert stored.questions == 1


def test_a_key_that_was_told_of_signs_the_next_request(blobs):
    blobs.keys = {key("first"), key("second")}
    with kept(**keyed(blobs)) as stored:
        made = opened(stored)
        assert made.cat("lake/in/one") == b"1"
        stored.write(**keyed(blobs, "second"))
        stored.tell()
        blobs.keys = {key("second")}
        assert made.cat("lake/in/one") == b"1"
        assert stored.questions == 0


def test_what_was_being_written_is_whole_after_a_refusal(blobs):
    with kept(**keyed(blobs)) as stored:
        made = opened(stored)
        with made.open("lake/out/large", "wb", block_size=100_000) as file:
            file.write(b"x" * 150_000)
            stored.write(**keyed(blobs, "second"))
            blobs.keys = {key("second")}
            file.write(b"y" * 150_000)
        assert blobs.containers["lake"]["out/large"] == b"x" * 150_000 + b"y" * 150_000
        stored.write(**keyed(blobs))
        blobs.keys = {key("first")}
        made.pipe("lake/out/small", b"s" * 1000)
        assert blobs.containers["lake"]["out/small"] == b"s" * 1000


def test_a_refusal_is_tried_once_more_and_never_a_third_time(blobs):
    with kept(**keyed(blobs)) as stored:
        made = opened(stored)
        stored.write(**keyed(blobs, "second"))
        blobs.keys = set()
        assert refused(lambda: made.cat("lake/in/one")) == ("authentication", "credentials")
        assert len(blobs.asked) == 2
        blobs.asked.clear()
        assert refused(lambda: made.cat("lake/in/one")) == ("authentication", "credentials")
        assert len(blobs.asked) == 1


def test_a_refusal_is_no_absence_and_no_other_error(blobs, tmp_path):
    with kept(**keyed(blobs)) as stored:
        made, denied = opened(stored), ("authentication", "credentials")
        file = made.open("lake/out/large", "wb", block_size=100_000)
        blobs.keys = set()
        assert refused(lambda: made.exists("lake/in/one")) == denied
        assert refused(lambda: made.get_file("lake/in/one", str(tmp_path / "one"))) == denied
        assert refused(lambda: made.rm("lake/in/one")) == denied
        assert refused(lambda: made.ls("lake/in")) == denied
        assert refused(lambda: file.write(b"x" * 150_000)) == denied
        blobs.keys = {key("first")}
        file.close()


def test_a_signature_is_followed_and_stands_in_no_address_that_is_kept(blobs, caplog):
    caplog.set_level(logging.DEBUG)
    blobs.signatures = {SIGNED}
    fields = {"conn_type": "wasb", "host": blobs.url, "extra": {"sas_token": SIGNED}}
    with kept(**fields) as stored:
        made = opened(stored)
        assert made.cat("lake/in/one") == b"1"
        stored.write(**{**fields, "extra": {"sas_token": "?" + AGAIN}})
        blobs.signatures = {AGAIN}
        assert made.cat("lake/in/one") == b"1"
        assert made.ls("lake/in", detail=False) == ["lake/in/deep", "lake/in/one", "lake/in/two"]
        assert {asked.how for asked in blobs.asked} == {"signature", "refused"}
        blobs.signatures = set()
        assert refused(lambda: made.cat("lake/in/one")) == ("authentication", "credentials")
    assert CANARY not in caplog.text


def test_a_connection_may_turn_from_a_key_to_an_application_and_to_another_account(blobs):
    with kept(**keyed(blobs)) as stored, Blobs(blobs.azure) as other:
        made = opened(stored)
        assert made.cat("lake/in/one") == b"1"
        stored.write(**principal(blobs))
        stored.tell()
        assert made.cat("lake/in/one") == b"1"
        assert [asked.how for asked in blobs.asked] == ["key", "key", CLIENT, CLIENT]
        other.keys, other.containers["lake"]["in/one"] = {key("second")}, b"other"
        stored.write(**keyed(other, "second"))
        stored.tell()
        assert made.cat("lake/in/one") == b"other"
        assert len(blobs.asked) == 4


# --- without keys ----------------------------------------------------------------------------------------


def test_an_application_reads_with_a_token_and_one_is_kept(blobs):
    with kept(**principal(blobs)) as stored:
        made = opened(stored)
        assert made.cat("lake/in/one") == made.cat("lake/in/one") == b"1"
        assert {asked.how for asked in blobs.asked} == {CLIENT}
        assert blobs.azure.logins == 1


def test_a_secret_that_is_rotated_counts_for_the_next_request(blobs):
    with kept(**principal(blobs)) as stored:
        made = opened(stored)
        assert made.cat("lake/in/one") == b"1"
        blobs.azure.client_secret = "another-" + CANARY
        blobs.azure.revoke()
        stored.write(**principal(blobs, "another-" + CANARY))
        assert made.cat("lake/in/one") == b"1"
        assert stored.questions == 1
        blobs.azure.client_secret = "a-third"
        blobs.azure.revoke()
        assert refused(lambda: made.cat("lake/in/one")) == ("authentication", "credentials")


def test_a_secret_that_is_refused_is_told_in_our_own_words(blobs):
    with kept(**principal(blobs, CANARY)) as stored:
        made = opened(stored)
        assert refused(lambda: made.ls("lake")) == ("token", "credentials")
    assert blobs.asked == []


def test_a_workload_shows_the_token_of_its_pod(blobs, tmp_path):
    blobs.azure.assertion = "eyJ.pod"
    file = tmp_path / "token"
    file.write_text("eyJ.pod")
    pod = {"AZURE_FEDERATED_TOKEN_FILE": str(file), "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT}
    there = {"authority": blobs.azure.entra, "connection_verify": str(blobs.azure.ca)}
    with kept(conn_type="wasb", host=blobs.url) as stored:
        assert opened(stored, environ=pod, **there).cat("lake/in/one") == b"1"
        assert {asked.how for asked in blobs.asked} == {CLIENT}


@pytest.mark.parametrize("extra", [{}, {"managed_identity_client_id": MACHINE}])
def test_the_identity_of_the_machine_reads_where_nothing_is_said(blobs, monkeypatch, extra):
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", blobs.azure.machine)
    with kept(conn_type="wasb", host=blobs.url, extra=extra) as stored:
        assert opened(stored, environ=dict(os.environ)).cat("lake/in/one") == b"1"
        assert {asked.how for asked in blobs.asked} == {MACHINE}


def test_nobody_reads_what_is_public_and_shows_nothing(blobs):
    blobs.public.add("lake")
    with kept(conn_type="wasb", host=blobs.url, extra={"anon": True}) as stored:
        assert opened(stored).cat("lake/in/one") == b"1"
        assert {asked.how for asked in blobs.asked} == {None}


# --- asynchronous ----------------------------------------------------------------------------------------


def test_the_asynchronous_file_system_follows_too(blobs):
    async def work(stored):
        made = await files.aclient(stored.held, stored.asked(driver="fsspec"))
        assert await made._cat_file("lake/in/one") == b"1"
        stored.write(**keyed(blobs, "second"))
        blobs.keys = {key("second")}
        read = [made._cat_file("lake/in/one") for _ in range(5)]
        assert await asyncio.gather(*read) == [b"1"] * 5
        await made.service_client.close()

    with kept(**keyed(blobs)) as stored:
        asyncio.run(work(stored))
        assert stored.questions == 1


# --- what is not told ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["key", "signature", "token"])
def test_nothing_secret_goes_to_another_address_wherever_an_answer_leads(blobs, way):
    blobs.signatures = {SIGNED}
    signed = {"conn_type": "wasb", "host": blobs.url, "extra": {"sas_token": SIGNED}}
    said = {"key": keyed(blobs), "signature": signed, "token": principal(blobs)}[way]
    with kept(**said) as stored, Blobs(blobs.azure) as other:
        other.containers["lake"]["x"] = b"elsewhere"
        other.public.add("lake")
        blobs.leads = f"{other.url}/lake/x"
        assert opened(stored).cat_file("lake/in/one") == b"elsewhere"
        assert [asked.how for asked in other.asked] == [None]


def test_nothing_secret_goes_where_others_could_read_it(blobs):
    said = {**keyed(blobs), "host": "http://storage.example.com"}
    with kept(**said) as stored:
        made = opened(stored)
        assert refused(lambda: made.cat("lake/in/one"), BackendConfigError) == ("options", "malformed")


def test_what_the_environment_says_of_storage_is_left_out(blobs, monkeypatch):
    for name in ("ACCOUNT_KEY", "SAS_TOKEN", "CONNECTION_STRING", "CLIENT_SECRET", "CLIENT_ID", "TENANT_ID"):
        monkeypatch.setenv(f"AZURE_STORAGE_{name}", CANARY)
    with kept(**keyed(blobs)) as stored:
        made = opened(stored)
        assert made.cat("lake/in/one") == b"1"
        assert CANARY not in repr(vars(made))
        assert made.account_key == key("first")


@pytest.mark.parametrize("way", ["key", "signature", "token"])
def test_a_file_system_shows_no_secret_and_cannot_be_written_down(blobs, way):
    blobs.signatures = {SIGNED}
    signed = {"conn_type": "wasb", "host": blobs.url, "extra": {"sas_token": SIGNED}}
    with kept(**{"key": keyed(blobs), "signature": signed, "token": principal(blobs)}[way]) as stored:
        made = opened(stored)
        assert made.cat("lake/in/one") == b"1"
        shown = f"{made!r}{made}{made.storage_options!r}{made.storage_args!r}{vars(made)!r}"
        shown += f"{vars(made.service_client)!r}{vars(made.service_client._pipeline)!r}"
        for each in (CANARY, SECRET, key("first"), "eyJ"):
            assert each not in shown
        for write in (pickle.dumps, lambda one: one.to_json(), lambda one: one.to_dict()):
            with pytest.raises(TypeError, match="live"):
                write(made)
        assert opened(stored) is not made


def test_the_librarys_own_errors_hold_nothing_that_was_shown(blobs):
    blobs.signatures = {SIGNED}
    signed = {"conn_type": "wasb", "host": blobs.url, "extra": {"sas_token": SIGNED}}
    for said in (keyed(blobs), signed, principal(blobs)):
        with kept(**said) as stored:
            made = opened(stored)
            with pytest.raises(HttpResponseError) as caught:
                sync(made.loop, _read, made.service_client, "none")
            error = caught.value
            shown = "".join(traceback.format_exception(error)) + framed(error) + repr(error.response)
            shown += repr(error.response.request.headers) + error.response.request.url
            for each in (CANARY, SECRET, "Bearer ", "SharedKey "):
                assert each not in shown


async def _read(client, name):
    await client.get_blob_client("lake", name).download_blob()


def test_the_following_ends_with_the_file_system(blobs):
    with kept(**principal(blobs)) as stored:
        made = opened(stored)
        assert made.cat("lake/in/one") == b"1"
        session = made._transport.session
        assert stored.held._clients > 0
        del made
        gc.collect()
        assert stored.held._clients == 0
        assert session.closed


@pytest.mark.parametrize("option", ["account_key", "credential", "no such"])
def test_an_option_that_is_none_is_told(blobs, option):
    with kept(**keyed(blobs)) as stored:
        assert refused(lambda: opened(stored, **{option: "x"}), BackendConfigError) == (
            "options",
            "unknown",
        )


def test_storage_that_nobody_serves_is_told_by_its_step(blobs):
    with kept(**{**keyed(blobs), "host": "http://127.0.0.1:1/lake"}) as stored:
        made = opened(stored, retry_total=0)
        assert refused(lambda: made.cat("lake/in/one"), BackendUnavailableError) == ("tcp", "refused")


def test_storage_whose_certificate_nobody_vouches_for_is_told_at_once(blobs):
    with kept(**{**keyed(blobs), "host": f"{blobs.azure.vault_url}/lake"}) as stored:
        made = opened(stored)  # with the SDK's own retries, which would wait for a minute
        assert refused(lambda: made.cat("lake/in/one"), BackendConfigError) == ("tls", "untrusted")
        assert blobs.azure.requests == []
    with kept(**{**keyed(blobs), "host": f"{blobs.azure.vault_url}/lake"}) as stored:
        made = opened(stored, connection_verify=str(blobs.azure.ca))
        assert refused(lambda: made.cat_file("lake/in/one")) == ("authentication", "credentials")


def test_an_account_that_has_no_address_is_told_without_its_signature(blobs, caplog):
    caplog.set_level(logging.DEBUG)
    said = {"conn_type": "wasb", "host": "https://lake.invalid", "extra": {"sas_token": SIGNED}}
    with kept(**said) as stored, pytest.raises((BackendConfigError, BackendUnavailableError)) as caught:
        opened(stored, retry_total=0).cat("lake/in/one")
    assert caught.value.step == "name"
    assert CANARY not in caplog.text + "".join(traceback.format_exception(caught.value)) + framed(
        caught.value
    )


def test_a_key_that_is_none_is_told(blobs):
    with kept(**{**keyed(blobs), "password": CANARY}) as stored:
        made = opened(stored)
        assert refused(lambda: made.cat("lake/in/one"), BackendConfigError) == ("options", "malformed")


def test_half_an_application_is_told_before_anything_is_asked(blobs):
    said = {"conn_type": "wasb", "host": blobs.url, "login": CLIENT, "extra": {"tenant_id": TENANT}}
    with kept(**said) as stored:
        assert refused(lambda: opened(stored), BackendConfigError) == ("options", "missing")


@pytest.mark.parametrize("library", ["fsspec", "adlfs"])
def test_a_library_that_is_missing_is_told_with_what_to_install(blobs, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with kept(**keyed(blobs)) as stored:
        with pytest.raises(BackendConfigError) as caught:
            opened(stored)
        assert caught.value.hint == "pip install 'strongroom[adlfs]'"
        with pytest.raises(BackendConfigError):
            asyncio.run(files.aclient(stored.held, stored.asked(driver="fsspec")))
