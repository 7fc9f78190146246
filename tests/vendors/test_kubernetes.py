"""The way to an API server: who asks, where it is, what its refusals mean, what a watch tells."""

import base64
import json
import os
import stat
import threading
import time
import traceback
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from parts.kubernetes import NAMESPACE, cluster, cluster_server
from parts.openbao import until
from strongroom.errors import (
    AccessDeniedError,
    BackendConfigError,
    BackendUnavailableError,
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
    ReadOnlyError,
    StrongroomError,
)
from strongroom.model.secret import Secret
from strongroom.vendors.kubernetes import KubernetesSession
from strongroom.vendors.kubernetes_config import KubernetesAccess
from strongroom.vendors.kubernetes_objects import encoded
from strongroom.vendors.kubernetes_secrets import Secrets
from strongroom.vendors.kubernetes_watch import SecretWatch

__all__ = ["cluster", "cluster_server"]

CANARY = "cAnArY-of-kubernetes"


def clock():
    return datetime.now(timezone.utc)


@pytest.fixture
def opened(cluster):
    """Give the Secrets that a client with these options sees."""
    made = []

    def make(environ=None, clock=clock, **options):
        session = KubernetesSession("k8s", KubernetesAccess(**options), environ=environ or {}, clock=clock)
        made.append(session)
        return Secrets(session)

    yield make
    for session in made:
        session.close()


@pytest.fixture
def secrets(cluster, opened):
    """What the administrator sees."""
    return opened(url=cluster.url, ca=cluster.ca, token=Secret("root-token"), namespace=NAMESPACE)


# --- in a pod ------------------------------------------------------------------------------------------


def test_pod_asks_as_its_service_account_in_its_namespace(cluster, opened, tmp_path):
    token = cluster.account("pod")
    environ = cluster.pod(tmp_path / "account", token)
    assert opened(environ, service_account=tmp_path / "account").identity() == (
        "system:serviceaccount:airflow:pod"
    )
    assert cluster.asked[-1][0] == "POST"


def test_token_that_the_kubelet_replaced_is_read_again(cluster, opened, tmp_path):
    environ = cluster.pod(tmp_path / "account", cluster.account("pod", "first"))
    mine = opened(environ, service_account=tmp_path / "account")
    assert mine.identity()
    del cluster.tokens["first"]
    cluster.account("pod", "another")
    (tmp_path / "account" / "token").write_text("another")
    asked = len(cluster.asked)
    assert mine.identity()
    assert len(cluster.asked) == asked + 1


def test_token_that_is_refused_and_not_replaced_is_sent_once(cluster, opened, tmp_path):
    environ = cluster.pod(tmp_path / "account", CANARY)
    with pytest.raises(NotAuthenticatedError, match="does not know who asks") as caught:
        opened(environ, service_account=tmp_path / "account").get("x")
    assert len(cluster.asked) == 1
    assert CANARY not in repr(vars(caught.value)) + str(caught.value)


@pytest.mark.parametrize("missing", ["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"])
def test_process_outside_a_cluster_is_told_what_to_set(cluster, opened, tmp_path, missing):
    environ = cluster.pod(tmp_path / "account", "x")
    del environ[missing]
    with pytest.raises(BackendConfigError, match="does not run in a cluster") as caught:
        opened(environ, service_account=tmp_path / "account")
    assert "kubeconfig" in caught.value.hint


def test_kubeconfig_of_the_user_is_never_guessed(cluster, opened, tmp_path):
    config = cluster.kubeconfig(tmp_path / "config", {"token": "root-token"})
    with pytest.raises(BackendConfigError):
        opened({"KUBECONFIG": str(config), "HOME": str(tmp_path)})


@pytest.mark.parametrize("file", ["token", "ca.crt", "namespace"])
def test_pod_without_a_part_of_its_service_account_names_it(cluster, opened, tmp_path, file):
    environ = cluster.pod(tmp_path / "account", "x")
    (tmp_path / "account" / file).unlink()
    with pytest.raises((BackendConfigError, NotAuthenticatedError)) as caught:
        opened(environ, service_account=tmp_path / "account").get("x")
    assert file.partition(".")[0].replace("ca", "service account") in str(caught.value)


def test_token_file_that_is_a_pipe_is_no_token_and_nobody_waits(cluster, opened, tmp_path):
    os.mkfifo(tmp_path / "token")
    mine = opened(url=cluster.url, ca=cluster.ca, token_path=tmp_path / "token", namespace=NAMESPACE)
    with pytest.raises(NotAuthenticatedError):
        mine.get("x")


