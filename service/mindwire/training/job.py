"""Program of a job: a training or an improvement in a process of its own, at low priority.

    python -m mindwire.training.job

It reads one line of JSON from standard input, a :class:`~mindwire.training.job_spec.JobSpec`, and writes lines of JSON: progress, and
last the outcome or the error. After an outcome it computes the person's progress; a failure of that is its exit code alone. When its
standard input ends, because the service has ended in whatever way, it ends with all processes of its group; nothing is then left of it
but what was complete.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from mindwire.errors import MindwireError
from mindwire.training.job_spec import JobLine, JobSpec, Outcome, Stages, remove_leftovers

_NICE = 10
_END_POLL_S, _END_POLLS = 0.1, 30


def _train(spec: JobSpec, stages: Stages) -> Outcome:
    from mindwire.training.calibration import run_job

    return run_job(spec, stages)


def _improve(spec: JobSpec, stages: Stages) -> Outcome:
    from mindwire.training.improve import run_job

    return run_job(spec, stages)


KINDS: Mapping[str, Callable[[JobSpec, Stages], Outcome]] = {"train": _train, "improve": _improve}


def run(spec: JobSpec, emit: Callable[[JobLine], None]) -> None:
    """Run a job in this process; its last line holds the outcome or the error.

    After an outcome what new runs show of the person's learning is computed; an error of that is raised, the outcome stays.
    """
    if spec.target.exists():
        emit(JobLine(error=f"There is a model {spec.id} already, which is not overwritten; start the job again."))
        return
    try:
        line = JobLine("done", 1.0, 0.0, outcome=KINDS[spec.kind](spec, Stages(emit)))
    except MindwireError as error:
        line = JobLine(error=str(error))
    except MemoryError:
        line = JobLine(error="There is not enough memory for this; take fewer recordings, or end other programs.")
    except OSError as error:
        traceback.print_exc()
        line = JobLine(error=f"A file could not be read or written ({error}); check the disk.")
    except Exception as error:  # noqa: BLE001 - a job reports its end, whatever it is
        traceback.print_exc()
        line = JobLine(
            error=f"The job failed by an error of the program ({type(error).__name__}: {error}); see the log."
        )
    emit(line)
    if line.outcome is not None:
        from mindwire.training.progress import update_progress

        update_progress(Path(spec.sessions), spec.participant, spec.classes)


def _end_with_input(spec: JobSpec) -> None:
    """Wait for the end of standard input, then end every process of this group; another one removes what they leave."""
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    with suppress(OSError):
        subprocess.Popen(
            [sys.executable, "-P", "-m", "mindwire.training.job", str(os.getpgrp()), msgspec.json.encode(spec)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
    os.killpg(0, signal.SIGTERM)


def remove_after_end(spec: JobSpec, group: int) -> None:
    """Remove what is half written once the processes of a group have ended, which could write more; they are killed in the end."""
    with suppress(ProcessLookupError):
        for count in range(2 * _END_POLLS):
            os.killpg(group, signal.SIGKILL if count >= _END_POLLS else 0)
            time.sleep(_END_POLL_S)
    remove_leftovers(spec)


def main() -> None:
    """Run the job that standard input describes, or remove what is left of the one that the arguments describe."""
    if len(sys.argv) > 1:
        remove_after_end(msgspec.json.decode(sys.argv[2], type=JobSpec), int(sys.argv[1]))
        return
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not get among the lines
    with os.fdopen(os.dup(0), "rb", buffering=0) as given:
        spec = msgspec.json.decode(given.readline(), type=JobSpec)
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    threading.Thread(target=_end_with_input, args=(spec,), daemon=True).start()
    with suppress(OSError):  # where the system forbids scheduling policies
        os.nice(_NICE)
        if hasattr(os, "SCHED_BATCH"):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    tempfile.tempdir = spec.scratch
    os.environ.update(TMPDIR=spec.scratch, JOBLIB_TEMP_FOLDER=spec.scratch)
    lock = threading.Lock()

    def emit(line: JobLine) -> None:
        with lock, suppress(BrokenPipeError):
            out.write(msgspec.json.encode(line) + b"\n")

    run(spec, emit)


if __name__ == "__main__":
    main()
