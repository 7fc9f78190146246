"""
What Airflow's clients ask beside connections and variables: a token, the version, health, providers, tests.

`/auth/token` gives a session of ours, which ends as sessions do. Who has a token of ours already may give it
as the password of any name, and gets it back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from strongroom.errors import InvalidInputError, NotAuthenticatedError
from strongroom.model.secret import Secret
from strongroom.server import reach
from strongroom.server.airflow_api import connections
from strongroom.server.airflow_api.body import Field, Problems, body_of, last_of, members_of, number_of
from strongroom.server.airflow_api.named import ref_of, standing
from strongroom.server.airflow_api.refusal import RefusedError
from strongroom.service.connection_tests import sentences

if TYPE_CHECKING:
    from strongroom.model.connection import Connection
    from strongroom.server.endpoint import Call

__all__ = [
    "check_known",
    "enqueue_test",
    "health",
    "make_defaults",
    "no_token",
    "poll_test",
    "providers",
    "test",
    "token",
    "token_for_command_line",
    "version",
]

SPOKEN = "3.3.2"  # the release whose API this is
_LOGIN = (
    Field("username", is_required=True, allows_null=False),
    Field("password", is_required=True, allows_null=False),
)
_FORM = "application/x-www-form-urlencoded"
_WRONG = "Invalid credentials"
_NO_TESTS = (
    "Testing connections is disabled in Airflow configuration. Contact your deployment admin to enable it."
)
_TOKEN_HEADER = "airflow-connection-test-token"  # noqa: S105 -- the name of a header


# --- who asks --------------------------------------------------------------------------------------------


def token(call: Call) -> dict[str, str]:
    """Begin a session with a name and a password, as JSON or as a form."""
    media = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media == _FORM:
        return _given(call, _form(call.body))
    if media != "application/json":
        raise RefusedError(415, f"Only application/json or {_FORM} is supported")
    return token_for_command_line(call)


def token_for_command_line(call: Call) -> dict[str, str]:
    """Begin a session with a name and a password, as JSON."""
    problems = Problems()
    said = members_of(body_of(call), _LOGIN, problems)
    problems.check()
    return _given(call, said)


def _form(body: bytes) -> dict[str, str]:
    problems = Problems()
    found: dict[str, list[str]] = {}
    try:
        found = parse_qs(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=10)
    except ValueError:
        problems.add("value_error", ("body",), "Value error, the form cannot be read")
    for name in ("username", "password"):
        if not problems and name not in found:
            problems.add("string_type", ("body", name), "Input should be a valid string")
    problems.check()
    return {name: found[name][-1] for name in ("username", "password")}


def _given(call: Call, said: dict[str, Any]) -> dict[str, str]:
    name, password = said["username"], said["password"]
    if not name or not password:
        raise RefusedError(400, "Username and password must be provided")
    access = call.place.access
    try:
        if password.startswith("srm_"):
            access.authenticate(password, source=call.source)
            return {"access_token": password}
        return {"access_token": access.login(name, Secret(password), source=call.source).token.reveal()}
    except (NotAuthenticatedError, InvalidInputError):
        pass
    raise RefusedError(401, _WRONG)


def no_token(_call: Call) -> dict[str, str]:
    """Refuse a token without credentials, as Airflow does unless everybody is an administrator."""
    raise RefusedError(
        403, "This method is only allowed if ``[core] simple_auth_manager_all_admins`` is True"
    )


# --- the place -------------------------------------------------------------------------------------------


def check_known(call: Call) -> None:
    """
    Refuse whoever is unknown in another deployment than the first: which there are is not told.

    The clients of Airflow send no token with what Airflow tells everybody.

    Raises:
        NotAuthenticatedError: nobody is known, and it is another one.
    """
    if not call.has_identity and call.deployment != call.house.first:
        raise NotAuthenticatedError("this needs an identity")


def version(call: Call) -> dict[str, str | None]:
    """Give the release of Airflow whose API this is."""
    check_known(call)
    return {"version": SPOKEN, "git_version": None}


def health(call: Call) -> dict[str, dict[str, str | None]]:
    """Give the health that Airflow's clients look for; there is no scheduler here."""
    check_known(call)
    return {
        "metadatabase": {"status": "healthy"},
        "scheduler": {"status": None, "latest_scheduler_heartbeat": None},
        "triggerer": {"status": None, "latest_triggerer_heartbeat": None},
        "dag_processor": {"status": None, "latest_dag_processor_heartbeat": None},
    }


def providers(call: Call) -> dict[str, object]:
    """Give the provider packages that are installed here: none."""
    problems = Problems()
    for name in ("limit", "offset"):
        text = last_of(call.query, name)
        if text is not None:
            number = number_of(text, problems, ("query", name))
            if number is not None and number < 0:
                problems.add(
                    "greater_than_equal", ("query", name), "Input should be greater than or equal to 0"
                )
    problems.check()
    return {"providers": [], "total_entries": 0}


# --- tests of connections --------------------------------------------------------------------------------


def test(call: Call) -> dict[str, object]:
    """Test a connection, as it is said over what is stored, from the server."""
    problems = Problems()
    said = connections.checked(body_of(call), problems)
    problems.check()
    ref = ref_of("connection", said["connection_id"])
    if not reach.is_on(call):
        raise RefusedError(403, _NO_TESTS)

    def find() -> tuple[Connection, bool]:
        found = standing(call.room.entries, "connection", ref.name)
        if found is not None and found.connection is not None:
            return connections.patched(found, said)[1], True
        return connections.created(ref, said)[1], False

    tested = reach.tested(call, ref, find)
    return {"status": tested.failed is None, "message": " ".join(filter(None, sentences(tested)))}


def enqueue_test(call: Call) -> object:
    """Refuse a test on a worker: there are no workers here."""
    problems = Problems()
    body = body_of(call)
    more = {"commit_on_success", "executor", "queue"}
    connections.checked(
        {key: value for key, value in body.items() if key not in more} if isinstance(body, dict) else body,
        problems,
    )
    problems.check()
    raise RefusedError(403, _NO_TESTS)


def poll_test(call: Call) -> object:
    """Tell that there is no such test."""
    problems = Problems()
    if _TOKEN_HEADER not in call.headers:
        problems.add("missing", ("header", "Airflow-Connection-Test-Token"), "Field required")
    problems.check()
    raise RefusedError(404, "No connection test found for this token")


def make_defaults(_call: Call) -> object:
    """Refuse to make Airflow's examples: they are no secrets of anybody's."""
    raise RefusedError(403, "Strongroom keeps no default connections", title="Forbidden")
