"""
For each regression a small change of the source that brings it back, and the test that must notice.

`source` is a file or a package below `src/strongroom/`, in which `old` stands exactly once.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """
    One change.

    Args:
        id: of the regression it brings back.
        source: the file or package it is made in.
        old: what stands there.
        new: what stands there instead.
        test: `file::name` below `tests/`, which passes with the one and fails with the other.
    """

    id: str
    source: str
    old: str
    new: str
    test: str


MUTANTS = (
    Mutant(
        "RT01",
        "service/showing.py",
        "return connection.to_dict(shows=partial(catalog.shows, connection.conn_type))",
        "return connection.to_dict(reveal=True)",
        "server/api/test_leaks.py::test_RT01_no_answer_but_those_that_hand_secrets_out_holds_one",
    ),
    Mutant(
        "RT02",
        "service/showing.py",
        "shows=partial(catalog.shows, connection.conn_type)",
        "shows=lambda *_: True",
        "regressions/test_rt_shown.py::test_RT02_what_an_edit_starts_from_holds_no_secret",
    ),
    Mutant(
        "RT03",
        "wire/strict.py",
        "        if name not in lists:\n",
        "        if name not in lists:\n            continue\n        if name is None:\n",
        "server/api/test_leaks.py::test_RT03_no_parameter_turns_hiding_off",
    ),
    Mutant(
        "RT04",
        "service/bundle.py",
        "shown[name] = len(getattr(server, name))",
        "shown[name] = list(getattr(server, name))",
        "regressions/test_rt_shown.py::test_RT04_of_settings_only_words_of_our_own_are_shown",
    ),
    Mutant(
        "RT05",
        "service/entries.py",
        "act(self._actor, Action.DELETE, ref, work,",
        "act(self._actor, Action.DESCRIBE, ref, work,",
        "regressions/test_rt_shown.py::test_RT05_role_verb_kind_matrix_agrees_for_ui_and_api",
    ),
    Mutant(
        "RT06",
        "service/entries.py",
        "                self._actor,\n                Action.WRITE,\n                refs,\n",
        "                self._actor,\n                Action.DESCRIBE,\n                refs,\n",
        "regressions/test_rt_shown.py::test_RT06_whoever_may_look_changes_nothing_by_any_way_to_write_many",
    ),
    Mutant(
        "RT07",
        "server/endpoint.py",
        "is_public: bool = False",
        "is_public: bool = True",
        "server/api/test_matrix.py::test_AA01_RT07_RT08_no_route_but_a_login_answers_who_is_nobody",
    ),
    Mutant(
        "RT08",
        "server/api/entries.py",
        "        asks=EntryQuery,\n",
        "        asks=EntryQuery,\n        is_public=True,\n",
        "server/test_app.py::test_AA01_RT08_every_route_but_the_listed_answers_401_without_a_credential",
    ),
    Mutant(
        "RT09",
        "server/api/cursor.py",
        "question = [call.deployment, call.identity.actor.id, what,",
        "question = [what,",
        "server/api/test_cursor.py::test_RT09_a_cursor_of_another_actor_deployment_or_question_is_refused",
    ),
    Mutant(
        "RT10",
        "service/inventory.py",
        "return sight.sees(row.ref, None if row.state is EntryState.TAMPERED else row.metadata)",
        "return True",
        "service/test_rights.py::test_RT10_rows_counts_and_clashes_are_of_what_the_actor_may_see",
    ),
    Mutant(
        "RT11",
        "catalog/__init__.py",
        '    if classify(conn_type, path) == "secret":\n        return False\n'
        '    if path[0] != "extra" or value is None:\n',
        '    if path[-1] in ("password", "secret", "passphrase"):\n        return False\n    if path:\n',
        "regressions/test_rt_shown.py::test_RT11_what_nobody_declared_public_is_hidden_however_harmless_it_looks",
    ),
    Mutant(
        "RT12",
        "service/showing.py",
        "        if hidden == HIDDEN:\n            return plain\n",
        "        if hidden == HIDDEN:\n            return value\n",
        "server/api/test_entries.py::test_RT12_a_view_written_back_destroys_nothing",
    ),
    Mutant(
        "RT13",
        "model/secret.py",
        'def __repr__(self) -> str:\n        return "Secret(…)"',
        'def __repr__(self) -> str:\n        return f"Secret({self.reveal()!r})"',
        "model/test_secret.py::test_no_way_of_showing_it_shows_the_value",
    ),
    Mutant(
        "RT14",
        "caller",
        're.compile(r"srm_[a-z]_[A-Za-z0-9_-]+")',
        're.compile(r"srm_[a-z]_[A-Za-z0-9_-]{49}")',
        "regressions/test_rt_local.py::test_RT14_a_token_that_stands_across_the_cut_of_a_message_shows_no_part",
    ),
    Mutant(
        "RT15",
        "wire/shape.py",
        "class Asked(",
        "class Secret:\n    pass\n\n\nclass Asked(",
        "regressions/test_rt_local.py::test_RT15_there_is_one_class_by_whatever_path_it_is_imported",
    ),
    Mutant(
        "RT16",
        "model/template.py",
        'f"{entry.ref} in the backend {entry.backend}: {why}",',
        'f"{entry.ref} in the backend {entry.backend}: {why} {entry.secret.reveal()}",',
        "regressions/test_rt_shown.py::test_RT16_a_value_that_cannot_be_rendered_is_not_in_the_error",
    ),
    Mutant(
        "RT17",
        "model/connection_form.py",
        'return _refused("R4", "the connection does not start with a type and \'://\'",',
        'return _refused("R4", f"{uri} does not start with a type and \'://\'",',
        "model/test_connection.py::test_no_refusal_says_any_of_the_text",
    ),
    Mutant(
        "RT18",
        "service/journal.py",
        'members["error"] = type(record.exc_info[1]).__name__',
        'members["error"] = str(record.exc_info[1])',
        "server/test_logs.py::test_RT18_of_an_exception_its_class_and_its_places_are_told",
    ),
    Mutant(
        "RT19",
        "server/guard.py",
        '"the server could not answer this request", hint=f"its log tells more of request {request.id}"',
        'str(__import__("sys").exc_info()[1])',
        "server/test_app.py::test_RT18_RT19_what_nobody_expected_is_told_to_nobody",
    ),
    Mutant(
        "RT20",
        "service/journal.py",
        r'_USERINFO = re.compile(r"(?<=://)\S+@")',
        r'_USERINFO = re.compile(r"(?<=://)[^/\s@]+@")',
        "regressions/test_rt_local.py::test_RT20_no_credential_of_an_address_is_logged_however_it_is_spelled",
    ),
    Mutant(
        "RT21",
        "cli/variables.py",
        '"the value of a variable",\n            instead=',
        'f"the value {value} of a variable",\n            instead=',
        "test_leaks.py::test_a_secret_on_the_command_line_is_refused_and_not_repeated",
    ),
    Mutant(
        "RT22",
        "caller",
        'return _TOKEN.sub("srm_…", short)',
        "return short",
        "test_caller.py::test_RT22_a_token_in_a_servers_words_is_not_shown",
    ),
    Mutant(
        "RT23",
        "cli/behind.py",
        '    if session.output == "table":  # what programs are given ends up in logs\n',
        "    print(room.access.login_link().reveal())\n"
        '    if session.output == "table":  # what programs are given ends up in logs\n',
        "regressions/test_rt_local.py::test_RT23_what_signs_in_is_told_to_people_alone_and_stands_in_no_file",
    ),
    Mutant(
        "RT24",
        "model/encoding.py",
        '    forms += [padded, padded.rstrip("=")]\n    for shift in range(3):',
        "    for shift in range(0):",
        "model/test_masking.py::test_every_secret_of_the_corpus_is_masked_whole_in_every_claimed_class",
    ),
    Mutant(
        "RT26",
        "service/policies/actors.py",
        "return actor.id.startswith(LOCAL)",
        'return actor.id.startswith("local")',
        "regressions/test_source.py::test_RT26_PO13_identities_are_compared_whole",
    ),
    Mutant(
        "RT27",
        "service/access/people.py",
        "                *sessions_of(snapshot, PREFIX + name),\n",
        "",
        "regressions/test_rt_web.py::test_RT27_whatever_ends_it_the_next_request_is_refused_for_every_login",
    ),
    Mutant(
        "RT28",
        "service/access/begun.py",
        'raise ConflictError("what the session was to begin with has changed")',
        "continue",
        "service/test_access.py::test_RT28_session_does_not_survive_a_new_password_set_while_it_begins",
    ),
    Mutant(
        "RT29",
        "server/auth.py",
        "SameSite=Strict; Max-Age",
        "SameSite=Lax; Max-Age",
        "server/test_app.py::test_RT29_the_session_cookie_is_bound_to_our_origin",
    ),
    Mutant(
        "RT30",
        "crypto/keyring.py",
        "key_id = _primitives.draw(_ID_BYTES)",
        "key_id = bytes(range(_ID_BYTES))",
        "regressions/test_rt_web.py::test_RT30_two_new_servers_share_no_key_and_know_none_of_each_others_tokens",
    ),
    Mutant(
        "RT31",
        "server/auth.py",
        'if headers.get("sec-fetch-site") is None and headers.get("origin") is None:',
        'if headers.get("sec-fetch-site") == headers.get("origin") == "":',
        "regressions/test_rt_web.py::test_RT31_no_route_changes_anything_for_another_site",
    ),
    Mutant(
        "RT32",
        "server/endpoint.py",
        'media_type: str = "application/json"',
        'media_type: str = "text/html"',
        "regressions/test_rt_web.py::test_RT32_no_parameter_of_any_route_becomes_markup",
    ),
    Mutant(
        "RT33",
        "server/airflow_api/place.py",
        'def no_token(_call: Call) -> dict[str, str]:\n    """Refuse a token without credentials,'
        ' as Airflow does unless everybody is an administrator."""\n',
        "def no_token(call):\n"
        "    from strongroom.server.endpoint import Answer\n"
        '    for where in call.query.get("next", ()):\n'
        '        return Answer(None, 303, headers={"location": where})\n',
        "regressions/test_rt_web.py::test_RT33_no_parameter_of_any_route_sends_anybody_elsewhere",
    ),
    Mutant(
        "RT34",
        "live/probing/address.py",
        "if found and all(is_listed(host, plain(one), listed) for one in found):",
        "if found:",
        "live/test_probe_address.py::test_SS01_other_spellings_of_loopback_are_not_asked",
    ),
    Mutant(
        "RT35",
        "insight/lint.py",
        "if field.danger and _word(field, value) in field.dangerous:",
        'if field.danger and _word(field, value) == "":',
        "insight/test_lint.py::test_what_looks_wrong_is_told_by_rule_level_and_field",
    ),
    Mutant(
        "RT36",
        "server/auth.py",
        "import binascii\n",
        "import binascii\nimport pickle\n",
        "regressions/test_source.py::test_RT36_IN15_nothing_that_is_stored_can_be_run",
    ),
    Mutant(
        "RT37",
        "audit/log.py",
        "return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)",
        "return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)",
        "regressions/test_rt_local.py::test_RT37_a_server_leaves_nothing_that_others_may_open_whatever_the_umask",
    ),
)
