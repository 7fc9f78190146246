"""File systems of connections: buckets, web and SFTP servers, folders; rotation, refusals, what is told."""

from __future__ import annotations

import asyncio
import gc
import json
import pickle
import traceback

import pytest

from parts.aws import KEY, REGION, SECRET, Guarded, hermetic
from parts.aws_sts import ROLE, Sts, framed
from parts.held import kept
from parts.openbao import shared
from parts.openssh import PASSWORD, USER, ssh_server
from parts.web_files import Shelf
from parts.web_service import web_service
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError

pytest.importorskip("s3fs")
pytest.importorskip("httpx2")
pytest.importorskip("paramiko")

import fsspec

import strongroom
from strongroom.live import files

__all__ = ["hermetic"]

pytestmark = pytest.mark.usefixtures("hermetic")
CANARY = "c4nary-files"
ROOT = ("test", "test")
POLICY = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
)


class Buckets(Guarded):
    """An account with buckets, that looks at signatures."""

    def environ(self):
        return {**super().environ(), "SERVICES": "sts,iam,s3"}

    def end(self, key):
        for user in self.asked("iam", "ListUsers", key=ROOT)["Users"]:
            name = user["UserName"]
            for one in self.asked("iam", "ListAccessKeys", key=ROOT, UserName=name)["AccessKeyMetadata"]:
                if one["AccessKeyId"] == key[0]:
                    self.asked("iam", "DeleteAccessKey", key=ROOT, UserName=name, AccessKeyId=key[0])


@pytest.fixture(scope="module")
def buckets():
    with shared(Buckets) as server:
        place = {"LocationConstraint": REGION}
        server.asked("s3", "CreateBucket", key=ROOT, Bucket="files", CreateBucketConfiguration=place)
        server.asked("s3", "PutObject", key=ROOT, Bucket="files", Key="in/one", Body=b"1")
        yield server


@pytest.fixture(scope="module")
def running():
    with web_service(kind=Shelf) as shelf:
        yield shelf


@pytest.fixture
def shelf(running):
    running.forget()
    running.files = {"/data/a.csv": b"0123456789" * 3, "/data/in/b": b"b"}
    running.pages = {
        "/data/": '<a href="a.csv">a</a> <A HREF=\'in/\'>b</A> <a href="/other">c</a> <a href="http://x.example/d">d</a>'
    }
    running.has_ranges = True
    return running


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    with ssh_server(tmp_path_factory.mktemp("ssh")) as machine:
        yield machine


def s3(server, key, **extra):
    said = {"region_name": REGION, "endpoint_url": server.url, **extra}
    return {"conn_type": "aws", "login": key[0], "password": key[1], "extra": said}


def web(shelf, password=None, **more):
    login = {} if password is None else {"login": "app", "password": password}
    return {"conn_type": "http", "host": f"http://127.0.0.1:{shelf.port}/data", **login, **more}


def sftp(machine, password=PASSWORD):
    return {
        "conn_type": "sftp",
        "host": "127.0.0.1",
        "port": machine.port,
        "login": USER,
        "password": password,
        "extra": {"host_key": machine.host_keys["ed25519"]},
    }


def opened(stored, **options):
    return files.client(stored.held, stored.asked(driver="fsspec", **options))


def refused(work, kind=AccessDeniedError):
    with pytest.raises(kind) as caught:
        work()
    error = caught.value
    shown = "".join(traceback.format_exception(error)) + repr(vars(error))
    assert "127.0.0.1" not in shown
    for each in (CANARY, SECRET, KEY, PASSWORD):
        assert each not in shown + framed(error)
    return error


# --- buckets -------------------------------------------------------------------------------------------


def test_a_bucket_is_read_and_written_by_the_librarys_own_file_system(buckets):
    with kept(**s3(buckets, buckets.user(POLICY))) as stored:
        made = opened(stored)
        made.pipe("files/out/two", b"22")
        with made.open("files/out/two") as file:
            assert file.read() == b"22"
        assert made.ls("files/out") == ["files/out/two"]
        assert not made.exists("files/out/three")
        with pytest.raises(FileNotFoundError):
            made.cat("files/out/three")


def test_a_key_that_is_rotated_under_reads_loses_none(buckets):
    before, after = buckets.user(POLICY), buckets.user(POLICY)
    with kept(**s3(buckets, before)) as stored:
        made = opened(stored)
        for number in range(40):
            if number == 20:
                stored.write(**s3(buckets, after))
                buckets.end(before)
            made.invalidate_cache()
            assert made.cat("files/in/one") == b"1"
            assert made.info("files/in/one")["size"] == 1
        assert stored.questions == 1


def test_a_key_that_was_told_of_signs_the_next_request(buckets):
    before, after = buckets.user(POLICY), buckets.user(POLICY)
    with kept(**s3(buckets, before)) as stored:
        made = opened(stored)
        assert made.cat("files/in/one") == b"1"
        stored.write(**s3(buckets, after))
        stored.tell()
        buckets.end(before)
        assert made.cat("files/in/one") == b"1"
        assert stored.questions == 0


