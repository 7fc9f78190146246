"""Runs in .venv-airflow3-client: makes the calls it is told with the published client."""

import json
import sys

import airflow_client.client as airflow
from airflow_client.client.rest import ApiException

APIS = {
    "connection": "ConnectionApi",
    "variable": "VariableApi",
    "monitor": "MonitorApi",
    "version": "VersionApi",
}
APIS["provider"] = "ProviderApi"


def methods(name):
    found = vars(getattr(airflow, APIS[name]))
    ends = ("_with_http_info", "_without_preload_content")
    return sorted(one for one in found if not one.startswith("_") and not one.endswith(ends))


def made(value):
    """`{"Model": {…}}` becomes that model, read as the client reads it."""
    if isinstance(value, dict) and len(value) == 1:
        ((name, fields),) = value.items()
        if name[0].isupper():
            return getattr(airflow, name).from_dict(fields)
    return value


def plain(data):
    return data.to_dict() if hasattr(data, "to_dict") else data


def of_error(error):
    said = json.loads(error.body or "null")
    return {"status": error.status, "error": type(error).__name__, "data": said}


def answer(ask):
    if "methods" in ask:
        return {"methods": methods(ask["methods"])}
    settings = airflow.Configuration(host=ask["host"], access_token=ask["token"])
    with airflow.ApiClient(settings) as client:
        api = getattr(airflow, APIS[ask["api"]])(client)
        call = getattr(api, ask["call"] + "_with_http_info")
        try:
            got = call(**{name: made(value) for name, value in ask["args"].items()})
        except ApiException as error:
            return {
                "status": error.status,
                "error": type(error).__name__,
                "data": json.loads(error.body or "null"),
            }
    return {"status": got.status_code, "data": plain(got.data), "headers": dict(got.headers)}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line)), default=str), flush=True)
