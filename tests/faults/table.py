"""Writes docs/faults.md: each fault, what the service does, its test and the recovery time that the test measured.

python -m tests.faults.table            runs the tests, then writes the table
python -m tests.faults.table FILE       takes what a run with MINDWIRE_FAULTS_JSON=FILE measured
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "faults.md"
MEASURED = "MINDWIRE_FAULTS_JSON"

SIGNAL = "tests/faults/test_matrix_signal.py"
CONNECTION = "tests/faults/test_matrix_connection.py"
SERVICE = "tests/faults/test_matrix_service.py"
OTHERS = "tests/faults/test_connection.py"
STALLS = "tests/faults/test_stalls.py"
CLIENTS = "tests/mindwire/api/test_slow_clients.py"
OSC = "tests/mindwire/sinks/test_osc_sink.py"
RECORDER = "tests/mindwire/sinks/test_recorder.py"
HANGS = "tests/mindwire/live/test_hangs.py"
RECORD = "tests/mindwire/live/test_record_command.py"
SUPERVISOR = "tests/mindwire/live/test_supervisor.py"
STREAM = "tests/mindwire/live/test_stream.py"
EVENTS = "tests/mindwire/signal/test_signal_events.py"
SERVING = "tests/mindwire/serve/test_serving.py"
WORKERS = "tests/mindwire/serve/test_gateway.py"
CONTROLLED = "tests/mindwire/serve/test_serve_control.py"
CONTROL = "tests/mindwire/live/test_live_control.py"
HUB = "tests/mindwire/sinks/test_hub.py"
CRASHES = "tests/mindwire/serve/test_configuration_crashes.py"
CLUSTER = "tests/faults/test_ray_cluster.py"
RUNNING = "tests/faults/test_running_system.py"
ON_REQUEST = "tests/mindwire/serve/test_recording_on_request.py"
SESSIONS = "tests/mindwire/sessions/test_sessions.py"
BAD = f"{SIGNAL}::test_bad_samples_make_their_windows_invalid"
CHANGED = f"{CONNECTION}::test_what_comes_back_changed_is_refused_with_what_changed"
REFUSED = "It is refused with what changed; the right one is taken again."


@dataclass(frozen=True)
class Row:
    fault: str
    does: str
    test: str
    note: str = ""


ROWS = (
    Row(
        "Outlet killed, back with its identity after 3 s",
        "`lost`; the stream is found again by its identity, checked, and goes on with fresh filters.",
        f"{CONNECTION}::test_restarted_with_its_identity_after_three_seconds",
    ),
    Row(
        "The same with the preset bcic2a (window 4 s, settling 2.1 s)",
        "As above; no window holds samples of both sides.",
        f"{CONNECTION}::test_restarted_with_the_preset_within_window_and_settling_and_one_and_a_half_seconds",
        "at most window + settling + 1.5 s",
    ),
    Row("Back with another source_id", "Taken for another device and named; waits on.", f"{CHANGED}[source_id]"),
    Row("Back with another rate", REFUSED, f"{CHANGED}[rate]"),
    Row("Back with another number of channels", REFUSED, f"{CHANGED}[channel count]"),
    Row("Back with its channels reordered", REFUSED, f"{CHANGED}[order]"),
    Row(
        "Silent for 3 s but alive",
        "`stale`, not ready; when samples come, a gap: a new segment.",
        f"{CONNECTION}::test_silent_but_alive_is_stale_and_then_goes_on",
    ),
    Row(
        "Outlet stopped for 5 s and continued",
        "`stale`; its backlog is conditioned whole, only the newest window decoded, the others counted.",
        f"{CONNECTION}::test_stopped_for_five_seconds_and_continued_is_not_lost",
    ),
    Row(
        "Outlet frozen and replaced",
        "The frozen one is left for the living one of its identity.",
        f"{OTHERS}::test_a_frozen_outlet_that_was_replaced_is_left",
    ),
    Row(
        "Our process stopped for 5 s",
        "Goes on with the newest window; those skipped are counted and reported.",
        f"{STALLS}::test_our_process_stopped_for_five_seconds_goes_on_with_the_newest",
    ),
    Row(
        "Consumer stalled for 8 s, small buffer",
        "What the outlet dropped is a gap: a new segment.",
        f"{STALLS}::test_a_stall_longer_than_the_outlets_buffer_loses_samples_and_says_so",
    ),
    Row(
        "1 sample lost",
        "Bridged; windows that hold it, or what it leaves in the filters, are flagged `gap` or `settling` and invalid.",
        f"{SIGNAL}::test_one_lost_sample_is_bridged_and_flagged",
    ),
    *(
        Row(
            f"{n} samples lost",
            "A gap: filters and window start again, nothing is predicted until a whole window is contiguous.",
            f"{SIGNAL}::test_more_lost_samples_start_a_new_segment[{n}]",
        )
        for n in (5, 50, 500)
    ),
    Row(
        "Samples delivered in bursts of 1 s",
        "Every window is decoded, late; no gap.",
        f"{SIGNAL}::test_a_burst_of_a_second_is_decoded_in_full",
    ),
    Row(
        "A backlog of 3 s",
        "Only the newest window is decoded, the others are counted.",
        f"{OTHERS}::test_a_long_backlog_is_skipped_but_what_follows_is_right",
    ),
    Row(
        "Stamps jitter by ± 5 ms",
        "The stamps are smoothed.",
        f"{SIGNAL}::test_jitter_of_five_milliseconds_is_no_gap",
        "undisturbed",
    ),
    Row(
        "Clock drifts by 200 ppm",
        "Followed; the drift is in the status.",
        f"{SIGNAL}::test_a_drift_of_200_ppm_is_followed_and_reported",
        "undisturbed",
    ),
    *(
        Row(
            f"Clock jumps by {n:+d} s",
            "It is reported as an event; a new segment starts.",
            f"{SIGNAL}::test_a_clock_that_jumps_breaks_the_signal_and_is_reported[{n}]",
        )
        for n in (10, -10)
    ),
    Row(
        "Clock 1000 s off",
        "Times are in that clock; no latency is made up.",
        f"{SIGNAL}::test_a_clock_a_thousand_seconds_off_changes_nothing",
        "undisturbed",
    ),
    Row(
        "NaN",
        "The last good value is held; its windows are flagged `non_finite` and invalid.",
        f"{BAD}[nan-non_finite]",
    ),
    Row(
        "Inf",
        "The last good value is held; its windows are flagged `non_finite` and invalid.",
        f"{BAD}[inf-non_finite]",
    ),
    Row("A flat channel", "After 0.2 s flagged `flat`, invalid.", f"{BAD}[flat channel-flat]"),
    Row("A saturated channel", "Flagged `saturated`, invalid.", f"{BAD}[saturated channel-saturated]"),
    Row(
        "One bad channel of eight",
        "Interpolated and marked.",
        f"{SIGNAL}::test_one_bad_channel_of_eight_is_interpolated_and_marked",
    ),
    Row("Detached cap: all flat", "After 0.2 s flagged `flat`, invalid.", f"{BAD}[detached cap-flat]"),
    Row("Amplitudes × 1000: a wrong unit", "Flagged `amplitude`, invalid.", f"{BAD}[x1000-amplitude]"),
    Row(
        "Time stamps at another rate, backwards, standing still, in milliseconds, of samples, no numbers",
        "A `rate` event says in which way they contradict the rate; windows are flagged `wrong_rate`, invalid; `--rate` accepts them.",
        f"{EVENTS}::test_stamps_that_contradict_the_rate_are_one_sentence",
        "4 s after the stamps are right, window and settling",
    ),
    Row(
        "A rate that is 1 to 5 % off",
        "Followed without a gap; a `rate` event, and windows flagged `rate`.",
        f"{EVENTS}::test_a_window_of_a_rate_that_is_off_is_marked_and_reported_once_and_a_wrong_one_is_not_valid",
        "valid",
    ),
    Row(
        "Gaps many times a second",
        "`gap` events at most once a second, with their count.",
        f"{EVENTS}::test_gaps_are_reported_at_most_once_a_second_and_counted_and_chunks_do_not_matter",
        "as a gap",
    ),
    Row(
        "Amplitudes × 0.001 and less",
        "After half a second flagged `amplitude`, invalid; an event names the unit that would fit.",
        f"{EVENTS}::test_signals_too_small_for_eeg_are_never_valid",
        "half a second and a window",
    ),
    Row(
        "A model that gives NaN or Inf",
        "Its predictions are flagged `decoder`, invalid; an `error` event; not ready.",
        f"{EVENTS}::test_a_decoder_that_gives_no_numbers_is_never_ready_and_is_reported",
        "with the next number",
    ),
    Row(
        "Uninitialised last sample",
        "Its stamp is never believed; no prediction comes of it, and the outlet is taken up again.",
        f"{SIGNAL}::test_an_uninitialised_last_sample_gives_no_prediction",
    ),
    Row(
        "Uninitialised sample within the signal",
        "Impossible values are held and flagged `amplitude` or `non_finite`, invalid.",
        f"{SIGNAL}::test_an_uninitialised_sample_within_is_flagged",
    ),
    Row(
        "Two live twins with one identity",
        "They change nothing while the known one lives; after it they are refused until one is left.",
        f"{CONNECTION}::test_twins_change_nothing_and_are_refused_until_one_is_left",
    ),
    Row(
        "Outlet without source_id, restarted",
        "Found again by name, type and host.",
        f"{CONNECTION}::test_an_outlet_without_source_id_is_taken_up_again",
    ),
    Row(
        "Stream of text",
        "Refused in a sentence; a signal that takes its place is decoded.",
        f"{SERVICE}::test_a_stream_of_text_is_refused_and_a_signal_that_takes_its_place_is_decoded",
    ),
    Row(
        "Websocket client stalled",
        "It loses the oldest predictions and receives their number; others are not affected; memory stays.",
        f"{CLIENTS}::test_client_that_stops_reading_changes_nothing_for_others",
        "others undisturbed",
    ),
    Row(
        "Websocket client vanished",
        "The connection is closed and forgotten.",
        f"{CLIENTS}::test_vanished_clients_are_forgotten",
        "others undisturbed",
    ),
    Row(
        "Websocket client flooding",
        "Closed with 1008.",
        f"{CLIENTS}::test_flooding_client_is_closed",
        "others undisturbed",
    ),
    Row(
        "Websocket client sending garbage",
        "Closed with the code of its offence.",
        f"{CLIENTS}::test_garbage_is_closed",
        "others undisturbed",
    ),
    Row(
        "500 websocket clients at once",
        "All are served, all are let go.",
        f"{CLIENTS}::test_five_hundred_clients_at_once",
        "others undisturbed",
    ),
    Row(
        "No program receives OSC messages",
        "Nothing; UDP reports no missing receiver.",
        f"{OSC}::test_without_a_receiver_nothing_fails",
        "others undisturbed",
    ),
    Row(
        "OSC messages cannot be sent",
        "They are left out and counted, the first in an `error` event; nothing waits.",
        f"{OSC}::test_what_cannot_be_sent_is_counted_reported_once_and_stalls_nothing",
        "others undisturbed",
    ),
    Row(
        "Disk full while recording",
        "An event tells that the recording has ended and where it is; predictions go on.",
        f"{SERVICE}::test_a_disk_that_is_full_stops_the_recording_and_nothing_else",
        "predictions undisturbed",
    ),
    Row(
        "While recording: a loss, a clock that jumps, a pause without data, a refused device, a restart",
        "The recording holds what the pipeline took; `mindwire verify` confirms every prediction in it.",
        f"{SERVICE}::test_a_recording_across_every_interruption_gives_its_predictions",
        "every prediction verified",
    ),
    Row(
        "`kill -9` of the service while recording",
        "The recorder, a process of its own, closes the file; at most a second is lost, here what stands beside.",
        f"{RECORDER}::test_a_recording_survives_the_service_and_gives_its_predictions",
        "the file loads and verifies",
    ),
    Row(
        "Bundle replaced on disk while loaded",
        "The loaded one runs on, byte for byte; a half-replaced one is refused at the next start.",
        f"{SERVICE}::test_the_bundle_is_replaced_on_disk_while_loaded",
        "undisturbed",
    ),
    Row(
        "`kill -9` of one of several worker processes",
        "An `error` event and `lost` with the reason; it is started again after a growing pause and goes on with what was learnt of the person; clients stay connected.",
        f"{WORKERS}::test_two_workers_predict_what_one_process_predicts_and_survive_each_other",
        "streams of other workers lose nothing",
    ),
    Row(
        "A worker process that does not answer",
        "Its streams are `stale` and not ready; after 15 s it is killed and started again.",
        f"{WORKERS}::test_two_workers_predict_what_one_process_predicts_and_survive_each_other",
        "streams of other workers lose nothing",
    ),
    Row(
        "`kill -9` of the service that has worker processes",
        "They end by themselves.",
        f"{WORKERS}::test_no_worker_outlives_its_gateway",
        "nothing is left running",
    ),
    Row(
        "On a cluster (`--ray`): a node is lost; a worker hangs; the head is lost, and with it all of Ray",
        "The streams of the node, and of the worker, begin elsewhere with what was learnt of the person; clients stay connected. Without a head all go on, which is reported; a worker that ends then has a successor once there is a head.",
        f"{CLUSTER}::test_streams_on_a_cluster_survive_a_node_a_hang_and_the_loss_of_the_head",
        "streams of other workers lose nothing",
    ),
    Row(
        "On a cluster: `kill -9` of the actor of a worker, or of the gateway",
        "The worker is ended and started again; without a gateway all end by themselves.",
        f"{CLUSTER}::test_streams_are_where_their_sources_are_seen_and_end_with_the_gateway",
        "nothing is left running",
    ),
    Row(
        "`kill -9` of a worker process whose streams' control was changed and paused",
        "Policy and pause are those that its successor begins with; the others keep theirs.",
        f"{CONTROLLED}::test_a_killed_worker_keeps_policy_and_pause_and_the_gateway_forwards",
        "no decision while paused",
    ),
    Row(
        "A stream that dies, or whose source is lost, while control is paused or changed",
        "It goes on with policy and pause as they were set, also if that was meanwhile, and reports from which prediction on.",
        f"{CONTROL}::test_a_reconnection_keeps_policy_and_pause_and_takes_commands_given_meanwhile",
        "no decision while paused",
    ),
    Row(
        "A client too slow for decisions",
        "Its predictions and axes are dropped before any decision; what is dropped is counted and reported to it.",
        f"{HUB}::test_a_slow_client_gets_all_decisions_and_only_predictions_and_axes_are_dropped",
        "no decision lost",
    ),
    Row(
        "`kill -9` at a random moment of a change of the configuration, with `--save-config`",
        "The settings file is the old or the new one, and the next start has its streams.",
        f"{CRASHES}::test_a_crash_leaves_the_old_configuration_or_the_new_one",
        "20 of 20 kills",
    ),
    Row(
        "24 streams in two workers: streams added, changed and removed, models swapped and rolled back, a worker killed",
        "Streams that are not touched go on; those whose model changes, too; the killed worker's begin again.",
        f"{RUNNING}::test_a_running_system_changes_and_untouched_streams_miss_nothing",
        "nothing missed, nothing doubled",
    ),
    Row(
        "A stream is removed while its loop hangs",
        "The answer comes within seconds; the other streams of the loop go on.",
        f"{SUPERVISOR}::test_the_removal_of_a_stream_that_hangs_is_bounded_and_the_others_go_on",
        "others undisturbed",
    ),
    Row(
        "`kill -9` of a service, gateway and workers, that records into a session",
        "The recorder closes the file; the next start marks the run `interrupted` and enters what it holds.",
        f"{ON_REQUEST}::test_recordings_begin_and_end_while_streams_run_and_survive_a_killed_service",
        "the run verifies",
    ),
    Row(
        "Two services, or worker processes, record one person's session",
        "The second is refused in a sentence that names the first; a dead one holds nothing.",
        f"{SESSIONS}::test_one_service_alone_writes_a_session_and_a_dead_one_holds_nothing",
    ),
    Row(
        "Disk full while a session is recorded",
        "An event; predictions go on; the run's end is entered in `session.json` once there is room.",
        f"{SESSIONS}::test_a_run_that_ends_while_the_disk_is_full_is_entered_once_there_is_room",
    ),
    Row(
        "Two services record one stream into one folder in the same second",
        "Each creates a file of its own; a name that is taken is never written to.",
        f"{RECORDER}::test_two_services_that_record_one_stream_into_one_folder_write_two_files",
        "two files",
    ),
    Row(
        "No descriptor is left for LSL",
        "The state says so; attempts go on with pauses of 1 to 30 s until one succeeds. The soft limit is raised to the hard one at the start.",
        f"{STREAM}::test_without_descriptors_it_goes_on_trying_with_growing_pauses_and_says_so",
        "with the next attempt",
    ),
    Row(
        "The terminal is closed (SIGHUP)",
        "As SIGTERM: clients are notified, and what was learnt is kept.",
        f"{SERVING}::test_a_signal_ends_a_live_service_within_two_seconds_and_clients_hear_it",
        "ended within 2 s",
    ),
    Row(
        "A stream's loop has not moved for 15 s (a driver, a decoder, a sink that hangs)",
        "`stale` and an `error` event with the reason; another thread takes its place, and the one that hangs can publish nothing more. After five failures in a row `failed`; `/health/live` is 503 while all streams hang. Ctrl-C ends the service.",
        f"{HANGS}::test_a_source_that_hangs_is_reported_and_replaced_and_what_it_then_says_is_not_heard",
        "at most 16 s, window and settling",
    ),
    Row(
        "Among several streams, one hangs in the live loop for 3 s or raises",
        "Another thread takes over the other streams; the one that hung gets a loop and a decoder of its own.",
        f"{HANGS}::test_among_many_streams_one_that_hangs_ends_at_most_itself",
        "others lose no prediction",
    ),
    Row(
        "The thread of a stream, or of the live loop, ends",
        "`stale` and an `error` event; another takes its place.",
        f"{HANGS}::test_when_the_thread_of_many_streams_ends_another_goes_on",
        "others lose no prediction",
    ),
    Row(
        "A stream is refused at the start beside others that are not (`--wait`)",
        "`failed` with the reason, then searched for again every few seconds; the others go on.",
        f"{SUPERVISOR}::test_a_refusal_at_the_start_is_handed_up_and_the_stream_tried_again",
        "5 s after the reason is gone",
    ),
    Row(
        "While `mindwire record` records: a device is lost and comes back, a stream comes later",
        "The loss is reported and the device recorded again in the same file; a later stream is added to the same file.",
        f"{RECORD}::test_signal_and_markers_are_recorded_across_a_loss_and_a_late_stream_and_read_back",
        "recorded again within seconds",
    ),
    Row(
        "Disk full while `mindwire record` records",
        "One sentence that names the file which holds what was recorded until then; exit code 1.",
        f"{RECORD}::test_a_full_disk_is_one_sentence_with_the_file_that_holds_the_rest",
        "",
    ),
)

HEAD = """# Faults