# --- a kubeconfig --------------------------------------------------------------------------------------


def test_kubeconfig_gives_server_authority_token_and_namespace(cluster, opened, tmp_path):
    config = cluster.kubeconfig(tmp_path / "config", {"token": "root-token"}, namespace="other")
    mine = opened(kubeconfig=config)
    assert (mine.namespace, mine.identity()) == ("other", "root")
    assert opened(kubeconfig=config, namespace="airflow", context="test").namespace == "airflow"


def test_kubeconfig_as_kubectl_writes_it_is_read(cluster, opened, tmp_path):
    config = cluster.kubeconfig(tmp_path / "config", {"token": "root-token"})
    (tmp_path / "config").write_text(cluster.kubectl(f"--kubeconfig={config}", "config", "view", "--raw"))
    assert not config.read_text().startswith("{")
    assert opened(kubeconfig=config).identity() == "root"


def test_client_certificate_inside_a_kubeconfig_is_shown_and_touches_no_disk(cluster, opened, tmp_path):
    certificate, key = cluster.authority.issue("root", "127.0.0.1")
    data = {
        "client-certificate-data": base64.b64encode(certificate.read_bytes()).decode(),
        "client-key-data": base64.b64encode(key.read_bytes()).decode(),
    }
    config = cluster.kubeconfig(tmp_path / "config", data)
    assert opened(kubeconfig=config).identity() == "root"
    assert [path.name for path in tmp_path.iterdir()] == ["config"]


def test_kubeconfig_whose_server_cannot_be_spoken_to_leaves_no_file_open(cluster, opened, tmp_path):
    where = {"server": "unix:///run/x", "certificate-authority-data": "eA=="}
    config = cluster.kubeconfig(tmp_path / "config", {"token": CANARY}, cluster=where)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(BackendConfigError):
        opened(kubeconfig=config)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_files_that_a_kubeconfig_names_are_beside_it(cluster, opened, tmp_path):
    (tmp_path / "ca.pem").write_bytes(cluster.ca.read_bytes())
    (tmp_path / "token").write_text("root-token\n")
    place = {"server": cluster.url, "certificate-authority": "ca.pem"}
    config = cluster.kubeconfig(tmp_path / "config", {"tokenFile": "token"}, cluster=place)
    assert opened(kubeconfig=config).identity() == "root"


@pytest.mark.parametrize(
    ("user", "place", "named"),
    [
        ({"username": CANARY, "password": CANARY}, {}, "username"),
        ({"auth-provider": {"name": "gcp"}}, {}, "auth-provider"),
        ({"token": "x", "as": CANARY}, {}, "as"),
        ({"token": "x"}, {"proxy-url": f"http://{CANARY}"}, "proxy-url"),
        ({"token": "x"}, {"tls-server-name": CANARY}, "tls-server-name"),
        ({"exec": {"apiVersion": "v9", "command": "x"}}, {}, "version"),
        (
            {
                "exec": {
                    "apiVersion": "client.authentication.k8s.io/v1",
                    "command": "x",
                    "interactiveMode": "Always",
                }
            },
            {},
            "terminal",
        ),
        ({"exec": {"apiVersion": "client.authentication.k8s.io/v1", "args": ["x"]}}, {}, "program"),
        ({"client-certificate-data": "%%"}, {}, "client-certificate"),
    ],
)
def test_what_is_not_done_here_is_refused_by_its_name(cluster, opened, tmp_path, user, place, named):
    config = cluster.kubeconfig(tmp_path / "config", user, cluster={"server": cluster.url, **place})
    with pytest.raises(BackendConfigError, match=named) as caught:
        opened(kubeconfig=config)
    assert CANARY not in str(caught.value) + str(caught.value.hint)
    frames = [
        frame for frame, _ in traceback.walk_tb(caught.tb) if "vendors/kubernetes" in frame.f_code.co_filename
    ]
    assert frames
    assert CANARY not in "".join(
        repr(frame.f_locals) for frame in frames if "/src/" in frame.f_code.co_filename
    )


@pytest.mark.parametrize(
    "text", ["", "[]", "a: [", "\x00", "clusters: 5", "&a [*a]", "x" * 70_000, "é" * 600_000]
)
def test_file_that_is_no_kubeconfig_is_refused(opened, tmp_path, text):
    (tmp_path / "config").write_text(text)
    with pytest.raises(BackendConfigError, match="kubeconfig"):
        opened(kubeconfig=tmp_path / "config")


