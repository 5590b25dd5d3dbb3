"""Checks of this machine before a session: one line per finding, with advice.

They change nothing, and send no packet off the machine but those of LSL's own discovery.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import statistics
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from mindwire.errors import MindwireError, MissingExtraError, SourceError
from mindwire_models.text import counted

# LSL's own site-local and organisation-local multicast group (liblsl's default configuration).
_LSL_GROUP = "224.0.0.183"
# 22 channels of float32 at 250 Hz, as the device sent them and as the pipeline took them, with their stamps
_BYTES_PER_HOUR = 2 * (22 * 4 + 9) * 250 * 3600


class Verdict(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; the advice is empty when there is nothing to do."""

    what: str
    verdict: Verdict
    found: str
    advice: str = ""


def examine(seconds: float, recordings: Path) -> Iterator[Finding]:
    """Run every check; listen to each stream on the network for ``seconds``, and check the disk of ``recordings``.

    A check that itself fails gives a failure with its error, and the others go on.
    """
    checks = {
        "system": _system(),
        "LSL configuration": _lsl_configuration(),
        "network interfaces": _interfaces(),
        "firewall": _firewall(),
        "timers": _timers(),
        "discovery": _discovery(),
        "streams": _streams(seconds),
        "inference": _inference(),
        "disk": _disk(recordings),
    }
    for what, findings in checks.items():
        try:
            yield from findings
        except (MindwireError, OSError, RuntimeError) as error:  # pylsl's own are of the last kind
            found = f"the check itself failed ({type(error).__name__}: {error})"
            yield Finding(what, Verdict.FAILURE, found, "See the error; the other checks went on.")


def _judged(what: str, fine: object, found: str, advice: str) -> Finding:
    """Return a finding that is fine, or a warning with advice."""
    return Finding(what, Verdict.OK, found) if fine else Finding(what, Verdict.WARNING, found, advice)


def _system() -> Iterator[Finding]:
    from mindwire import __version__

    found = f"Mindwire {__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}"
    yield Finding("system", Verdict.OK, f"{found}, {os.cpu_count()} cores")
    if any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv")):
        advice = "Use the host's network (docker run --network host), or an lsl_api.cfg with KnownPeers."
        yield Finding("container", Verdict.WARNING, "running in a container, where multicast rarely arrives", advice)


def _lsl_configuration() -> Iterator[Finding]:
    from mindwire.sources.liblsl import CONFIG_FILES, pylsl

    yield Finding("liblsl", Verdict.OK, "version {}.{}".format(*divmod(pylsl.library_version(), 100)))
    named = os.environ.get("LSLAPICFG")
    if named and not Path(named).is_file():
        advice = "Correct or unset the environment variable LSLAPICFG."
        yield Finding("LSL configuration", Verdict.FAILURE, f"LSLAPICFG names {named}, which is not there", advice)
        return
    files = [named] if named else [path for path in CONFIG_FILES if Path(path).expanduser().is_file()]
    yield Finding("LSL configuration", Verdict.OK, f"from {files[0]}" if files else "liblsl's defaults")


def _interfaces() -> Iterator[Finding]:
    import psutil

    flags = {name: set(found.flags.split(",")) for name, found in psutil.net_if_stats().items()}
    usable = [name for name, known in flags.items() if known >= {"up", "multicast"} and "loopback" not in known]
    found = f"multicast on {', '.join(usable)}" if usable else "no interface that is up does multicast"
    advice = "Fine when the outlet runs on this machine; otherwise connect a network, or name it in KnownPeers."
    yield _judged("network interfaces", usable, found, advice)
    failure = ""
    with (  # a datagram to LSL's group that does not leave the machine
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.settimeout(1.0)
        try:
            receiver.bind(("", 0))
            group = socket.inet_aton(_LSL_GROUP) + socket.inet_aton("0.0.0.0")  # noqa: S104 - the kernel's choice
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 0)
            sender.sendto(b"mindwire doctor", (_LSL_GROUP, receiver.getsockname()[1]))
            receiver.recv(64)
        except OSError as error:
            failure = f"a multicast to ourselves did not arrive ({error})"
    advice = f"Let multicast to {_LSL_GROUP} through, or list the outlets' machines as KnownPeers in lsl_api.cfg."
    yield _judged("multicast", not failure, failure or f"a datagram to {_LSL_GROUP} arrives", advice)