Each row is a test on real outlets of liblsl in processes of their own. In all of them every prediction that was published as
valid is compared with what an undisturbed run gives for that window. Recovery is the time from the end of the
fault – the outlet is back, the first good sample is taken – to the first valid prediction. Unless the row says otherwise it
contains 1 s of window and 0.5 s for the filters to settle, for no window spans a fault; the rest is ours.

This table is written by

<!-- not run: it runs all tests of faults, which takes minutes -->
```sh
python -m tests.faults.table
```

which runs the tests that it names. An hour of random faults is `python benchmarks/soak.py`.

| Fault | What the service does | Recovery | Test |
|---|---|---|---|
"""


TAIL = """
## Recordings

`--record` writes the signal twice: as the device sent it, and as the pipeline took it, on an outlet of the service's own,
`Mindwire-{stream}-input`, with the times it was given and a mark where it was broken. A recorder that listens to a device is
cut off with it and comes back at another moment than the service does, so only the second is whole. `mindwire verify` replays
it, compares every prediction, and compares the two signals. It fails where a prediction differs, where the replay does not
give one, and where both signals have a sample and not the same. It also fails, with exit code 1 and the reason, where the
device's own stream is missing from the file or the file is damaged, even if all predictions are confirmed. Predictions whose
samples the file lacks, because it begins during a run, are counted, but not judged.

