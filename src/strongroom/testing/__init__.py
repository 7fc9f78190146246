"""Shipped fakes, contract suites and a pytest plugin, for our tests and for yours."""
