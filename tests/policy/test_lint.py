"""What is told to whoever writes a policy."""

from __future__ import annotations

import pytest

from strongroom.policy.cedar import parse, validate

FLOOR = "context.run.assurance >= 2"


def remarks(text, id_="mine", severity=None, roles=()):
    found = validate(id_, text, roles=roles)
    return [remark for remark in found if severity in (None, remark.severity)]


def errors(text, **more):
    return [(remark.message, remark.hint) for remark in remarks(text, severity="error", **more)]


def warnings(text, **more):
    return [remark.message for remark in remarks(text, severity="warning", **more)]


def when(condition, head='principal in Role::"op", action, resource is Entry', effect="permit"):
    return f"{effect} ({head})\nwhen {{ {condition} }};"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (when('resource.tagz.contains("x")'), "an entry has no attribute tagz", "did you mean tags?"),
        (when('resource.connType == "x"'), "an entry has no attribute connType", "did you mean conn_type?"),
        (
            when('context.sorce == ip("10.0.0.1")'),
            "the context has no attribute sorce",
            "did you mean source?",
        ),
        (
            when(f'context.run.dagid == "x" && {FLOOR}'),
            "a run has no attribute dagid",
            "did you mean dag_id?",
        ),
        (
            'permit (principal, action == Action::"reed", resource);',
            "there is no action reed",
            "did you mean read?",
        ),
        ("permit (principal is Persn, action, resource);", "there is no type Persn", "did you mean Person?"),
        (
            'permit (principal, action, resource) when { resource.kind == "variable" };',
            "a room has no kind",
            'say that only entries are meant: "resource is Entry"',
        ),
        (
            when('context.source.isInRange(ip("10.0.0.0/8"))'),
            "not every request has source",
            "ask first: context has source && context.source…",
        ),
        (when("resource.name + 1 > 2"), "a String stands where Long is needed", None),
        (
            'permit (principal in Role::"Op", action, resource);',
            "no Role is spelt like this: names are in lower case",
            'Role::"op"',
        ),
        (
            'permit (principal == Person::"an na", action, resource);',
            "it names a Person that cannot be",
            "names hold a-z, 0-9, . _ @ -",
        ),
        (
            'permit (principal in Role::"op", action, resource in Folder::"pay/");',
            "it names a folder that no name can be in",
            'as in Folder::"pay/eu"',
        ),
        (
            'permit (principal in Role::"op", action, resource == Entry::"pay/db");',
            "it names an entry that cannot be",
            'as in Entry::"connection:pay/db", of a team Entry::"connection@data:pay/db"',
        ),
        (
            when('resource has owner && resource.owner == "x"'),
            "every entry has this attribute, so that asking for it says nothing",
            'compare with "", or say that an entry is meant: resource is Entry',
        ),
        (
            '@id("other") permit (principal in Role::"op", action, resource);',
            "its @id is not mine, and does not begin with mine and a dot",
            'an @id names the document it stands in, or the file: @id("mine.…")',
        ),
        (
            "permit (principal == ?principal, action, resource);",
            "a policy must not have slots (?principal, ?resource)",
            "name whom it concerns, or a role",
        ),
    ],
)
def test_what_is_wrong_is_named_with_what_was_probably_meant(text, message, hint):
    assert (message, hint) in errors(text)


def test_misspelt_attribute_is_told_where_it_stands():
    text = "// about tagz\n" + when('resource.tagz.contains("x")')
    remark = remarks(text)[0]
    assert (remark.severity, remark.policy, remark.line) == ("error", "mine", 3)
    assert text.split("\n")[2][remark.column - 1 :].startswith("tagz")


def test_each_of_several_statements_is_told_apart():
    text = (
        '@id("mine.a") permit (principal in Role::"op", action, resource is Entry) when { resource.x == 1 };\n'  # noqa: E501
        '@id("mine.b") permit (principal in Role::"op", action, resource is Entry) when { resource.y == 1 };\n'  # noqa: E501
    )
    found = remarks(text, severity="error")
    assert [(remark.policy, remark.line) for remark in found] == [("mine.a", 1), ("mine.b", 2)]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("permit (principal, action, resource", 1),
        ("forbid (principal, action, resource);\npermit (\n principal, action, resource) whem { true };", 2),
        ("permit (principal, action, resource);\n\nallow (principal, action, resource);", 3),
    ],
)
def test_what_is_no_cedar_is_told_by_line(text, line):
    (remark,) = remarks(text)
    assert remark.severity == "error"
    assert remark.message.startswith("this is no Cedar")
    assert remark.line == line


def test_literal_that_cedar_cannot_read_is_not_repeated():
    secret = "hunter2hunter2"
    for text in (
        f'permit (principal, "{secret}", resource);',
        f"permit (principal == {secret}:x, action);",
        secret,
    ):
        assert all(secret not in f"{remark.message} {remark.hint}" for remark in remarks(f"{text}"))


