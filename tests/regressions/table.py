"""
What leaked in other products: for each id the tests that prove it does not here.

A test that is renamed is renamed here too: `test_table.py` looks for each of them.
"""

from __future__ import annotations


class Row:
    """
    One id.

    Args:
        what: what leaked, or what is tried.
        tests: `file::name`, below `tests/`.
    """

    def __init__(self, what, *tests):
        self.what = what
        self.tests = tests


REGRESSIONS = {
    "RT01": Row(
        "Users with READ got sensitive connection fields from API and UI (CVE-2025-54831)",
        "airflow_api/test_attacks.py::test_RT01_a_variable_in_clear_is_a_reveal_on_record",
        "airflow_api/test_attacks.py::test_RT01_no_route_shows_a_secret_to_any_role",
        "airflow_api/test_attacks.py::test_RT01_whoever_may_neither_reveal_nor_read_sees_stars",
        "server/api/test_leaks.py::test_RT01_no_answer_but_those_that_hand_secrets_out_holds_one",
        "server/api/test_openapi.py::test_RT01_no_answer_but_those_that_hand_secrets_out_has_a_member_for_one",
    ),
    "RT02": Row(
        "The edit form carried the secret to the browser (CVE-2022-46651)",
        "regressions/test_rt_shown.py::test_RT02_what_an_edit_starts_from_holds_no_secret",
    ),
    "RT03": Row(
        "A crafted URL showed the configuration of a task unmasked (CVE-2023-40712)",
        "server/api/test_entries.py::test_CR10_RT03_only_known_parameters_with_known_values_are_taken",
        "server/api/test_leaks.py::test_RT03_no_parameter_turns_hiding_off",
    ),
    "RT04": Row(
        "The configuration endpoint told what expose_config was to hide (CVE-2021-26559, CVE-2023-45348)",
        "server/api/test_place.py::test_RT04_the_settings_in_force_hold_no_text_that_was_not_chosen",
        "regressions/test_rt_shown.py::test_RT04_of_settings_only_words_of_our_own_are_shown",
    ),
    "RT05": Row(
        "A limited role read variables and connections through the UI (CVE-2024-28746)",
        "regressions/test_rt_shown.py::test_RT05_role_verb_kind_matrix_agrees_for_ui_and_api",
        "server/api/test_matrix.py::test_AA02_RT05_what_a_role_may_do_to_a_kind_is_what_its_policy_says",
    ),
    "RT06": Row(
        "Creating in bulk with overwrite changed without the right to change (CVE-2025-62503)",
        "airflow_api/test_attacks.py::test_RT06_AA03_bulk_is_allowed_by_the_verb_that_happens",
        "airflow_api/test_attacks.py::test_RT06_deleting_is_not_writing",
        "service/test_rights.py::test_RT06_a_batch_is_refused_whole_for_one_that_may_not_be_written",
        "regressions/test_rt_shown.py::test_RT06_whoever_may_look_changes_nothing_by_any_way_to_write_many",
    ),
    "RT07": Row(
        "Variables were imported without a login (CVE-2021-38540)",
        "airflow_api/test_attacks.py::test_AA01_every_route_needs_an_identity",
        "server/api/test_matrix.py::test_AA01_RT07_RT08_no_route_but_a_login_answers_who_is_nobody",
        "server/api/test_openapi.py::test_AA01_only_logins_are_public",
    ),
    "RT08": Row(
        "The API was open by default (CVE-2020-13927)",
        "server/api/test_matrix.py::test_AA01_RT07_RT08_no_route_but_a_login_answers_who_is_nobody",
        "server/test_app.py::test_AA01_RT08_every_route_but_the_listed_answers_401_without_a_credential",
    ),
    "RT09": Row(
        "The right to a sibling was used, and `~` passed over the filter of each object (CVE-2026-22922)",
        "regressions/test_rt_shown.py::test_RT09_no_route_gives_a_bounded_token_what_is_not_its_own",
        "server/api/test_cursor.py::test_RT09_a_cursor_of_another_actor_deployment_or_question_is_refused",
        "server/api/test_deployments.py::test_RT09_a_cursor_of_one_is_none_in_the_other",
        "server/api/test_entries.py::test_RT09_an_order_is_its_actors_own",
        "server/api/test_matrix.py::test_RT09_RT10_lists_counts_and_clashes_hold_only_what_may_be_seen",
    ),
    "RT10": Row(
        "Names, audit rows and import errors of others were listed (CVE-2026-28563, CVE-2024-26280)",
        "server/api/test_audit.py::test_RT10_whoever_sees_some_entries_sees_records_about_those_and_no_others",
        "server/api/test_changes.py::test_RT10_only_what_may_be_seen_is_told",
        "server/api/test_entries.py::test_RT10_what_is_deleted_is_told_only_to_who_may_see_it",
        "server/api/test_matrix.py::test_RT09_RT10_lists_counts_and_clashes_hold_only_what_may_be_seen",
        "server/api/test_matrix.py::test_RT10_what_may_not_be_seen_is_denied_whether_or_not_it_exists",
        "service/test_changes.py::test_RT10_an_actor_is_told_of_what_he_may_list_and_cannot_count_the_rest",
        "service/test_house_policies.py::test_RT10_a_role_for_one_team_sees_that_team_alone",
        "service/test_reading.py::test_RT10_a_hint_names_only_what_the_actor_may_list",
        "service/test_rights.py::test_RT10_a_page_is_full_and_goes_on_over_what_is_not_seen",
        "service/test_rights.py::test_RT10_a_refusal_is_the_same_for_what_is_and_what_is_not",
        "service/test_rights.py::test_RT10_a_search_for_a_hidden_name_finds_what_one_for_none_does",
        "service/test_rights.py::test_RT10_rows_counts_and_clashes_are_of_what_the_actor_may_see",
    ),
    "RT11": Row(
        "Keys of extra were hidden by a list of words, the others shown (apache/airflow#58514)",
        "airflow_api/test_attacks.py::test_RT11_a_connection_of_a_type_nobody_knows_shows_nothing_of_extra",
        "airflow_api/test_attacks.py::test_RT11_all_of_extra_is_hidden_but_what_is_declared_public",
        "server/api/test_reveal.py::test_RT11_a_view_of_the_same_entry_shows_nothing",
        "regressions/test_rt_shown.py::test_RT11_what_nobody_declared_public_is_hidden_however_harmless_it_looks",
    ),
    "RT12": Row(
        "A masked export was imported again as `***`",
        "airflow_api/test_attacks.py::test_RT12_a_variable_written_back_as_shown_keeps_its_secret",
        "airflow_api/test_attacks.py::test_RT12_bulk_and_upserts_keep_it_too",
        "airflow_api/test_attacks.py::test_RT12_stars_moved_to_another_place_reveal_and_keep_nothing",
        "airflow_api/test_attacks.py::test_RT12_three_stars_are_never_stored",
        "airflow_api/test_attacks.py::test_RT12_what_was_shown_and_written_back_keeps_every_secret",
        "server/api/test_batch.py::test_RT12_a_mask_in_a_batch_overwrites_nothing_unless_it_is_meant",
        "server/api/test_entries.py::test_RT12_a_mask_in_any_form_of_a_connection_keeps",
        "server/api/test_entries.py::test_RT12_a_mask_where_no_secret_was_is_refused",
        "server/api/test_entries.py::test_RT12_a_mask_written_back_keeps_the_value_and_says_so",
        "server/api/test_entries.py::test_RT12_a_view_written_back_destroys_nothing",
        "server/api/test_entries.py::test_RT12_there_is_nothing_to_keep_of_what_does_not_stand",
    ),
    "RT13": Row(
        "A value that was never registered with the masker was shown (CVE-2022-27949)",
        "model/test_secret.py::test_no_way_of_showing_it_shows_the_value",
        "regressions/test_rt_shown.py::test_RT13_a_value_that_nothing_has_read_yet_is_hidden_everywhere",
    ),
    "RT14": Row(
        "Text was cut first and masked later (CVE-2025-68438)",
        "model/test_masking.py::test_a_long_secret_cut_by_a_line_limit_leaves_less_than_one_block",
        "model/test_masking.py::test_every_claimed_class_survives_being_split_over_two_writes",
        "regressions/test_rt_local.py::test_RT14_a_token_that_stands_across_the_cut_of_a_message_shows_no_part",
    ),
    "RT15": Row(
        "After vendoring there were two maskers, and patterns in one of them (CVE-2025-66388)",
        "regressions/test_rt_local.py::test_RT15_a_forked_child_hides_what_its_parent_hid",
        "regressions/test_rt_local.py::test_RT15_there_is_one_class_by_whatever_path_it_is_imported",
        "regressions/test_rt_local.py::test_RT15_what_a_child_of_a_child_prints_is_masked_too",
    ),
    "RT16": Row(
        "The text of a template error held the value (apache/airflow#57467)",
        "model/test_template.py::test_what_is_no_reference_is_refused_with_its_place_and_without_the_text",
        "regressions/test_rt_shown.py::test_RT16_a_value_that_cannot_be_rendered_is_not_in_the_error",
        "regressions/test_rt_shown.py::test_RT16_what_refers_to_nothing_is_refused_without_the_value",
        "test_leaks.py::test_a_malformed_reference",
    ),
    "RT17": Row(
        "The error of a URI parser held the URI with its password (apache/airflow#62180)",
        "model/test_connection.py::test_a_refusal_tells_where",
        "model/test_connection.py::test_no_refusal_says_any_of_the_text",
        "regressions/test_rt_shown.py::test_RT17_IN03_a_connection_that_cannot_be_parsed_names_itself_and_none_of_its_text",
        "test_leaks.py::test_a_malformed_connection",
    ),
    "RT18": Row(
        "Tracebacks in the UI showed arguments (CVE-2025-65995)",
        "server/test_app.py::test_RT18_RT19_what_nobody_expected_is_told_to_nobody",
        "server/test_logs.py::test_RT18_of_an_exception_its_class_and_its_places_are_told",
        "test_leaks.py::test_a_command_that_fails_unexpectedly_tells_its_place_and_not_its_text",
    ),
    "RT19": Row(
        "The stack of an SQL error was returned although that was switched off (CVE-2026-30912)",
        "server/api/test_leaks.py::test_RT19_LK01_nothing_of_it_is_in_the_log_or_the_record",
        "server/test_app.py::test_RT18_RT19_what_nobody_expected_is_told_to_nobody",
        "test_backend.py::test_foreign_error_is_unavailable_and_only_its_class_is_told",
        "test_leaks.py::test_a_client_that_quotes_secrets_in_its_exceptions",
    ),
    "RT20": Row(
        "Proxy addresses with credentials were in the logs of tasks (CVE-2024-45784, CVE-2025-68675)",
        "regressions/test_rt_local.py::test_RT20_no_credential_of_an_address_is_logged_however_it_is_spelled",
        "server/test_logs.py::test_RT20_TL04_credentials_and_line_breaks_do_not_reach_the_log",
        "service/test_bundle.py::test_hosts_show_only_where_they_are_asked_for_and_never_user_info",
        "vendors/test_transport.py::test_no_proxy_of_the_environment_is_used",
    ),
    "RT21": Row(
        "Passwords given to the command line stood in the audit table (CVE-2020-17511, CVE-2024-50378)",
        "cli/test_access.py::test_LK05_password_on_the_command_line_is_refused_and_not_repeated",
        "cli/test_remote.py::test_RT21_no_secret_is_taken_from_the_command_line",
        "test_leaks.py::test_a_secret_on_the_command_line_is_refused_and_not_repeated",
    ),
    "RT22": Row(
        "The token of a task was printed in logs (CVE-2026-31987)",
        "cli/test_remote.py::test_RT22_no_command_shows_the_token_it_asks_with",
        "server/api/test_access.py::test_RT22_no_answer_about_people_or_tokens_holds_what_proves_them",
        "server/test_app.py::test_JW10_a_token_in_the_address_is_no_credential_and_not_logged",
        "service/test_access.py::test_token_is_of_the_shape_scanners_know_and_kept_nowhere",
        "test_caller.py::test_RT22_a_token_in_a_servers_words_is_not_shown",
        "test_caller.py::test_RT22_no_frame_log_or_repr_holds_token_or_value",
    ),
    "RT23": Row(
        "A generated password was printed (apache/airflow#63931)",
        "server/test_serve.py::test_programs_are_told_the_address_and_no_link",
        "server/test_serve.py::test_up_starts_it_behind_reuses_it_and_its_link_signs_in_once",
        "service/test_access.py::test_LK01_no_secret_is_in_any_file_error_or_record",
        "regressions/test_rt_local.py::test_RT23_what_signs_in_is_told_to_people_alone_and_stands_in_no_file",
    ),
    "RT24": Row(
        "Secrets in Base64, URL-encoded or of several lines passed the masker (apache/airflow#36688)",
        "model/test_masking.py::test_a_stream_of_the_corpus_gives_what_masking_the_whole_gives",
        "model/test_masking.py::test_every_line_of_a_secret_of_several_lines_is_masked_alone",
        "model/test_masking.py::test_every_secret_of_the_corpus_is_masked_whole_in_every_claimed_class",
    ),
    "RT26": Row(
        "`lstrip` of a name served as a check of its prefix (CVE-2021-35936, CVE-2026-45426)",
        "regressions/test_source.py::test_RT26_PO13_identities_are_compared_whole",
        "regressions/test_source.py::test_RT26_every_exception_is_still_needed",
    ),
    "RT27": Row(
        "Logging out ended no token, and the fix missed two ways to log in (CVE-2025-57735, CVE-2026-48726)",
        "regressions/test_rt_web.py::test_RT27_whatever_ends_it_the_next_request_is_refused_for_every_login",
        "service/test_access.py::test_RT27_session_ends_at_once_with",
    ),
    "RT28": Row(
        "A session was fixed before the login, and outlived a new password (CVE-2022-38054, CVE-2023-40273)",
        "server/api/test_access.py::test_AA10_a_new_login_has_a_new_id_and_ends_the_session_it_came_with",
        "service/test_access.py::test_AA10_id_that_was_brought_along_is_never_taken_over",
        "service/test_access.py::test_RT28_session_does_not_survive_a_new_password_set_while_it_begins",
    ),
    "RT29": Row(
        "A cookie of path / leaked to applications beside (CVE-2026-28779)",
        "server/api/test_access.py::test_a_browser_keeps_its_session_in_a_cookie_that_no_script_reads",
        "server/test_app.py::test_RT29_the_session_cookie_is_bound_to_our_origin",
    ),
    "RT30": Row(
        "One default key signed the sessions of every site (CVE-2020-17526)",
        "regressions/test_rt_web.py::test_RT30_two_new_servers_share_no_key_and_know_none_of_each_others_tokens",
        "server/test_serve.py::test_without_a_store_it_is_told_what_to_type",
        "test_barrier.py::test_create_without_a_wrapper_is_refused_and_makes_no_key",
        "test_barrier.py::test_open_of_a_deployment_without_a_key_names_the_next_command",
    ),
    "RT31": Row(
        "Forms of other sites changed things (CVE-2017-17835)",
        "regressions/test_rt_web.py::test_RT31_a_read_of_another_site_gets_no_leave_to_look_at_the_answer",
        "regressions/test_rt_web.py::test_RT31_no_route_changes_anything_for_another_site",
        "server/test_app.py::test_UI03_a_browser_is_not_signed_in_from_another_site",
        "server/test_app.py::test_UI03_a_change_by_cookie_must_come_from_our_own_pages",
        "ui/test_attacks.py::test_UI03_RT31_a_form_from_elsewhere_or_without_its_token_changes_nothing",
    ),
    "RT32": Row(
        "The parameter `origin` was a script, five times (CVE-2020-13944 to CVE-2021-45229)",
        "regressions/test_rt_web.py::test_RT32_no_parameter_of_any_route_becomes_markup",
        "ui/test_attacks.py::test_RT32_no_page_has_a_script_style_or_handler_of_its_own",
        "ui/test_attacks.py::test_UI01_RT32_what_is_typed_into_any_form_comes_back_inert",
        "ui/test_attacks.py::test_UI02_RT32_what_stands_in_an_address_is_inert",
    ),
    "RT33": Row(
        "A parameter sent people to any address (CVE-2022-40754, CVE-2022-45402)",
        "regressions/test_rt_web.py::test_RT33_no_parameter_of_any_route_sends_anybody_elsewhere",
        "ui/test_attacks.py::test_RT33_one_never_goes_on_to_another_place",
    ),
    "RT34": Row(
        "Testing a connection reached whatever it named (CVE-2023-37379)",
        "airflow_api/test_inside.py::test_a_test_of_a_connection_is_a_look_at_a_listed_network",
        "server/api/test_place.py::test_testing_connections_is_off_unless_it_is_switched_on",
        "live/test_probe_address.py::test_SS01_a_listed_name_that_leads_to_a_special_address_is_not_asked",
        "live/test_probe_address.py::test_SS01_a_name_is_looked_up_once_and_leads_nowhere_else_afterwards",
        "live/test_probe_address.py::test_SS01_other_spellings_of_loopback_are_not_asked",
        "live/test_probe_fence.py::test_SS01_SS05_an_address_that_was_not_looked_at_ends_the_process",
        "server/api/test_reach.py::test_SS04_one_actor_has_five_tests_a_minute",
    ),
    "RT35": Row(
        "Fields of a connection chose files and servers that ran code (CVE-2023-39553, CVE-2023-40195)",
        "insight/test_lint.py::test_what_is_dangerous_is_a_value_the_field_can_have",
        "insight/test_lint.py::test_what_looks_wrong_is_told_by_rule_level_and_field",
        "live/test_probe_address.py::test_SS03_what_is_no_host_is_not_asked",
        "live/test_probe_fence.py::test_SS05_a_program_or_a_file_of_others_is_refused",
        "live/test_probe_options.py::test_SS05_what_is_not_on_the_list_is_not_used_for_others",
    ),
    "RT36": Row(
        "Stored data was unpickled (CVE-2023-50943, CVE-2026-25917)",
        "regressions/test_source.py::test_RT36_IN15_modules_are_imported_by_names_of_our_own",
        "regressions/test_source.py::test_RT36_IN15_nothing_that_is_stored_can_be_run",
    ),
    "RT37": Row(
        "Files were made under the umask of whoever ran it (CVE-2022-38170, CVE-2024-29735)",
        "audit/test_log.py::test_files_and_folder_are_private",
        "regressions/test_rt_local.py::test_RT37_a_server_leaves_nothing_that_others_may_open_whatever_the_umask",
        "store/test_sqlite.py::test_file_log_and_folder_are_the_owners_alone_whatever_the_umask",
        "test_assembly.py::test_no_folder_of_a_store_is_open_to_others_whatever_the_umask",
    ),
}

LEFT_OUT = {
    "RT25": "of the masker alone: tests/model/test_masking.py, secrets that overlap",
    "RT38": "of clients of other servers: tests/vendors/test_tls.py",
    "NM05": "the table of attacks has no such row",
    "IN05": "the table of attacks has no such row",
    "DS06": "the table of attacks has no such row",
}
