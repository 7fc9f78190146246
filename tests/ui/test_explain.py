"""The page that says why a name is answered as it is."""

from __future__ import annotations

import pytest

from parts.browser import ADA, MEI, browsing
from parts.pages import Pages


@pytest.fixture(scope="module")
def ada(house):
    return Pages(house, ADA, others=("staging",))


def test_the_page_asks_and_tells_nothing_until_it_is_asked(ada):
    found = ada.get("/explain")
    assert found.status == 200
    assert 'class="verdict' not in found.text
    assert "Type a name as a task asks for it" in found.text


def test_every_backend_is_a_step_with_its_outcome_and_what_it_looked_for(ada):
    found = ada.get("/explain?kind=variable&name=region")
    assert "Found in env" in found.text
    assert "AIRFLOW_VAR_REGION" in found.text
    assert "hidden by env" in found.text
    assert "Allowed" in found.text
    assert "strongroom explain variable region" in found.text
    assert "/v1/explain/variable/region" in found.text


def test_a_run_that_is_claimed_stands_in_the_step_of_who_may_and_in_the_command(ada):
    found = ada.get("/explain?kind=variable&name=region&dag=orders_daily&task=load_facts")
    assert "as a run that claims to be orders_daily / load_facts" in found.text
    assert "strongroom explain variable region --dag orders_daily --task load_facts" in found.text


def test_a_name_that_is_nowhere_is_told_as_such(ada):
    assert "Nobody has it" in ada.get("/explain?kind=variable&name=nowhere_at_all").text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("name=a%2F..%2Fb", "x-name-e"),
        ("name=a%00b", "x-name-e"),
        ("name=region&team=a%2Fb", "x-team-e"),
        ("name=" + "x" * 300, "Nobody has it"),
    ],
)
def test_a_name_or_team_that_is_none_is_told_at_its_field(ada, query, said):
    found = ada.get(f"/explain?kind=variable&{query}")
    assert found.status in (200, 422)
    assert said in found.text


def test_a_name_of_markup_is_shown_as_text(ada):
    found = ada.get("/explain?kind=variable&name=%3Cscript%3Ealert(1)%3C%2Fscript%3E")
    assert "<script>alert(1)" not in found.text
    assert "&lt;script&gt;alert(1)" in found.text


def test_another_deployment_is_asked_at_its_own_address(ada):
    found = ada.get("/explain?kind=variable&name=region&deployment=staging")
    assert found.status == 303
    assert found.headers["location"] == "/d/staging/explain?name=region&kind=variable"
    assert ada.get("/explain?name=region&deployment=nowhere").status == 200


def test_a_step_of_a_team_says_whose_name_it_is(ada):
    found = ada.get("/explain?kind=variable&name=region&team=finance")
    assert "the name of team finance" in found.text


def test_who_may_not_be_told_is_told_whom_to_ask(house):
    found = Pages(house, MEI).get("/explain?kind=variable&name=region")
    assert found.status == 200
    assert "You may not be told about this name" in found.text
    assert "AIRFLOW_VAR_REGION" not in found.text


def test_no_value_stands_in_the_page(ada):
    assert "eu-west-4" not in ada.get("/explain?kind=variable&name=region").text


def test_it_works_without_script(chromium, house):
    with browsing(chromium, house, script=False) as page:
        page.goto("/explain")
        page.select_option("select[name=kind]", "variable")
        page.fill("input[name=name]", "cutoff_hour")
        page.keyboard.press("Enter")
        page.wait_for_selector(".verdict")
        assert "Found in env" in page.inner_text(".verdict")


def test_an_answer_comes_into_the_page_and_has_an_address(chromium, house):
    with browsing(chromium, house) as page:
        page.goto("/explain")
        page.select_option("select[name=kind]", "variable")
        page.fill("input[name=name]", "cutoff_hour")
        page.keyboard.press("Enter")
        page.wait_for_selector(".verdict")
        assert "name=cutoff_hour" in page.url
        page.wait_for_selector('footer.twin code:has-text("strongroom explain variable cutoff_hour")')
