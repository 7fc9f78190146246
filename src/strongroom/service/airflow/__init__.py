"""
Moving an Airflow to Strongroom and back: looking, comparing, switching, taking its settings over.

Not for what an Airflow's database holds (`backends/airflow_metastore.py`, `airflow import`), nor for what
runs inside of Airflow (`strongroom.airflow`).
"""
