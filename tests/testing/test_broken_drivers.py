"""The suite finds what is wrong with a driver, and nothing wrong with one that is whole."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest

from surroundings import without_options

pytestmark = pytest.mark.slow  # a minute: some of these drivers hang until they are given up

BROKEN = Path(__file__).parent / "broken_drivers.py"

FOUND = {
    "TestWhole": set(),
    "TestLosesTheErrorAfterItems": {
        "test_an_error_after_an_item_arrives_as_it_was",
        "test_items_before_an_error_are_not_lost",
    },
    "TestFlattensErrors": {
        "test_a_request_one_byte_larger_is_refused",
        "test_an_error_arrives_as_it_was",
        "test_an_error_is_raised_again_when_it_is_asked_for_again",
        "test_metadata_passes_beside_an_error",
    },
    "TestIgnoresLeaving": {
        "test_a_call_ends_when_its_time_is_over",
        "test_a_client_that_aborts_cancels_its_handler",
        "test_a_client_that_is_cancelled_cancels_its_handler",
        "test_a_client_that_leaves_hurts_no_other_call",
        "test_a_link_that_is_closed_leaves_its_calls",
        "test_a_server_that_dies_is_missed",
        "test_what_is_not_done_in_its_grace_is_cancelled",
    },
    "TestUnboundedQueue": {
        "test_a_client_that_does_not_read_stops_the_server",
        "test_a_client_that_leaves_a_stream_unread_cancels_its_handler",
        "test_a_client_that_waits_to_send_ends_when_its_time_is_over",
        "test_a_server_that_does_not_read_stops_the_client",
        "test_a_server_that_rests_gets_all_and_is_never_far_behind",
        "test_a_slow_reader_gets_all_and_is_never_far_behind",
    },
    "TestForgetsMetadata": {"test_metadata_passes_both_ways"},
    "TestBelievesItsClient": {"test_a_client_does_not_say_who_it_is"},
    "TestForgetsTheTimeLimit": {
        "test_a_call_ends_when_its_time_is_over",
        "test_the_head_arrives",
        "test_what_has_no_time_left_is_not_started",
    },
    "TestDropsWhatCameBeforeAFailure": {
        "test_a_stream_that_is_cut_off_is_no_short_stream",
        "test_what_came_in_time_is_given_out_to_a_reader_that_is_late",
    },
    "TestLosesWhatNobodyWaitsForAnyMore": {"test_who_stops_waiting_for_an_item_loses_none"},
    "TestTakesOneByteMore": {
        "test_a_later_frame_one_byte_larger_is_refused",
        "test_a_request_one_byte_larger_is_refused",
    },
    "TestTakesWhatItDoesNotDeclare": {"test_a_shape_that_is_not_declared_is_refused"},
    "TestHasNoGrace": {
        "test_a_listener_that_drains_takes_no_new_call",
        "test_what_is_not_done_in_its_grace_is_cancelled",
    },
    "TestLeavesSockets": {"test_nothing_is_left_behind"},
    "TestLeavesTasks": {"test_a_client_does_not_say_who_it_is", "test_metadata_passes_both_ways"},
}
"""All that fails, by driver."""

AMONG_OTHERS = {
    "TestDropsTheLastFrame": {"test_items_come_in_order", "test_the_last_item_comes_with_the_end"},
    "TestEndsWellWhenCutOff": {
        "test_a_stream_that_is_cut_off_is_no_short_stream",
        "test_a_server_that_aborts_is_missed",
        "test_a_server_that_dies_is_missed",
    },
    "TestWaitsForMore": {
        "test_the_first_item_is_out_before_there_is_a_second",
        "test_both_sides_go_in_lock_step",
    },
    "TestOneCallAtATime": {"test_a_hundred_calls_go_side_by_side_on_one_link"},
}
"""What has to fail of drivers that are so broken that more does."""


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The tests that fail, by driver: in a run without this project's settings, as elsewhere."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers --strict-config\nfilterwarnings = error\n")
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "--noconftest", "-c", "pytest.ini", "-q", f"--junit-xml={report}"]
    ended = subprocess.run(
        [*command, str(BROKEN)], cwd=folder, env=without_options(), capture_output=True, text=True, check=False
    )
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED, ended.stdout + ended.stderr
    found: dict[str, set[str]] = defaultdict(set)
    for case in ElementTree.parse(report).iter("testcase"):
        names = found[str(case.get("classname")).rpartition(".")[2]]
        if case.find("failure") is not None or case.find("error") is not None:
            names.add(str(case.get("name")).partition("[")[0])
    return found


@pytest.mark.parametrize("driver", FOUND)
def test_a_driver_that_breaks_a_promise_fails_the_tests_of_it_and_no_other(
    failed: dict[str, set[str]], driver: str
) -> None:
    assert driver in failed
    assert failed[driver] == FOUND[driver]


@pytest.mark.parametrize("driver", AMONG_OTHERS)
def test_a_driver_that_breaks_much_fails_the_tests_of_it_among_others(failed: dict[str, set[str]], driver: str) -> None:
    assert failed[driver] >= AMONG_OTHERS[driver]


def test_every_broken_driver_is_looked_at(failed: dict[str, set[str]]) -> None:
    assert set(failed) == {*FOUND, *AMONG_OTHERS}
