"""The differences between our stores of clouds and Airflow's classes are a closed list."""

from inside_airflow import (
    test_parity_aws,
    test_parity_azure,
    test_parity_google,
    test_parity_kubernetes,
)
from parity.compare import numbers
from parity.test_numbers import documented

TABLES = (
    (*test_parity_aws.MANAGED, *test_parity_aws.PARAMETERS),
    test_parity_azure.CASES,
    test_parity_google.CASES,
    test_parity_kubernetes.CASES,
)


def test_every_difference_of_a_store_is_documented_and_every_documented_one_is_met():
    used = set().union(*map(numbers, TABLES))
    assert used <= set(documented("RBD"))
    assert {number for number in used if number.startswith("D")} == set(documented("D"))
    assert documented("D") == [f"D{number}" for number in range(1, len(documented("D")) + 1)]


def test_every_case_is_called_something_else_so_that_none_hides_another():
    for table in TABLES:
        said = [case.said for case in table]
        assert len(set(said)) == len(said)
