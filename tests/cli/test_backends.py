"""`backends check` for programs: the same in JSON, whatever answers."""

import json

from cli_shell import Shell


def test_check_gives_in_json_whether_it_answers_as_whom_and_what_it_may(tmp_path):
    shell = Shell(tmp_path)
    (tmp_path / "strongroom.toml").write_text(
        'chain = ["env", "vault"]\n[backend.vault]\nurl = "http://127.0.0.1:1"\ntoken = { env = "T" }\n'
    )
    told = shell("backends check --output json --config strongroom.toml", T="t0ken-of-mine")
    assert told.code == 6
    rows = json.loads(told.out)
    assert [(row["name"], row["status"], row["reachable"], row["identity"], row["may"]) for row in rows] == [
        ("env", "ready", True, "", {"read": "yes", "list": "yes", "write": "no"}),
        ("vault", "error", False, "", {}),
    ]
    assert "connection refused" in rows[1]["message"]
    assert all(row["milliseconds"] >= 0 for row in rows)
    assert "t0ken-of-mine" not in told.out + told.err