def test_a_refused_key_is_told_in_our_own_words(buckets):
    with kept(**s3(buckets, ("AKIANOBODYKNOWS00000", CANARY))) as stored:
        error = refused(lambda: opened(stored).ls("files/in"))
        assert (error.step, error.reason) == ("authentication", "credentials")


def test_a_bucket_that_nobody_serves_is_told_by_its_step():
    once = {"retries": {"total_max_attempts": 1}}
    gone = {"region_name": REGION, "endpoint_url": "http://127.0.0.1:1", "config_kwargs": once}
    with kept(conn_type="aws", login=KEY, password=SECRET, extra=gone) as stored:
        error = refused(lambda: opened(stored).cat("files/in/one"), BackendUnavailableError)
        assert (error.step, error.reason) == ("tcp", "refused")


def test_the_asynchronous_file_system_follows_too(buckets):
    before, after = buckets.user(POLICY), buckets.user(POLICY)

    async def work(stored):
        made = await files.aclient(stored.held, stored.asked(driver="fsspec"))
        try:
            assert await made._cat_file("files/in/one") == b"1"
            stored.write(**s3(buckets, after))
            buckets.end(before)
            assert await asyncio.gather(*[made._cat_file("files/in/one") for _ in range(5)]) == [b"1"] * 5
        finally:
            await made._s3.close()

    with kept(**s3(buckets, before)) as stored:
        asyncio.run(work(stored))
        assert stored.questions == 1


def test_a_role_signs_for_a_file_system_as_for_a_client():
    with Sts() as sts:
        extra = {"service_config": {"sts": {"endpoint_url": sts.url()}}, "role_arn": ROLE}
        with kept(**s3(_Nowhere(sts.url()), (KEY, SECRET), **extra)) as stored:
            sts.refusal = ("AccessDenied", 403)
            error = refused(lambda: opened(stored).ls("files"))
            assert (error.step, error.reason) == ("token", "credentials")
        assert len(sts.logins) == 1


class _Nowhere:
    def __init__(self, url):
        self.url = url


# --- web -----------------------------------------------------------------------------------------------


def test_files_of_a_web_server_are_read_below_the_address_of_the_connection(shelf):
    shelf.users["app"] = CANARY
    with kept(**web(shelf, CANARY)) as stored:
        made = opened(stored)
        assert made.cat("a.csv") == b"0123456789" * 3
        assert (made.info("a.csv")["size"], made.exists("a.csv"), made.exists("none")) == (30, True, False)
        assert made.cat_file("a.csv", 5, 12) == b"5678901"
        assert made.cat_file("a.csv", -2) == b"89"
        assert made.cat_file("a.csv", 3, 3) == b""
        assert made.cat_file("a.csv", 100) == b""
        with made.open("a.csv", block_size=7) as file:
            file.seek(8)
            assert file.read(4) == b"8901"
        with pytest.raises(FileNotFoundError):
            made.open("none")
        assert {asked.path for asked in shelf.asked} == {"/data/a.csv", "/data/none"}


def test_what_a_page_links_to_below_itself_is_what_is_there(shelf):
    with kept(**web(shelf)) as stored:
        made = opened(stored)
        assert made.ls("", detail=False) == ["a.csv", "in"]
        assert [one["type"] for one in made.ls("/")] == ["file", "directory"]


def test_a_path_leads_nowhere_else_whatever_it_looks_like(shelf):
    shelf.users["app"] = CANARY
    with kept(**web(shelf, CANARY)) as stored, web_service(kind=Shelf) as other:
        with pytest.raises(FileNotFoundError):
            opened(stored).cat(f"http://127.0.0.1:{other.port}/data/a.csv")
        assert other.asked == []


@pytest.mark.parametrize("path", ["../secret", "in/../../secret", "%2e%2e/secret", "in/%2E./../x?y"])
def test_a_path_leads_not_out_of_the_address_of_the_connection(shelf, path):
    with kept(**web(shelf)) as stored, pytest.raises(ValueError, match="leads out"):
        opened(stored).cat_file(path)
    assert shelf.asked == []


def test_a_server_without_ranges_gives_the_whole(shelf):
    shelf.has_ranges = False
    with kept(**web(shelf)) as stored:
        made = opened(stored)
        assert made.info("a.csv")["size"] is None
        with made.open("a.csv") as file:
            assert file.read() == b"0123456789" * 3
        assert made.cat_file("a.csv", 1, 3) == b"12"
        assert made.cat_file("a.csv", -3, -1) == b"78"


def test_a_password_that_is_rotated_counts_for_the_next_file(shelf):
    shelf.users["app"] = "first"
    with kept(**web(shelf, "first")) as stored:
        made = opened(stored)
        assert made.cat("in/b") == b"b"
        shelf.users["app"] = "second"
        stored.write(**web(shelf, "second"))
        assert made.cat("in/b") == b"b"
        shelf.users["app"] = CANARY
        error = refused(lambda: made.cat("in/b"))
        assert (error.step, error.reason) == ("authentication", "credentials")
        refused(lambda: made.exists("in/b"))


