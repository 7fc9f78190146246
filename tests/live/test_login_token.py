"""Logins of databases by tokens of the clouds, at a PostgreSQL that lets in by token over TLS."""

from __future__ import annotations

import os
import traceback
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone

import pytest
import sqlalchemy as sa

from parts.aws import KEY, REGION, SECRET, hermetic, moto
from parts.azure import Azure
from parts.certificates import Authority
from parts.google import google, google_servers  # noqa: F401 -- fixtures
from parts.held import kept
from parts.mysql_tokens import mysql_tokens
from parts.token_logins import USER, is_signed, token_logins
from strongroom.errors import AccessDeniedError, BackendConfigError, NotFoundError
from strongroom.live import engine, psycopg
from strongroom.live.login_token import Logins

__all__ = ["hermetic", "moto"]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with token_logins(tmp_path_factory.mktemp("tokens")) as gate:
        yield gate


@pytest.fixture
def gate(running):
    running.asked.clear()
    running.knows = lambda _user, _password: False
    return running


@pytest.fixture
def others():
    """Keep connections to clouds: `others(name, **fields)`; `others.all` is what `stored.asked` takes."""
    with ExitStack() as stack:

        def keep(name, **fields):
            keep.all[name] = stack.enter_context(kept(name, **fields))
            return keep.all[name]

        keep.all = Missing()
        yield keep


class Missing(dict):
    def __missing__(self, name):
        raise NotFoundError(f"no {name}")


@pytest.fixture
def azure(tmp_path):
    with Azure(Authority(tmp_path)) as one:
        yield one


def database(gate, conn_type="postgres", login=USER, **extra):
    return kept(
        "orders_db",
        conn_type=conn_type,
        login=login,
        extra={"iam": True, "sslrootcert": gate.ca, **extra},
        **gate.place,
    )


def whoami(stored, others, **more):
    """Log in once by each of the two clients, and give who that was."""
    made = engine.client(stored.held, stored.asked(others=others.all, **more))
    with made.connect() as session:
        first = session.execute(sa.text("SELECT current_user")).scalar_one()
        is_tls = session.execute(
            sa.text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        ).scalar_one()
    made.dispose()
    with (
        psycopg.client(stored.held, stored.asked(others=others.all, **more)) as maker,
        maker.connect() as one,
    ):
        assert one.execute("SELECT current_user").fetchone()[0] == first
    assert is_tls
    return first


def refused(work, kind, *canaries):
    with pytest.raises(kind) as caught:
        work()
    error = caught.value
    text = "".join(traceback.format_exception(error)) + repr(vars(error))
    for canary in canaries:
        assert canary not in text
    return error.step, error.reason


def aws(others, name="aws_default", key=KEY, secret=SECRET, **extra):
    return others(name, conn_type="aws", login=key, password=secret, extra={"region_name": REGION, **extra})


# --- RDS ---------------------------------------------------------------------------------------------------


def signed_by(gate, key, secret):
    place = f"127.0.0.1:{gate.database.port}"
    return lambda user, token: is_signed(token, user, place, key, secret, REGION)


@pytest.mark.usefixtures("hermetic")
def test_a_token_of_rds_lets_in_over_tls_and_is_made_for_each_session(gate, others):
    aws(others, "aws_etl")
    gate.knows = signed_by(gate, KEY, SECRET)
    with database(gate, aws_conn_id="aws_etl") as stored:
        assert whoami(stored, others) == USER
    assert len(gate.asked) == 2


@pytest.mark.usefixtures("hermetic")
def test_a_token_that_is_refused_is_made_anew_once_with_the_key_that_is_newer(gate, others):
    cloud = aws(others)
    with database(gate) as stored:
        cloud.write(
            conn_type="aws", login="AKIANEWERNEWERNEWER1", password="newer", extra={"region_name": REGION}
        )
        gate.knows = signed_by(gate, "AKIANEWERNEWERNEWER1", "newer")
        assert whoami(stored, others) == USER
        assert cloud.questions == 1


@pytest.mark.usefixtures("hermetic")
def test_a_token_that_stays_refused_is_told_without_it(gate, others):
    aws(others)
    with database(gate) as stored:
        made = engine.client(stored.held, stored.asked(others=others.all))
        told = refused(made.connect, AccessDeniedError, SECRET, "X-Amz", KEY)
        assert told == ("authentication", "credentials")
        assert len(gate.asked) == 1


@pytest.mark.usefixtures("hermetic")
def test_without_an_aws_default_the_identity_of_the_machine_signs(gate, others, monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    gate.knows = signed_by(gate, KEY, SECRET)
    with database(gate) as stored:
        assert whoami(stored, others) == USER


@pytest.mark.usefixtures("hermetic")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"login": None}, ("options", "missing")),
        ({"aws_conn_id": "nowhere"}, NotFoundError),
    ],
    ids=str,
)
def test_what_a_token_cannot_be_made_of_is_told(gate, others, changes, expected):
    aws(others)
    with database(gate, **changes) as stored:
        maker = psycopg.client(stored.held, stored.asked(others=others.all))
        if expected is NotFoundError:
            with pytest.raises(NotFoundError):
                maker.connect()
        else:
            assert refused(maker.connect, BackendConfigError, SECRET) == expected


