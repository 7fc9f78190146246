"""Runs in .venv-airflow2-client: makes the calls it is told with the published client."""

import importlib
import json
import sys

from airflow_client import client as airflow

APIS = {
    "connection": ("connection_api", "ConnectionApi"),
    "variable": ("variable_api", "VariableApi"),
    "monitor": ("monitoring_api", "MonitoringApi"),
}


def api_of(name):
    module, api = APIS[name]
    return getattr(importlib.import_module(f"airflow_client.client.api.{module}"), api)


def made(value):
    if isinstance(value, dict) and len(value) == 1:
        ((name, fields),) = value.items()
        if name[0].isupper():
            module = importlib.import_module(f"airflow_client.client.model.{name.lower()}")
            return getattr(module, name)(**fields)
    return value


def plain(data):
    return data.to_dict() if hasattr(data, "to_dict") else data


def of_error(error):
    said = json.loads(error.body or "null")
    return {"status": error.status, "error": type(error).__name__, "data": said}


def answer(ask):
    if "methods" in ask:
        return {"methods": sorted(one for one in vars(api_of(ask["methods"])) if not one.startswith("_"))}
    settings = airflow.Configuration(host=ask["host"], username=ask.get("name"), password=ask.get("password"))
    with airflow.ApiClient(settings) as client:
        if ask.get("token"):
            client.set_default_header("Authorization", f"Bearer {ask['token']}")
        call = getattr(api_of(ask["api"])(client), ask["call"])
        try:
            data, status, headers = call(
                *(made(value) for value in ask["args"]), **ask["named"], _return_http_data_only=False
            )
        except airflow.ApiException as error:
            return {
                "status": error.status,
                "error": type(error).__name__,
                "data": json.loads(error.body or "null"),
            }
    return {"status": status, "data": plain(data), "headers": dict(headers)}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line)), default=str), flush=True)