def _firewall() -> Iterator[Finding]:
    ufw = Path("/etc/ufw/ufw.conf")
    active = []
    if ufw.is_file() and "ENABLED=yes" in ufw.read_text():
        active.append("ufw")
    if Path("/run/firewalld").exists():
        active.append("firewalld")
    found = f"{' and '.join(active)} active" if active else "neither ufw nor firewalld is active"
    advice = "Allow UDP 16571 and TCP and UDP 16572-16604 in the laboratory's network, or LSL finds nothing."
    yield _judged("firewall", not active, found, advice)


def _timers() -> Iterator[Finding]:
    late = []
    for _ in range(200):
        begin = time.perf_counter()
        time.sleep(0.001)
        late.append((time.perf_counter() - begin - 0.001) * 1e3)
    median, worst = statistics.median(late), max(late)
    found = f"a sleep of 1 ms is late by {median:.2f} ms (median), {worst:.2f} ms (worst of 200)"
    advice = "Close other programs, and set the machine to its performance power profile."
    yield _judged("timers", median < 1.0 and worst < 20.0, found, advice)


def _discovery() -> Iterator[Finding]:
    from mindwire.sources.liblsl import pylsl

    source_id = f"mindwire-doctor-{uuid.uuid4().hex[:12]}"
    info = pylsl.StreamInfo("Mindwire-doctor", "Doctor", 1, pylsl.IRREGULAR_RATE, pylsl.cf_double64, source_id)
    outlet = pylsl.StreamOutlet(info)
    begin = time.perf_counter()
    found = pylsl.resolve_byprop("source_id", source_id, timeout=5.0)
    elapsed_ms = (time.perf_counter() - begin) * 1e3
    if not found:
        advice = "Check lsl_api.cfg (ResolveScope, ListenAddress) and the firewall: LSL cannot find its own outlet."
        yield Finding("discovery", Verdict.FAILURE, "an outlet of our own was not found within 5 s", advice)
        return
    inlet = pylsl.StreamInlet(found[0], recover=False)
    inlet.open_stream(timeout=5.0)
    offset = inlet.time_correction(timeout=5.0)
    outlet.push_sample([1.0])
    sample, stamp = inlet.pull_sample(timeout=5.0)
    inlet.close_stream()
    if sample is None or stamp is None:
        advice = "Let TCP to and from this machine's own addresses through the firewall."
        yield Finding("discovery", Verdict.FAILURE, "a sample of our own outlet did not arrive within 5 s", advice)
        return
    yield Finding("discovery", Verdict.OK, f"our own outlet found in {elapsed_ms:.0f} ms, a sample of it received")
    wander = float(np.ptp([pylsl.local_clock() - time.monotonic() for _ in range(1000)]))
    exact = abs(offset) < 1e-3 and wander < 1e-3
    clock = f"offset to our own outlet {offset * 1e6:.0f} µs, jitter against the system's clock {wander * 1e6:.0f} µs"
    yield _judged("clock", exact, clock, "Close other programs; a virtual machine may need another clock source.")


def _streams(seconds: float) -> Iterator[Finding]:
    from mindwire.sources.lsl_discovery import survey
    from mindwire.sources.markers import is_own

    found = [info for info in survey(1.5) if not is_own(info) and info.type != "Doctor"]
    if not found:
        advice = "Start the device's program, or `mindwire simulate` to try without a cap."
        yield Finding("streams", Verdict.WARNING, "no stream on the network", advice)
    for info in found:
        what = f"stream {info.name}"
        rate = f" at {info.sfreq:g} Hz" if info.sfreq > 0 else ", irregular"
        described = f"{info.type or 'no type'}, {counted(info.n_channels, 'channel')}{rate}"
        if info.sfreq <= 0 or info.dtype == "string":
            yield Finding(what, Verdict.OK, described)
            continue
        try:
            yield _listen(what, described, info.uid, info.sfreq, seconds)
        except (SourceError, TimeoutError) as error:
            yield Finding(what, Verdict.WARNING, f"{described}; it cannot be listened to: {error}")