@pytest.mark.parametrize(
    "condition",
    [
        "resource.name == 1",
        "[1, resource.name].contains(2)",
        'ip("300.1.1.1").isIpv4()',
        "[].contains(1)",
        "resource.tags.foo",
        "resource.tags",
        '"x"',
        "resource.name < 3",
        "principal.name == resource.name",
        "context.run == 3",
    ],
)
def test_whatever_the_validator_refuses_is_an_error(condition):
    assert errors(when(condition))


# --- what is doubtful ----------------------------------------------------------------------------------

CLAIM = "it believes what a request says of its run, which anybody may say"
BUNDLE = "any bundle may define a DAG of that name"


@pytest.mark.parametrize("attribute", ["dag_id", "task_id", "run_id", "bundle"])
def test_PO01_policy_that_believes_a_claim_is_warned_of(attribute):
    assert CLAIM in warnings(when(f'context.run.{attribute} == "x"'))
    assert CLAIM not in warnings(when(f'context.run.{attribute} == "x" && {FLOOR}'))


@pytest.mark.parametrize(
    ("floor", "is_one"),
    [
        ("context.run.assurance >= 1", True),
        ("context.run.assurance > 0", True),
        ("context.run.assurance == 2", True),
        ("2 <= context.run.assurance", True),
        ("0 < context.run.assurance", True),
        ("context.run.assurance >= 0", False),
        ("context.run.assurance > -1", False),
        ("context.run.assurance <= 2", False),
        ("context.run.assurance != 0", False),
        ("context.assurance >= 2", False),
        ("!(context.run.assurance >= 2)", False),
        ("(context.run.assurance >= 2 || true)", False),
        ("3 >= context.run.assurance", False),
    ],
)
def test_PO01_only_a_floor_that_must_hold_is_one(floor, is_one):
    found = warnings(when(f'context.run.dag_id == "x" && context.run.bundle == "b" && {floor}'))
    assert (CLAIM not in found) is is_one


def test_PO01_floor_may_stand_in_a_condition_of_its_own():
    text = when('context.run.bundle == "x"').removesuffix(";") + f" when {{ {FLOOR} }};"
    assert warnings(text) == []


def test_PO01_claim_that_takes_a_right_away_is_warned_of_whatever_stands_beside_it():
    assert CLAIM in warnings(when(f'context.run.dag_id == "x" && {FLOOR}', effect="forbid"))
    everything = 'permit (principal in Role::"op", action, resource) unless { context.run.dag_id == "x" };'
    assert CLAIM in warnings(everything)


def test_PO01_prohibition_may_make_an_exception_of_what_is_proven():
    text = f'forbid (principal, action, resource) unless {{ context.run.bundle == "b" && {FLOOR} }};'
    assert CLAIM not in warnings(text)
    text = 'forbid (principal, action, resource) unless { context.run.bundle == "b" };'
    assert CLAIM in warnings(text)


def test_PO02_dag_without_its_bundle_is_warned_of():
    assert warnings(when(f'context.run.dag_id == "x" && {FLOOR}')) == [BUNDLE]
    assert warnings(when(f'context.run.dag_id == "x" && context.run.bundle == "b" && {FLOOR}')) == []


@pytest.mark.parametrize(
    ("pattern", "is_glued"),
    [("pay*", True), ("pay/*", False), ("pay_*", False), ("*", False), ("*_db", False), ("p*y*", False)],
)
def test_PO08_pattern_that_fits_more_than_a_folder_is_warned_of(pattern, is_glued):
    found = warnings(when(f'resource.name like "{pattern}"'))
    assert found == (["pay* also fits what only begins so, as payroll"] if is_glued else [])


def test_role_that_nobody_has_is_warned_of():
    assert warnings('permit (principal in Role::"opp", action, resource);') == ["nobody has the role opp"]
    assert warnings('permit (principal in Role::"data", action, resource);', roles=["data"]) == []
    assert warnings('permit (principal in Role::"viewer", action, resource);') == []


def test_policy_for_everybody_is_warned_of():
    assert warnings('permit (principal, action == Action::"list", resource);') == [
        "it allows everybody everything it names"
    ]
    assert warnings("forbid (principal, action, resource);") == []


def test_errors_come_first_and_nothing_twice():
    found = remarks(
        'permit (principal in Role::"opp", action, resource is Entry) when { resource.x == 1 || resource.x == 2 };'  # noqa: E501
    )
    assert [remark.severity for remark in found] == ["error", "warning"]


def test_what_is_valid_can_be_parsed():
    text = when(f'resource.tags.containsAny(["a", "b"]) && context.run.bundle == "b" && {FLOOR}')
    assert remarks(text) == []
    assert [rule.id for rule in parse("mine", text)] == ["mine"]
