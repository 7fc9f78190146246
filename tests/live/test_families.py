"""Which library makes a client of which connection, and what is told when one does not."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import strongroom
from strongroom import catalog
from strongroom.errors import AccessDeniedError, BackendConfigError, BackendUnavailableError, NotFoundError
from strongroom.live import families
from strongroom.live.families import DRIVERS, drivers_of
from strongroom.live.trouble import TABLE
from strongroom.live.trouble import trouble as failed


@pytest.fixture
def room(tmp_path):
    with (
        strongroom.open_room(
            environ={
                "HOME": str(tmp_path),
                "AIRFLOW_CONN_ORDERS_DB": "postgres://app:tell-nobody@127.0.0.1/orders",
                "AIRFLOW_CONN_BARE": "winrm://app:tell-nobody@127.0.0.1",
                "STRONGROOM__CHAIN": '["env"]',
            }
        ) as room,
        strongroom.use_room(room),
    ):
        yield room


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)
def test_every_driver_has_a_family_and_types_of_the_catalog(driver):
    assert hasattr(families.family_of(driver), "client")
    for conn_type in driver.types:
        assert catalog.find(conn_type) is not None, conn_type


@pytest.mark.parametrize(
    "driver", [driver for driver in DRIVERS if driver.extra], ids=lambda driver: driver.name
)
def test_every_extra_that_is_named_is_one_of_the_distribution(driver):
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    extras = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    assert f"\n{driver.extra} = [" in extras


@pytest.mark.parametrize(
    ("conn_type", "names"),
    [("postgres", ["sqlalchemy", "psycopg"]), ("sftp", ["sftp", "ssh", "fsspec"]), ("ssh", ["ssh", "sftp"])],
)
def test_the_default_of_a_type_comes_first(conn_type, names):
    assert [driver.name for driver in drivers_of(conn_type)] == names


def test_a_driver_that_a_type_does_not_have_is_told_with_those_it_has(room):
    with pytest.raises(BackendConfigError) as caught:
        strongroom.client("orders_db", driver="redis")
    assert caught.value.hint == "for its type: sqlalchemy, psycopg"
    assert (caught.value.step, caught.value.reason) == ("driver", "unknown")


def test_a_type_without_a_driver_is_told_with_those_that_have_one(room):
    with pytest.raises(BackendConfigError) as caught:
        strongroom.client("bare")
    assert "there are live clients for " in caught.value.hint
    assert "tell-nobody" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("options", [5, "pool_size", ["pool_size"], {5: 1}])
def test_options_that_are_none_are_told_and_not_quoted(room, options):
    for given in ({"options": options}, {"service": 5}):
        for call in (
            strongroom.client,
            lambda *names, **more: asyncio.run(strongroom.aclient(*names, **more)),
        ):
            with pytest.raises(BackendConfigError) as caught:
                call("orders_db", **given)
            assert (caught.value.step, caught.value.reason) == ("options", "malformed")
            assert "pool_size" not in str(caught.value)


def test_a_connection_that_is_nowhere_is_an_absence(room):
    with pytest.raises(NotFoundError):
        strongroom.client("nowhere")


def test_a_library_that_is_missing_is_told_with_what_to_install(room):
    held = strongroom._live().held("orders_db")
    with pytest.raises(BackendConfigError) as caught:
        families.loaded("no_such_library.part", held, extra="redis")
    assert (
        str(caught.value)
        == "the connection 'orders_db' needs a library that is not installed: no_such_library (driver)"
    )
    assert caught.value.hint == "pip install 'strongroom[redis]'"


@pytest.mark.parametrize(("step", "reason"), TABLE)
def test_every_trouble_is_one_error_that_says_who_can_act(step, reason):
    error = failed(step, reason, name="orders_db")
    assert isinstance(error, (AccessDeniedError, BackendConfigError, BackendUnavailableError))
    assert str(error).startswith("the connection 'orders_db' ")
    assert str(error).endswith(f" ({step})")
    assert error.hint
    assert (error.step, error.reason) == (step, reason)
