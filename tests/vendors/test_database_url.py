"""SQLAlchemy URLs, taken apart without SQLAlchemy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.errors import BackendConfigError
from strongroom.model.secret import Secret
from strongroom.testing.contract import CANARY
from strongroom.vendors.database_url import DatabaseUrl

sqlalchemy = pytest.importorskip("sqlalchemy", reason="the store, which brings it, needs Python 3.11")


def parts(url):
    found = DatabaseUrl.parse(Secret(url))
    password = None if found.password is None else found.password.reveal()
    return (found.dialect, found.user, password, found.host, found.port, found.database)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql+psycopg2://u:p@h:5432/db", ("postgresql", "u", "p", "h", 5432, "db")),
        ("postgres://h/db", ("postgresql", None, None, "h", None, "db")),
        ("postgresql://u%40x:p%2F%40%3A@h/db", ("postgresql", "u@x", "p/@:", "h", None, "db")),
        ("postgresql://u:@h/", ("postgresql", "u", "", "h", None, "")),
        ("postgresql://u:a:b@h/db", ("postgresql", "u", "a:b", "h", None, "db")),
        ("postgresql://[::1]:5432/db", ("postgresql", None, None, "::1", 5432, "db")),
        ("postgresql:///db?host=/run/pg", ("postgresql", None, None, None, None, "db")),
        ("postgresql+asyncpg://h/db?ssl=require", ("postgresql", None, None, "h", None, "db")),
        ("mysql+mysqlconnector://u:p@h/db?charset=utf8mb4", ("mariadb", "u", "p", "h", None, "db")),
        ("MariaDB+mariadbconnector://u@h/db", ("mariadb", "u", None, "h", None, "db")),
        ("sqlite:////opt/airflow/airflow.db", ("sqlite", None, None, None, None, "/opt/airflow/airflow.db")),
        ("sqlite:///relative.db?timeout=30", ("sqlite", None, None, None, None, "relative.db")),
        ("  sqlite:////a.db\n", ("sqlite", None, None, None, None, "/a.db")),
    ],
)
def test_url_is_read_as_sqlalchemy_does(url, expected):
    assert parts(url) == expected


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (f"oracle://u:{CANARY}@h/db", "of no database"),
        (f"{CANARY}", "not written as"),
        (f"postgresql://u:{CANARY}@x@h/db", "'@' in its password"),
        (f"postgresql://u:p@h:{CANARY}/db", "no number"),
        ("postgresql://h:0/db", "no number"),
        ("postgresql://h:99999/db", "no number"),
        ("postgresql://h/db?sslmod=require", "the argument sslmod"),
        (f"postgresql://h/db?{CANARY}é=1", "the argument …"),
        ("mysql://h/db?read_default_file=/etc/my.cnf", "the argument read_default_file"),
        ("sqlite:////a.db?mode=rw", "the argument mode"),
    ],
)
def test_url_that_cannot_be_followed_is_refused_without_a_word_of_it(url, told):
    with pytest.raises(BackendConfigError, match=told) as caught:
        DatabaseUrl.parse(Secret(url))
    assert CANARY not in f"{caught.value!r}{caught.value.hint}"
    assert caught.value.__cause__ is None


def test_nothing_of_it_prints():
    found = DatabaseUrl.parse(Secret(f"postgresql://{CANARY}:{CANARY}@{CANARY}/{CANARY}?user={CANARY}"))
    assert CANARY not in repr(found)


text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(user=text, password=text, port=st.integers(1, 65535))
def test_what_sqlalchemy_writes_is_read_back(user, password, port):
    url = sqlalchemy.URL.create("postgresql", user, password, "db.example", port, "sales")
    written = url.render_as_string(hide_password=False)
    assert parts(written) == ("postgresql", user, password, "db.example", port, "sales")