def _listen(what: str, described: str, uid: str, sfreq: float, seconds: float) -> Finding:
    from mindwire.sources.liblsl import pylsl

    matches = pylsl.resolve_bypred(f"uid='{uid}'", timeout=2.0)
    if not matches:
        return Finding(what, Verdict.WARNING, f"{described}; it has gone since", "Look at the device's program.")
    inlet = pylsl.StreamInlet(matches[0], max_buflen=60, recover=False)
    try:
        inlet.open_stream(timeout=5.0)
        begin, stamps = time.monotonic(), []
        while time.monotonic() - begin < seconds:
            _, new = inlet.pull_chunk(timeout=0.2, max_samples=4096)
            stamps += new
    except (pylsl.util.LostError, pylsl.util.TimeoutError) as error:
        return Finding(what, Verdict.WARNING, f"{described}; it was lost ({error})", "Look at the device's program.")
    finally:
        inlet.close_stream()
    if len(stamps) < 2:
        advice = "Is the acquisition running? Start it in the device's program."
        return Finding(what, Verdict.WARNING, f"{described}; silent for {seconds:g} s", advice)
    times = np.array(stamps)
    steps = np.diff(times)
    rate = len(steps) / max(float(times[-1] - times[0]), 1e-9)
    gaps = int((steps > 1.5 / sfreq + 0.04).sum())
    found = f"{described}; measured {rate:.2f} Hz, {gaps} gaps above 40 ms, step jitter {steps.std() * 1e3:.2f} ms"
    if abs(rate / sfreq - 1) > 0.01 and seconds >= 2:
        advice = "Samples are lost or the nominal rate is wrong: check cable, radio and buffer of the device."
        return Finding(what, Verdict.WARNING, found, advice)
    advice = "Stamps come in bursts or samples are lost: check the link to the device."
    return _judged(what, not gaps, found, advice)


def _inference() -> Iterator[Finding]:
    try:
        import onnxruntime
    except ImportError as error:
        advice = "Install it (pip install onnxruntime), or torch for the fallback."
        yield Finding("ONNX Runtime", Verdict.FAILURE, f"cannot be loaded ({error})", advice)
    else:
        providers = ", ".join(p.removesuffix("ExecutionProvider") for p in onnxruntime.get_available_providers())
        yield Finding("ONNX Runtime", Verdict.OK, f"version {onnxruntime.__version__}; providers {providers}")
    gpus = sorted(Path("/proc/driver/nvidia/gpus").glob("*")) if Path("/proc/driver/nvidia").exists() else []
    found = f"{len(gpus)} NVIDIA" if gpus else "none; the CPU decodes in well under a millisecond"
    yield Finding("GPU", Verdict.OK, found)


def _disk(recordings: Path) -> Iterator[Finding]:
    from mindwire.sinks.labrecorder import labrecorder

    try:
        yield Finding("LabRecorder", Verdict.OK, f"installed at {labrecorder()}")
    except MissingExtraError as error:
        yield Finding("LabRecorder", Verdict.WARNING, "--record does not work without it", str(error))
    place = recordings.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    hours = free / _BYTES_PER_HOUR
    found = f"{free / 2**30:.1f} GiB free at {recordings}: {hours:,.0f} h of 22 channels at 250 Hz"
    if not os.access(place, os.W_OK):
        yield Finding("disk", Verdict.FAILURE, f"{place} cannot be written to", "Choose another folder with --record.")
    else:
        yield _judged("disk", hours >= 4, found, "Free some space before a session.")