def test_context_that_is_not_there_is_told_by_no_more_than_its_kind(cluster, opened, tmp_path):
    config = cluster.kubeconfig(tmp_path / "config", {"token": "x"})
    with pytest.raises(BackendConfigError, match="no context of the name"):
        opened(kubeconfig=config, context="production")


@pytest.mark.parametrize(
    "options",
    [
        {"context": "x"},
        {"url": "https://h", "kubeconfig": "x"},
        {"url": "https://h"},
        {"token": Secret("x")},
        {"url": "https://h", "token": Secret("x"), "token_path": "y"},
        {"url": "https://h", "token": Secret("x"), "namespace": "A b"},
        {"url": "https://h/#x", "token": Secret("x")},
    ],
)
def test_options_that_contradict_one_another_are_refused(opened, options):
    with pytest.raises(BackendConfigError):
        opened(**options)


# --- a program that signs in ---------------------------------------------------------------------------


@pytest.fixture
def program(cluster, tmp_path):
    """Make a kubeconfig that signs in by a program, which writes what the function is given."""

    def make(written, *, status=0, **more):
        script = tmp_path / "plugin"
        (tmp_path / "answer").write_text(written if isinstance(written, str) else json.dumps(written))
        script.write_text(
            '#!/bin/sh\necho "$0 $@ $PLUGIN_SAID" >> "$0.log"\n'
            'printf %s "$KUBERNETES_EXEC_INFO" > "$0.info"\n'
            f'cat "{tmp_path}/answer"\nexit {status}\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        said = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "./plugin",
            "args": ["get-token"],
            "env": [{"name": "PLUGIN_SAID", "value": "yes"}],
            **more,
        }
        return cluster.kubeconfig(tmp_path / "config", {"exec": said})

    return make


def credential(token, ends=None):
    return {"kind": "ExecCredential", "status": {"token": token, "expirationTimestamp": ends}}


def runs(tmp_path):
    return (tmp_path / "plugin.log").read_text().splitlines()


def test_program_gives_a_token_once_however_many_ask(cluster, opened, program, tmp_path):
    mine = opened(dict(os.environ), kubeconfig=program(credential("root-token")))
    threads = [threading.Thread(target=mine.identity) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mine.identity() == "root"
    assert len(runs(tmp_path)) == 1
    assert runs(tmp_path)[0].endswith("get-token yes")
    told = json.loads((tmp_path / "plugin.info").read_text())
    assert told == {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "spec": {"interactive": False},
    }


def test_program_is_told_of_the_cluster_where_it_asks_for_that(cluster, opened, program, tmp_path):
    opened(dict(os.environ), kubeconfig=program(credential("root-token"), provideClusterInfo=True)).identity()
    assert json.loads((tmp_path / "plugin.info").read_text())["spec"]["cluster"]["server"] == cluster.url


def test_program_runs_again_before_its_token_ends(cluster, opened, program, tmp_path):
    now = datetime(2026, 1, 1, tzinfo=timezone.utc)
    config = program(credential("root-token", "2026-01-01T00:10:00Z"))
    mine = opened(dict(os.environ), clock=lambda: now, kubeconfig=config)
    mine.identity()
    now += timedelta(minutes=9)
    mine.identity()
    assert len(runs(tmp_path)) == 1
    now += timedelta(seconds=40)
    mine.identity()
    assert len(runs(tmp_path)) == 2


def test_program_runs_again_where_its_token_is_refused(cluster, opened, program, tmp_path):
    mine = opened(dict(os.environ), kubeconfig=program(credential("root-token")))
    mine.identity()
    cluster.tokens = {"newer": "root"}
    (tmp_path / "answer").write_text(json.dumps(credential("newer")))
    assert mine.identity() == "root"
    assert len(runs(tmp_path)) == 2


@pytest.mark.parametrize(
    ("written", "why"),
    [
        (CANARY, "no JSON"),
        ({}, "no token"),
        (credential(""), "no token"),
        (credential(f"{CANARY}\nX: y"), "no token"),
        ({"status": {"clientCertificateData": CANARY, "token": "x"}}, "certificate"),
        ("[" * 100_000, "no JSON|failed"),
    ],
)
def test_program_that_gives_no_token_is_no_login_and_nothing_of_it_shows(opened, program, written, why):
    mine = opened(dict(os.environ), kubeconfig=program(written))
    with pytest.raises(NotAuthenticatedError, match=why) as caught:
        mine.identity()
    assert CANARY not in repr(vars(caught.value)) + str(caught.value)


@pytest.mark.parametrize(("written", "status", "times"), [(credential("refused"), 0, 2), (CANARY, 3, 1)])
def test_program_without_another_token_is_not_run_by_everybody_who_asks(  # noqa: PLR0917 -- a row and fixtures
    cluster, opened, program, tmp_path, written, status, times
):
    mine = opened(dict(os.environ), kubeconfig=program(written, status=status))
    refused = []

    def ask():
        with pytest.raises(NotAuthenticatedError) as caught:
            mine.get("x")
        refused.append(caught.value)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, refused))) == 8
    assert len(runs(tmp_path)) == times


