"""Machines and people over HTTP: the native API, and Airflow's own."""
