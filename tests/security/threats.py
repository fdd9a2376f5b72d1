"""Who attacks what, how, and which tests stand against it: the table of threats, checked against the tests themselves."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Threat:
    """*tests* are "file::test", without the parameters."""

    number: int
    attack: str
    tests: tuple[str, ...]


HERE = "tests/security/"
PAGES, NETWORK, TENANTS, FLOODS, HOUSE, PLANTED = (f"{HERE}test_{name}.py::test_" for name in ("local_pages", "network", "tenants", "floods", "house", "planted"))
AGENT, RELAY, LEDGER, PAGE = "tests/agent/test_", "tests/relay/test_", "tests/ledger/test_", "tests/dashboard/test_"

THREATS = (
    Threat(1, "a page of elsewhere reads the agent", (
        f"{PAGES}another_page_reads_not_one_byte", f"{PAGE}real.py::test_another_sites_page_gets_nothing_from_the_agent", f"{AGENT}server.py::test_a_foreign_page_gets_not_one_byte_of_data")),
    Threat(2, "a name is pointed at this computer", (f"{PAGES}only_this_computers_three_names_with_the_port_are_answered", f"{PAGES}no_other_way_to_say_the_name_helps")),
    Threat(3, "a page of elsewhere posts", (f"{PAGES}what_another_page_posts_is_refused", f"{PAGES}nothing_that_looks_like_reading_changes_anything")),
    Threat(4, "a channel is hijacked", (
        f"{PAGES}a_channel_is_not_opened_to_another_page", f"{RELAY}serve.py::test_a_foreign_page_gets_no_channel_and_no_ticket", f"{RELAY}access.py::test_a_ticket_lets_one_viewer_in_once",
        f"{RELAY}access.py::test_a_ticket_is_of_one_page_and_half_a_minute")),
    Threat(5, "another program takes the agent's port", (f"{NETWORK}a_program_that_took_our_port_is_told_nothing",)),
    Threat(6, "a message is changed on the way", (f"{NETWORK}every_flipped_bit_of_a_request_is_refused", f"{LEDGER}signing.py::test_every_flipped_bit_of_a_header_is_noticed")),
    Threat(7, "a message is sent again", (f"{NETWORK}nothing_that_was_sent_changes_anything_when_it_is_sent_again", f"{NETWORK}a_hundred_thousand_replays_change_nothing")),
    Threat(8, "a sign of life is sent again", (f"{NETWORK}a_replayed_bye_keeps_nobody_from_being_seen", f"{RELAY}push.py::test_a_replayed_beat_or_bye_changes_nothing")),
    Threat(9, "a portal hears a secret", (f"{NETWORK}a_portal_learns_no_secret_and_moves_nothing", "tests/compliance/test_senders.py::test_our_own_agent_passes_every_scene")),
    Threat(10, "an answer is forged", (f"{NETWORK}a_portal_learns_no_secret_and_moves_nothing", "tests/compliance/test_senders.py::test_our_own_agent_passes_every_scene")),
    Threat(11, "a push key is stolen", (
        f"{NETWORK}a_stolen_push_key_reads_nothing_and_touches_no_other_machine", f"{NETWORK}a_stolen_key_ends_within_a_minute_of_its_revocation", f"{RELAY}access.py::test_a_push_key_cannot_read")),
    Threat(12, "a read key leaks", (
        f"{RELAY}access.py::test_a_key_that_expires_is_out_at_that_moment", f"{RELAY}access.py::test_a_revoked_key_is_out_within_a_minute_wherever_it_was_used", f"{LEDGER}keytext.py::*",
        f"{RELAY}logs.py::test_a_key_is_never_written_in_full")),
    Threat(13, "one tenant asks for another's", (
        f"{TENANTS}in_twenty_thousand_answers_there_is_no_foreign_canary", f"{TENANTS}in_a_million_answers_there_is_no_foreign_canary",
        f"{TENANTS}the_same_over_the_whole_app_with_keys_mounts_and_posts", f"{TENANTS}a_stranger_s_alerts_and_live_channel_tell_nothing",
        f"{RELAY}access.py::test_foreign_and_absent_are_the_same_answer")),
    Threat(14, "one tenant uses everything up", (f"{RELAY}access.py::test_many_keys_do_not_give_a_tenant_more_than_its_share", f"{RELAY}push.py::test_a_source_has_so_many_records_and_no_more")),
    Threat(15, "the store is stolen", (f"{RELAY}keys.py::test_the_store_holds_nothing_that_opens", f"{RELAY}live_channels.py::test_the_shelf_holds_no_ticket_that_could_be_used")),
    Threat(16, "a message explodes", (f"{FLOODS}bombs_leave_no_more_than_ten_megabytes",)),
    Threat(17, "a message is poison, or never ends", (
        f"{FLOODS}poison_is_refused_and_costs_little", f"{LEDGER}shell.py::test_a_caller_who_never_finishes_its_head_is_cut_off", f"{LEDGER}shell.py::test_a_body_that_drips_is_refused")),
    Threat(18, "time tells how near a guess is", (
        f"{FLOODS}no_secret_is_compared_letter_by_letter", f"{FLOODS}where_secrets_are_checked_the_comparison_takes_constant_time",
        f"{FLOODS}a_key_that_nobody_knows_is_as_much_work_as_one_that_is_known")),
    Threat(19, "a name is a script", (f"{PAGE}page.py::test_names_are_text_whatever_they_contain", f"{PAGE}page.py::test_the_policy_holds_without_a_message",
        f"{HERE}test_written.py::test_the_policy_of_the_page_lets_no_script_in_but_ours")),
    Threat(20, "a name is a command to a terminal, a log or a spreadsheet", (
        f"{HERE}test_written.py::test_a_name_is_no_command_to_a_spreadsheet", f"{HERE}test_written.py::test_a_name_is_no_command_to_a_terminal",
        f"{AGENT}log.py::test_an_event_is_one_line_whatever_is_in_it", f"{RELAY}logs.py::test_an_event_is_one_line_whatever_it_says")),
    Threat(21, "a secret of a transcript leaves", (f"{PLANTED}of_five_hundred_planted_secrets_none_leaves",)),
    Threat(22, "a link or a file is planted", (
        f"{HOUSE}a_secret_that_somebody_prepared_is_not_read", f"{HOUSE}what_is_written_replaces_a_planted_link_instead_of_following_it", f"{HOUSE}nothing_is_read_in_a_way_that_can_run_it")),
    Threat(23, "a library turns bad", (f"{HOUSE}everything_that_is_installed_is_pinned_by_hash", f"{HOUSE}what_npm_installs_is_pinned_by_hash", "tests/test_supply.py::*")),
    Threat(24, "the relay is made to call others", (f"{HOUSE}a_relay_calls_nobody",)),
    Threat(25, "the relay is set up dangerously", (f"{HOUSE}a_relay_that_is_set_up_dangerously_does_not_start", f"{RELAY}settings.py::test_what_must_not_start_is_refused_with_what_to_do")),
)  # fmt: skip