def test_token_of_the_settings_is_not_fetched_anew_by_every_refusal(cluster, opened):
    fetched = []

    def fetch():
        fetched.append(1)
        return Secret("refused")

    mine = opened(url=cluster.url, ca=cluster.ca, token=fetch, namespace=NAMESPACE)
    for _ in range(3):
        with pytest.raises(NotAuthenticatedError):
            mine.get("x")
    assert len(fetched) == 2
    assert len(cluster.asked) == 3


def test_program_that_fails_is_no_login(opened, program):
    with pytest.raises(NotAuthenticatedError, match="failed"):
        opened(dict(os.environ), kubeconfig=program(CANARY, status=3)).identity()


# --- what refusals mean --------------------------------------------------------------------------------


def test_denial_names_verb_resource_and_the_rule_that_would_allow_it(cluster, opened):
    token = cluster.account("nobody")
    mine = opened(url=cluster.url, ca=cluster.ca, token=Secret(token), namespace=NAMESPACE)
    for verb, ask in {
        "get": lambda: mine.get("x"),
        "list": lambda: mine.chosen(""),
        "create": lambda: mine.create("x", {}, labels={}, notes={}),
        "patch": lambda: mine.patch("x", {}),
        "delete": lambda: mine.delete("x"),
    }.items():
        with pytest.raises(
            AccessDeniedError, match=f"may not {verb} secrets in the namespace airflow"
        ) as caught:
            ask()
        assert f'verbs: ["{verb}"]' in caught.value.hint
        assert caught.value.reason == f"{verb} secrets in the namespace airflow"


def test_absent_secret_is_absent_and_an_absent_namespace_is_named(cluster, opened, secrets):
    assert secrets.get("nothing") is None
    assert secrets.patch("nothing", {}) is None
    assert secrets.delete("nothing") is False
    mine = opened(url=cluster.url, ca=cluster.ca, token=Secret("root-token"), namespace="nowhere")
    with pytest.raises(BackendConfigError, match="namespace nowhere, which does not exist"):
        mine.create("x", {}, labels={}, notes={})
    assert (mine.has_namespace(), secrets.has_namespace()) == (False, True)


def test_server_that_is_no_api_server_is_no_absence(cluster, opened):
    mine = opened(url=f"{cluster.url}/behind", ca=cluster.ca, token=Secret("root-token"), namespace="airflow")
    with pytest.raises(BackendConfigError, match="knows no secrets"):
        mine.get("x")


@pytest.mark.parametrize(
    ("status", "headers", "body", "error", "match"),
    [
        (429, {"Retry-After": "3"}, b"", BackendUnavailableError, "asked too much"),
        (503, {}, b'{"kind":"Status","details":{"retryAfterSeconds":3}}', BackendUnavailableError, "503"),
        (500, {"Retry-After": "3"}, b"{}", BackendUnavailableError, "500"),
        (400, {}, b"{}", BackendConfigError, "status 400"),
        (415, {}, b"{}", BackendConfigError, "status 415"),
        (413, {}, b"{}", InvalidInputError, "over 1048576 bytes"),
        (422, {}, b"{}", InvalidInputError, "invalid"),
        (409, {}, b"{}", ConflictError, "changed meanwhile"),
        (401, {}, CANARY.encode(), NotAuthenticatedError, "does not know"),
        (403, {}, CANARY.encode(), AccessDeniedError, "may not"),
    ],
)
def test_status_is_its_error(cluster, secrets, status, headers, body, error, match):  # noqa: PLR0917 -- a row
    cluster.fail(status, headers=headers, body=body)
    with pytest.raises(error, match=match) as caught:
        secrets.patch("x", {"value": encoded(CANARY)})
    if error is BackendUnavailableError:
        assert caught.value.retry_after == timedelta(seconds=3)
    assert CANARY not in repr(vars(caught.value)) + str(caught.value)


