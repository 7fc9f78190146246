"""Connections pasted in any form, as they come: from a terminal, in odd encodings, several at once."""

from __future__ import annotations

import pytest

from cli_shell import Shell
from terminal import on_terminal

CANARY = "canary-7f3a"
JDBC = f"jdbc:postgresql://db.example.com:5432/orders?user=svc&password={CANARY}"


@pytest.fixture
def shell(tmp_path):
    return Shell.with_room(tmp_path)


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("yes", 0), ("n", 1), ("", 1), ("YES!", 1)])
def test_what_was_understood_is_shown_and_agreed_to(shell, tmp_path, answer, code):
    (tmp_path / "jdbc.txt").write_text(JDBC)
    seen = on_terminal(
        ["connections", "add", "orders", "--from", str(tmp_path / "jdbc.txt")],
        shell.environ,
        answers=[("add this as orders? [y/N] ", f"{answer}\n")],
    )
    assert seen.code == code
    assert "host      db.example.com" in seen.text
    assert CANARY not in seen.raw
    assert (shell("read orders --field password").out == CANARY) == (code == 0)


def test_what_is_pasted_into_the_terminal_is_asked_about_there(shell):
    seen = on_terminal(
        ["connections", "add", "orders", "--from", "-"],
        shell.environ,
        answers=[("end with Ctrl-D", f"{JDBC}\n\x04"), ("add this as orders? [y/N] ", "y\n")],
    )
    assert seen.code == 0
    assert shell("read orders --field password").out == CANARY


def test_one_that_stands_is_asked_about_again(shell, tmp_path):
    shell("connections add orders --conn-uri http://h")
    (tmp_path / "jdbc.txt").write_text(JDBC)
    seen = on_terminal(
        ["connections", "add", "orders", "--from", str(tmp_path / "jdbc.txt")],
        shell.environ,
        answers=[("add this as orders? [y/N] ", "y\n"), ("[y/N] ", "n\n")],
    )
    assert seen.code == 1
    assert shell("read orders --field conn_type").out == "http"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "utf-16-be-bom"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_is_read_in_the_encodings_editors_write(shell, tmp_path, encoding, newline):
    text = f"bootstrap.servers=h:9092\nsasl.password={CANARY}é\n".replace("\n", newline)
    data = text.encode(encoding.removesuffix("-bom"))
    marks = {"utf-16-le-bom": b"\xff\xfe", "utf-16-be-bom": b"\xfe\xff"}
    (tmp_path / "client.properties").write_bytes(marks.get(encoding, b"") + data)
    done = shell(f"connections add k --from {tmp_path / 'client.properties'} --yes")
    assert done.code == 0
    assert f'{CANARY}é"' in shell("read k --output json").out.replace("\\u00e9", "é").replace('\\"', '"')


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" + CANARY.encode(),
        f"postgres://u:{CANARY}\x00@h".encode(),
        f"postgres://u:{CANARY}".encode("utf-16")[:-1],
        CANARY.encode() + b"\xff",
        (CANARY * 1000).encode() * 1000,
        b'{"a": "' + CANARY.encode() + b'", ' + b"[" * 100_000,
        b"kind: Config\nclusters: [" + b"[" * 50_000 + b"\ncontexts: []\n# " + CANARY.encode(),
    ],
    ids=["nul", "nul in a URI", "half a UTF-16", "no UTF-8", "10 MiB", "deep JSON", "deep YAML"],
)
def test_what_is_no_text_of_a_connection_is_refused_without_any_of_it(shell, tmp_path, data):
    (tmp_path / "paste").write_bytes(data)
    done = shell(f"connections add k --from {tmp_path / 'paste'} --yes")
    assert done.code == 2
    assert CANARY not in done.out + done.err
    assert "Traceback" not in done.err


SEVERAL = {
    "env": f"AIRFLOW_CONN_ONE=http://u:{CANARY}@h\nAIRFLOW_CONN_TWO=ftp://h",
    "aws": f"[one]\naws_access_key_id = AKIA\naws_secret_access_key = {CANARY}\n[two]\nregion = x",
    "kubeconfig": (
        f"kind: Config\nclusters: [{{name: c}}]\nusers: [{{name: u, user: {{token: {CANARY}}}}}]\ncontexts:\n"
        "- {name: one, context: {cluster: c, user: u}}\n- {name: two, context: {cluster: c, user: u}}\n"
    ),
    "pgpass": f"h:5432:one:u:{CANARY}\nh:5432:two:u:{CANARY}",
    "service": f"[one]\nhost=h\npassword={CANARY}\n[two]\nhost=h",
}


@pytest.mark.parametrize("text", SEVERAL.values(), ids=SEVERAL)
def test_each_of_several_is_added_by_its_name_or_all_are_imported(shell, tmp_path, text):
    (tmp_path / "paste").write_text(text)
    source = tmp_path / "paste"
    none = shell(f"connections add three --from {source} --yes")
    assert none.code == 2
    assert '"one", "two"' in none.err
    assert shell(f"connections add one --from {source} --yes").code == 0
    assert CANARY in shell("read one").out
    every = shell(f"connections convert {source} --from any")
    assert every.code == 0
    assert shell("connections import - --format json --overwrite", every.out).code == 0
    assert shell("read two").code == 0
    assert CANARY not in none.out + none.err + every.err


def test_a_script_is_refused_what_would_lose_something(shell):
    lossy = f"jdbc:postgresql://db.example.com/orders?user=svc&password={CANARY}&loggerLevel=OFF"
    refused = shell("connections add orders --from -", lossy)
    agreed = shell("connections add orders --from - --yes", lossy)
    assert (refused.code, agreed.code) == (2, 0)
    assert "say --yes to agree beforehand" in refused.err
    assert "left out" in refused.err