@pytest.mark.usefixtures("hermetic")
def test_a_token_is_not_given_to_a_server_whose_certificate_is_another_authoritys(gate, others, tmp_path):
    aws(others)
    other = tmp_path / "other.pem"
    other.write_bytes(Authority(tmp_path, "other").file.read_bytes())
    with database(gate, sslrootcert=str(other)) as stored:
        maker = psycopg.client(stored.held, stored.asked(others=others.all))
        assert refused(maker.connect, BackendConfigError) == ("tls", "untrusted")
    assert gate.asked == []


# --- Redshift ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hermetic")
def test_redshift_lends_a_login_that_is_kept_until_shortly_before_it_ends(moto, others):
    moto.asked(
        "redshift",
        "CreateCluster",
        ClusterIdentifier="lake",
        NodeType="ra3.large",
        MasterUsername="admin",
        MasterUserPassword="Passw0rd!",
    )
    aws(others, endpoint_url=moto.url)
    fields = {"conn_type": "redshift", "host": "lake.abc.eu-west-1.redshift.amazonaws.com", "login": "etl"}
    with kept("lake", **fields, schema="dev", extra={"iam": True}) as stored:
        asked = stored.asked(others=others.all)
        logins = Logins(asked.around)
        first = logins.login(stored.held, stored.held.known.connection)
        assert (first.user, first.port, first.is_token) == ("IAM:etl", 5439, True)
        assert logins.login(stored.held, stored.held.known.connection) is first
        asked.around.now = lambda: datetime.now(timezone.utc) + timedelta(minutes=14, seconds=30)
        assert logins.login(stored.held, stored.held.known.connection) is not first
        assert first.password.reveal() not in repr(first)


@pytest.mark.usefixtures("hermetic")
def test_a_cluster_that_is_not_there_is_told(moto, others):
    aws(others, endpoint_url=moto.url)
    fields = {"conn_type": "postgres", "host": "nowhere.abc.redshift.amazonaws.com", "login": "etl"}
    with kept("lake", **fields, extra={"iam": True, "redshift": True}) as stored:
        maker = psycopg.client(stored.held, stored.asked(others=others.all))
        assert refused(maker.connect, AccessDeniedError, SECRET) == ("token", "credentials")


# --- Entra ID and Cloud SQL ---------------------------------------------------------------------------------


def test_a_token_of_entra_lets_in(gate, others, azure, monkeypatch):
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.machine)
    others("entra", conn_type="azure")
    gate.knows = lambda user, token: (
        user == USER and azure.tokens.get(token, ("", ""))[1] == "https://ossrdbms-aad.database.windows.net"
    )
    with database(gate, azure_conn_id="entra") as stored:
        assert whoami(stored, others, environ=dict(os.environ)) == USER


def test_a_token_of_google_lets_in_to_cloud_sql(gate, others, google):  # noqa: F811
    others("gcp", conn_type="google_cloud_platform", extra={"keyfile_dict": google.key()})
    gate.knows = lambda user, token: user == USER and google.known(f"Bearer {token}") == google.account
    with database(gate, gcp_conn_id="gcp") as stored:
        assert whoami(stored, others) == USER


# --- MySQL ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hermetic")
def test_a_token_lets_in_to_mysql_over_checked_tls(others, tmp_path):
    aws(others)
    with mysql_tokens(tmp_path) as gate:
        place = f"127.0.0.1:{gate.place['port']}"
        gate.knows = lambda user, token: is_signed(token, user, place, KEY, SECRET, REGION)
        extra = {"iam": True, "client": "pymysql", "ssl": {"ca": gate.ca}, "ssl_mode": "PREFERRED"}
        with kept("orders_db", conn_type="mysql", login=USER, extra=extra, **gate.place) as stored:
            made = engine.client(stored.held, stored.asked(others=others.all))
            with made.connect() as session:
                assert session.execute(sa.text("SELECT 1 + 1")).scalar_one() == 2
            made.dispose()
            gate.knows = lambda _user, _token: False
            assert refused(made.connect, AccessDeniedError, "X-Amz", SECRET) == (
                "authentication",
                "credentials",
            )
        other = Authority(tmp_path, "another").file
        with kept(
            "orders_db",
            conn_type="mysql",
            login=USER,
            extra={**extra, "ssl": {"ca": str(other)}},
            **gate.place,
        ) as stored:
            made = engine.client(stored.held, stored.asked(others=others.all))
            assert refused(made.connect, BackendConfigError, "X-Amz", SECRET) == ("tls", "untrusted")
        assert len(gate.asked) == 2
        assert gate.asked_in_clear == 0