def test_files_of_a_web_server_are_not_written(shelf):
    with kept(**web(shelf)) as stored, pytest.raises(NotImplementedError):
        opened(stored).open("a.csv", "wb")


# --- SFTP ----------------------------------------------------------------------------------------------


def test_files_of_an_sftp_server_are_read_and_written_through_a_rotation(machine):
    machine.change_password(PASSWORD)
    with kept(**sftp(machine)) as stored:
        made = opened(stored)
        path = f"{machine.home}/one"
        made.pipe(path, b"1")
        assert (made.cat(path), made.exists(path), made.exists(f"{path}-not")) == (b"1", True, False)
        machine.change_password("an0ther")
        stored.write(**sftp(machine, "an0ther"))
        stored.tell()
        machine.end_lines()
        assert made.cat(path) == b"1"
        assert [
            one["name"] for one in made.ls(str(machine.home), detail=True) if one["name"].endswith("one")
        ] == [path]
        made.close()
        assert stored.held._clients == 0


def test_a_wrong_password_is_no_absence(machine):
    machine.change_password(PASSWORD)
    with kept(**sftp(machine, CANARY)) as stored:
        error = refused(lambda: opened(stored).exists("/tmp"))
        assert (error.step, error.reason) == ("authentication", "credentials")


def test_another_host_key_is_not_taken(machine):
    fields = sftp(machine)
    fields["extra"] = {"host_key": machine.host_keys["rsa"].replace("AAAAB3", "AAAAB4")}
    with kept(**fields) as stored:
        refused(lambda: opened(stored).ls("/"), BackendConfigError)


# --- folders -------------------------------------------------------------------------------------------


def test_a_folder_is_where_its_paths_begin(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("x")
    with kept(conn_type="fs", extra={"path": str(tmp_path)}) as stored:
        made = opened(stored)
        assert made.cat("in/a") == b"x"
        assert made.ls("in", detail=False) == ["in/a"]
        with pytest.raises(ValueError, match="escapes"):
            made.cat("../a")
    with kept(conn_type="fs") as stored:
        assert opened(stored).cat(str(tmp_path / "in" / "a")) == b"x"


# --- all of them ---------------------------------------------------------------------------------------


@pytest.fixture
def each(buckets, shelf, machine, tmp_path):
    key = ("AKIAANY", CANARY)
    return {
        "s3": s3(buckets, key),
        "web": web(shelf, CANARY),
        "sftp": sftp(machine, CANARY),
        "fs": {"conn_type": "fs", "extra": {"path": str(tmp_path)}},
    }


@pytest.mark.parametrize("kind", ["s3", "web", "sftp"])
def test_a_file_system_shows_no_secret_and_cannot_be_written_down(each, kind):
    with kept(**each[kind]) as stored:
        made = opened(stored)
        shown = f"{made!r}{made}{made.storage_options!r}{made.storage_args!r}{vars(made)!r}"
        assert CANARY not in shown
        for write in (pickle.dumps, lambda one: one.to_json(), lambda one: one.to_dict()):
            with pytest.raises(TypeError, match="live"):
                write(made)
        assert opened(stored) is not made


@pytest.mark.parametrize("kind", ["s3", "web", "sftp", "fs"])
def test_the_following_ends_with_the_file_system(each, kind):
    with kept(**each[kind]) as stored:
        made = opened(stored)
        assert stored.held._clients > 0
        del made
        gc.collect()
        assert stored.held._clients == 0


@pytest.mark.parametrize("kind", ["s3", "web", "sftp", "fs"])
def test_an_option_that_is_none_is_told(each, kind):
    with kept(**each[kind]) as stored:
        error = refused(lambda: opened(stored, **{"block_size": 7, "no such": 1}), BackendConfigError)
        assert (error.step, error.reason) == ("options", "unknown")


def test_a_service_that_is_none_of_files_is_told(each):
    with kept(**each["s3"]) as stored:
        asked = stored.asked("sqs", driver="fsspec")
        refused(lambda: files.client(stored.held, asked), BackendConfigError)
        refused(lambda: asyncio.run(files.aclient(stored.held, asked)), BackendConfigError)


def test_strongroom_client_gives_them(tmp_path):
    environ = {
        "HOME": str(tmp_path),
        "STRONGROOM__CHAIN": '["env"]',
        "AIRFLOW_CONN_HOME": json.dumps({"conn_type": "fs", "extra": json.dumps({"path": str(tmp_path)})}),
    }
    (tmp_path / "a").write_text("x")
    with strongroom.open_room(environ=environ) as room, strongroom.use_room(room):
        made = strongroom.client("home")
        assert isinstance(made, fsspec.AbstractFileSystem)
        assert made.cat("a") == b"x"

        async def work():
            return (await strongroom.aclient("home")).cat("a")

        assert asyncio.run(work()) == b"x"