def test_immutable_secret_is_read_only_and_one_over_its_size_is_refused(cluster, secrets):
    cluster.put("fixed", {"value": "x"}, immutable=True)
    with pytest.raises(ReadOnlyError, match="immutable"):
        secrets.patch("fixed", {"value": encoded("y")})
    with pytest.raises(InvalidInputError) as caught:
        secrets.create("big", {"a": encoded("x" * 700_000), "b": encoded("x" * 700_000)}, labels={}, notes={})
    assert caught.value.limit == 1_048_576


def test_type_that_needs_keys_of_its_own_refuses_to_be_without(cluster, secrets):
    cluster.put("tls", {"tls.crt": "x", "tls.key": "y", "value": "z"}, type="kubernetes.io/tls")
    assert secrets.patch("tls", {"value": encoded("new")})
    with pytest.raises(InvalidInputError, match="invalid"):
        secrets.patch("tls", {"tls.key": None})


# --- lists ---------------------------------------------------------------------------------------------


def test_list_comes_in_pages_and_begins_anew_where_they_became_too_old(cluster, secrets):
    for number in range(40):
        cluster.put(f"s{number:02}", {"value": "x"})
    assert [held.name for held in secrets.chosen("")] == [f"s{number:02}" for number in range(40)]
    assert len(cluster.asked) == 3
    body = json.dumps({"kind": "Status", "code": 410, "reason": "Expired"}).encode()
    asked = len(cluster.asked)
    cluster.fail(410, body=body)
    assert len(secrets.chosen("")) == 40
    assert len(cluster.asked) - asked == 4
    cluster.fail(410, body=body, times=3)
    with pytest.raises(BackendUnavailableError, match="forgets"):
        secrets.chosen("")


@pytest.mark.parametrize("items", [[], None])
def test_namespace_without_secrets_is_listed_as_empty(cluster, secrets, items):
    assert secrets.outlines()[0] == []
    cluster.fail(200, body=json.dumps({"metadata": {"resourceVersion": "1"}, "items": items}).encode())
    assert secrets.chosen("a=b") == []


def test_list_without_its_objects_is_no_empty_one(cluster, secrets):
    for ask in (lambda: secrets.chosen("a=b"), secrets.outlines):
        cluster.fail(200, body=b'{"metadata": {"resourceVersion": "1"}}')
        with pytest.raises(BackendUnavailableError, match="no object of Kubernetes"):
            ask()


def test_list_that_names_its_page_as_the_next_is_trouble(cluster, secrets):
    page = {"metadata": {"resourceVersion": "1", "continue": "again"}, "items": []}
    for ask in (lambda: secrets.chosen("a=b"), secrets.outlines):
        cluster.faults.clear()
        cluster.fail(200, body=json.dumps(page).encode(), times=50)
        with pytest.raises(BackendUnavailableError, match="without end"):
            ask()
        assert len(cluster.faults) == 48
    cluster.faults.clear()


def test_absence_that_is_too_deep_to_be_read_is_no_absence(cluster, secrets):
    cluster.fail(404, body=b'{"details":' * 100_000)
    with pytest.raises(StrongroomError):
        secrets.get("x")


def test_outlines_hold_no_values_on_the_wire(cluster, secrets):
    cluster.put("s", {"value": CANARY})
    found, version = secrets.outlines()
    assert [one.name for one in found] == ["s"]
    assert int(version) > 0
    made = secrets.create("t", {"value": encoded(CANARY)}, labels={}, notes={})
    assert made == cluster.get("t")["metadata"]["resourceVersion"]


# --- watching ------------------------------------------------------------------------------------------


class Heard:
    """What a watch tells, in order."""

    def __init__(self):
        self.outlines = []
        self.events = []
        self.notices = []
        self._changed = threading.Condition()

    def begin(self, outlines):
        self.outlines.append([one.name for one in outlines])

    def told(self, event):
        self.events.append((event.kind, event.name))

    def hear(self, notice):
        with self._changed:
            self.notices.append(notice)
            self._changed.notify_all()

    def wait(self, is_so):
        with self._changed:
            assert self._changed.wait_for(is_so, 20), (self.notices, self.events)


@pytest.fixture
def watching(secrets):
    heard = Heard()
    watch = SecretWatch(secrets._session, secrets, heard, heard.hear)
    heard.wait(lambda: heard.notices)
    yield heard
    watch.end()


