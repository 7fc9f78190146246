"""`Idempotency-Key` on Airflow's APIs, whose answers repeat values."""

from __future__ import annotations

import pytest

from parts.server import serving

KEY = {"Idempotency-Key": "once"}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("repeats")) as server:
        server.admin = server.token()
        yield server


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_a_value_that_an_answer_repeated_is_not_kept_for_the_next_one(served, api):
    body = {"key": f"region-{api}", "value": "CANARY-value"}
    headers = {"Idempotency-Key": f"once-{api}"}
    first = served.ask("POST", f"/api/{api}/variables", body, token=served.admin, headers=headers)
    assert first.status in (200, 201)
    second = served.ask("POST", f"/api/{api}/variables", body, token=served.admin, headers=headers)
    assert second.status == 409
    assert b"CANARY" not in second.body
    assert b"done already" in second.body


def test_a_key_of_one_api_gets_no_answer_in_the_shape_of_another(served):
    body = {"key": "shape", "value": "x"}
    assert served.ask("POST", "/api/v2/variables", body, token=served.admin, headers=KEY).status == 201
    answer = served.ask("POST", "/api/v1/variables", body, token=served.admin, headers=KEY)
    assert (answer.status, answer.headers["Idempotency-Replayed"]) == (422, None)


def test_what_was_taken_away_is_said_to_be_gone_again(served):
    headers = {"Idempotency-Key": "gone"}
    served.ask("POST", "/api/v2/variables", {"key": "old", "value": "x"}, token=served.admin)
    for _ in range(2):
        answer = served.ask("DELETE", "/api/v2/variables/old", token=served.admin, headers=headers)
        assert answer.status == 204
