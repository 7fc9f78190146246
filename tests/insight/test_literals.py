from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.insight.literals import has_password, is_literal, is_secret_name, scan_image, scan_python

FAKE = "k9Zq-c4nary-7Wm2"
KEY_ID = "AKIA" + "Q3EGR7T5YV2XKLMN"
GITHUB = "ghp_" + "a1B2" * 9

PYTHON = [
    (f'hook = Hook(password="{FAKE}")', ["named-secret"]),
    (f'DB_PASSWORD = "{FAKE}"', ["named-secret"]),
    (f'self.api_key: str = "{FAKE}"', ["named-secret"]),
    (f'conf = {{"clientSecret": "{FAKE}"}}', ["named-secret"]),
    (f'os.environ["API_TOKEN"] = "{FAKE}"', ["named-secret"]),
    (f'def f(host, *, token="{FAKE}"): pass', ["named-secret"]),
    (f'def f(token="{FAKE}", /, x=1): pass', ["named-secret"]),
    (f'uri = "postgres://svc:{FAKE}@db/x"', ["uri-password"]),
    (f'uri = f"postgres://svc:{FAKE}@{{host}}/x"', ["uri-password"]),
    (f'Variable.set("db_password", "{FAKE}")', ["variable-set"]),
    (f'models.Variable.set(key="api_token", value="{FAKE}")', ["variable-set"]),
    (f'x = "{KEY_ID}"', ["aws-key-id"]),
    (f"# {GITHUB}", ["token"]),
    ('x = "srm_' + "a" * 20 + '"', ["token"]),
    ('x = "xoxb-' + "1" * 12 + '"', ["token"]),
    ('k = """-----BEGIN RSA PRIVATE KEY-----\nMII"""', ["private-key"]),
    (f"this is no python {KEY_ID}", ["aws-key-id"]),
]


@pytest.mark.parametrize(("source", "rules"), PYTHON)
def test_a_secret_in_python_is_seen_by_its_rule(source, rules):
    assert [rule for _, rule in scan_python(source)] == rules


@pytest.mark.parametrize(
    "source",
    [
        'password = os.environ["DB_PASSWORD"]',
        'password = os.environ.get("DB_PASSWORD", "")',
        'password = Variable.get("db_password")',
        'password = ""',
        'password = "***"',
        'password = "changeme"',
        'password = "your-password-here"',
        'password = "<password>"',
        'password = "{{ conn.db.password }}"',
        'password = "${DB_PASSWORD}"',
        'password = "$DB_PASSWORD"',
        'password = "%(password)s"',
        'password = "abc"',
        'password = "Enter your password, please"',
        'password = "airflow"',
        'uri = "postgresql+psycopg2://airflow:airflow@postgres/airflow"',
        'uri = "postgres://user:password@host/db"',
        'uri = f"postgres://svc:{password}@db/x"',
        'uri = "https://example.org:8443/a@b"',
        '"""Connect to postgres://svc:hunter22@db/x."""',
        'token_url = "https://login.example.org/token1"',
        'password_file = "/run/secrets/db1"',
        'secret = Secret("env", "X", secret="airflow-secrets-1", key="k1")',
        'token = "vault_token"',
        'Variable.set("last_run", "2024-01-01")',
        'key_id = "AKIAIOSFODNN7EXAMPLE"',
        'sort_key = "created_at1"',
        "password = 12345678",
        'tokenizer = "bert-base-v2"',
    ],
)
def test_what_only_looks_like_a_secret_is_not_told(source):
    assert scan_python(source) == []


def test_the_line_is_told_and_not_the_literal():
    (found,) = scan_python(f'\n\nx = Hook(\n    host="db",\n    password="{FAKE}",\n)\n')
    assert found == (5, "named-secret")


@pytest.mark.parametrize(
    ("line", "rules"),
    [
        (f"ENV DB_PASSWORD={FAKE}", ["named-secret"]),
        (f"ENV DB_PASSWORD {FAKE}", ["named-secret"]),
        (f'ENV A=b API_TOKEN="{FAKE}" C=d', ["named-secret"]),
        (f"ARG API_KEY={FAKE}", ["named-secret"]),
        (f"    API_KEY={FAKE} \\", ["named-secret"]),
        (f"RUN pip install --token={FAKE}", ["named-secret"]),
        (f"ENV AIRFLOW_CONN_DB=postgres://svc:{FAKE}@db/x", ["uri-password"]),
        (f"      - AIRFLOW_CONN_DB=postgres://svc:{FAKE}@db/x", ["uri-password"]),
        (f"      POSTGRES_PASSWORD: {FAKE}  # mine", ["named-secret"]),
        (f'      - "POSTGRES_PASSWORD={FAKE}"', ["named-secret"]),
        (f"      AIRFLOW__CORE__FERNET_KEY: '{FAKE}='", ["named-secret"]),
        (f"      SQL_ALCHEMY_CONN: mysql://u:{FAKE}@db/x", ["uri-password"]),
        (f"""      AIRFLOW_CONN_DB: '{{"conn_type": "http", "password": "{FAKE}"}}'""", ["named-secret"]),
        (f"      AWS: {KEY_ID}", ["aws-key-id"]),
        ("ENV DB_PASSWORD=${DB_PASSWORD}", []),
        ("ARG DB_PASSWORD", []),
        ("      POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:-x1}", []),
        ("      POSTGRES_PASSWORD_FILE: /run/secrets/db1", []),
        ("      POSTGRES_PASSWORD: *shared1", []),
        ("      AIRFLOW__CORE__FERNET_KEY: ''", []),
        ("      SQL_ALCHEMY_CONN: postgresql+psycopg2://airflow:airflow@postgres/airflow", []),
        (f"# ENV DB_PASSWORD={FAKE}", []),
    ],
)
def test_a_secret_in_an_image_is_seen_by_its_rule(line, rules):
    assert [rule for _, rule in scan_image(line)] == rules


@pytest.mark.parametrize(
    "source",
    [
        "a" + ".b" * 200_000,
        "1" + "+1" * 200_000,
        "a" + "()" * 200_000,
        "-" * 200_000,
        "(" * 200_000,
        "x = '\0'",
        "if x:\n" + " if x:\n" * 200,
        "é = '\ud800'",
        "x = '\\d'",
    ],
    ids=["attributes", "sums", "calls", "signs", "brackets", "null", "indents", "surrogate", "escape"],
)
def test_a_hostile_file_ends_nothing(source):
    assert scan_python(source) == []


@settings(max_examples=300, deadline=None)
@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_no_text_raises(text):
    scan_python(text)
    scan_image(text)
    is_literal(text)
    is_secret_name(text)
    has_password(text)


_NAMES = st.sampled_from(["password", "token", "host", "Variable", "set", "uri", "secret"])
_SHAPES = st.sampled_from([" = {}", "({})", ".set({}, {})", "[{}] = {}", ": {} = {}"])
_TEXTS = st.sampled_from(["'k9Zq-c4nary'", "'{{ x }}'", "f'{x}'", "b'k9'", "x", "'a://b:c@d'", "['p']"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(_NAMES, _SHAPES, _TEXTS)))
def test_no_program_raises(parts):
    source = "\n".join(name + shape.replace("{}", text) for name, shape, text in parts)
    for line, rule in scan_python(source):
        assert 1 <= line <= len(parts)
        assert "k9Zq" not in rule