def test_watch_lists_first_then_tells_and_bookmarks_are_its_signs_of_life(cluster, watching):
    assert watching.notices[0].is_gap
    cluster.put("a", {"value": CANARY})
    cluster.put("a", {"value": "2"})
    cluster.store.delete(NAMESPACE, "a", {})
    watching.wait(lambda: len(watching.notices) > 2)
    assert watching.events == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    assert not any(notice.is_gap or notice.is_lost for notice in watching.notices[1:])


def test_watch_goes_on_where_it_was_when_the_server_ends_it(cluster, watching):
    cluster.store.hang_up()
    cluster.put("a", {"value": "1"})
    watching.wait(lambda: len(watching.notices) > 2)
    assert watching.events == [("ADDED", "a")]
    assert len(watching.outlines) == 1


def test_watch_whose_version_is_forgotten_begins_anew_and_tells_a_gap(cluster, watching):
    cluster.put("a", {"value": "1"})
    cluster.fail(410, body=json.dumps({"kind": "Status", "code": 410}).encode())
    cluster.store.hang_up()
    watching.wait(lambda: [notice for notice in watching.notices if notice.is_gap][1:])
    assert watching.outlines[-1] == ["a"]


def test_watch_that_is_told_an_error_of_too_old_begins_anew(cluster, secrets):
    heard = Heard()
    watch = SecretWatch(secrets._session, secrets, heard, heard.hear)
    try:
        heard.wait(lambda: heard.notices)
        cluster.store.compact()
        heard.wait(lambda: [notice for notice in heard.notices if notice.is_gap][1:])
    finally:
        watch.end()


def test_watch_that_is_denied_says_that_it_hears_nothing_and_hears_again(cluster, opened):
    token = cluster.account("deaf")
    cluster.allow("deaf", "list")
    mine = opened(url=cluster.url, ca=cluster.ca, token=Secret(token), namespace=NAMESPACE)
    heard = Heard()
    watch = SecretWatch(mine._session, mine, heard, heard.hear)
    try:
        heard.wait(lambda: any(notice.is_lost for notice in heard.notices))
        cluster.allow("deaf", "watch")
        heard.wait(lambda: heard.notices[-1] == type(heard.notices[0])())
    finally:
        watch.end()


def test_watches_that_the_server_ends_at_once_are_begun_less_and_less_often(cluster, watching):
    cluster.fail(200, times=10_000)
    begun, told = time.monotonic(), len(watching.notices)
    cluster.store.hang_up()
    watching.wait(lambda: len(watching.notices) >= told + 4)
    assert time.monotonic() - begun >= 1.5
    cluster.faults.clear()
    cluster.put("a", {"value": "1"})
    watching.wait(lambda: watching.events)
    assert watching.events == [("ADDED", "a")]


def test_foreign_trouble_while_hearing_of_a_change_ends_no_watch(cluster, secrets):
    class Clumsy(Heard):
        def told(self, event):
            super().told(event)
            if len(self.events) == 1:
                raise RuntimeError(CANARY)

    heard = Clumsy()
    watch = SecretWatch(secrets._session, secrets, heard, heard.hear)
    try:
        heard.wait(lambda: heard.notices)
        cluster.put("a", {"value": "1"})
        heard.wait(lambda: any(notice.is_lost for notice in heard.notices))
        heard.wait(lambda: len(heard.events) > 1)
    finally:
        watch.end()


def test_ended_watch_leaves_no_thread_and_no_connection(cluster, secrets):
    heard = Heard()
    watch = SecretWatch(secrets._session, secrets, heard, heard.hear)
    until(lambda: cluster.store.watching, what="the watch")
    watch.end()
    watch.end()
    until(
        lambda: "strongroom k8s watch" not in [one.name for one in threading.enumerate()], what="the thread"
    )
    cluster.put("a", {"value": "x"})
    until(lambda: not cluster.store.watching, what="the server to find out")
    assert not heard.events


def test_secret_and_session_print_no_value(cluster, secrets):
    cluster.put("s", {"value": CANARY})
    held = secrets.get("s")
    assert held.data["value"] == encoded(CANARY)
    assert encoded(CANARY) not in repr(held) + repr(secrets._session)


def test_every_error_is_ours(cluster, opened):
    cluster.fail(200, body=b'{"metadata": {"name": 5}}')
    mine = opened(url=cluster.url, ca=cluster.ca, token=Secret("root-token"), namespace=NAMESPACE)
    with pytest.raises(StrongroomError, match="no object of Kubernetes"):
        mine.get("x")