A run whose model changed while it ran is repeated with all of its models, which are found by their hashes beside the recording, where they were,
or among those of `--model` (repeat it).

An outlet more, `Mindwire-{stream}-timing` (type `Timing`, float64), is there while a stream is recorded: `seq`, the age of the window's
last sample when the prediction was published, and the stages `receive`, `condition`, `wait` and `decode`, in milliseconds, for each
prediction with its time. The run's first event also holds the versions of Mindwire, Python and libraries, a hash over the source files of Mindwire,
and the machine.

The description of that outlet holds what the service knew: the channels' labels and units, also where they were given by
`--channels` and `--unit`, and the bundle's path and hash (`desc/channels`, and `desc/run` as JSON). `replay`, `evaluate`, `train`
and `verify` read the device's signal accordingly and take that bundle, unless options say otherwise; a bundle that has moved or
changed is refused. `replay --stream name=Mindwire-{stream}-input` gives the predictions
and decisions of the run exactly; see [Recordings of the service](recordings.md#recordings-of-the-service).

`mindwire record` writes signals and all markers without a model, by LabRecorder too (`pip install '.[record]'`). It says
what is recorded, for how long and how much, never writes over a file, and ends in order at Ctrl-C, SIGTERM and SIGHUP. LabRecorder takes up
a lost device by its `source_id`; one that has none begins a new file. Any other stream that appears later is recorded into a file of its own, which is
appended to the recording at the end.

## Many random faults

`python benchmarks/soak.py --minutes 60 --streams 4 --clients 20 --seed 1` takes an hour.
Caps of which every window's truth is known are spoilt at random, the service is stopped now and then, and twenty
clients come, stall, flood, send garbage and vanish. It fails on one unmarked prediction that differs from its truth by more
than 0.05, on 5 % more memory or one more thread or file descriptor between minute 10 and the end, and on a recording that does
not verify. Measured over that hour, on two cores that were busy with other work most of the time:

| | |
|---|---|
| Faults | 794, and the service stopped for 5 s ten times |
| Predictions | 126,082: 116,885 valid, of these 2,641 marked; 56 + 13 in the moments of which nothing can be known |
| Unmarked and wrong | 0; largest difference 0.022, half of them below 3.3e-7 |
| Memory | 140.1 MiB at minute 10, 143.8 at the end (+2.6 %) |
| Threads, file descriptors | 51 and 51, 189 and 189 |
| Recordings | 126,082 predictions confirmed, largest difference 7.5e-7; none unverified |
| Samples | 3,341,555 taken by the pipeline are as the device's own recorded streams have them, 0 differ, 7,216 missing there |

## What cannot be known

- A constant is called flat after 0.2 s, a signal too small for EEG after 0.5 s (1.5 s at the start of a segment); a prediction within them
  is published as if it were a signal.
- A rate is known after a second, and then over four: a device that sends in bursts or stalls is judged later than one with exact stamps.
- A loss shorter than the jitter of the stamps shows in none of them, only in their mean: with ± 5 ms, one or two samples
  at 250 Hz are noticed some twenty samples later. From then on the windows are marked `timing`; they stay valid.
- Settled means that one percent of the transient of a gap is left. In the tests a valid prediction may differ by 0.05
  from the undisturbed run's; a window that mixes two signals differs by 0.4 on average.
- Two outlets with one identity cannot be distinguished while only one of them answers.
"""


def measure(path: Path) -> int:
    tests = sorted({row.test.split("[")[0] for row in ROWS})
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", *tests]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, MEASURED: str(path)}, check=False).returncode


def measured(path: Path) -> dict[str, list[float]]:
    """Seconds by test, with and without its parameters."""
    found: dict[str, list[float]] = defaultdict(list)
    for line in path.read_text().splitlines() if path.exists() else ():
        entry = json.loads(line)
        for test in {entry["test"], entry["test"].split("[")[0]}:
            found[test].append(entry["seconds"])
    return found


def line(row: Row, seconds: list[float]) -> str:
    said = [f"{max(seconds):.1f} s"] if seconds else []
    recovery = "; ".join([*said, *([row.note] if row.note else [])]) or "–"
    path, name = row.test.split("::")
    return f"| {row.fault} | {row.does} | {recovery} | [{name.split('[')[0]}](../{path}) |"


def main() -> int:
    if len(sys.argv) > 1:
        path, code = Path(sys.argv[1]), 0
    else:
        path = Path(tempfile.mkdtemp()) / "measured.json"
        code = measure(path)
    found = measured(path)
    DOCUMENT.write_text(HEAD + "\n".join(line(row, found.get(row.test, [])) for row in ROWS) + "\n" + TAIL)
    return code


if __name__ == "__main__":
    sys.exit(main())
