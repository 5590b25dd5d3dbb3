"""``mindwire bench``: latency and throughput of this machine in comparison with their floor, or a report on one stream."""

from pathlib import Path

import typer

from mindwire.cli import options
from mindwire.cli.groups import Given, option
from mindwire.errors import UsageError

_MOVED = ("clients", "replay")
# Options that belong to one part of the benchmark.
_OF_PART = {"--chunks": "latency", "--streams": "streams", "--workers": "streams", "--deadline-ms": "streams"}


def bench(
    given: Given,
    model: Path | None = options.MODEL,
    only: str | None = option("Parts, comma-separated: startup, decoder, latency, streams; by default all."),
    quick: bool = option("Seconds instead of minutes, with coarser figures.", False, "--quick"),
    seconds: float = option("Length of each end-to-end measurement.", 60.0, min=5),
    hop: int | None = options.HOP,
    chunks: str = option("Samples per push of the outlet, one case each.", "1,10"),
    streams: str = option("Numbers of streams to try, ascending.", "10,50,100,150,200"),
    workers: int = option("Processes that share many streams, as in serve; 0 for one per core.", 0, min=0),
    deadline_ms: float = option("Highest accepted 99th percentile of the age with many streams.", 40),
    out: Path = option("Folder for bench.json and latency.svg, or the report.", Path("bench"), "--out", "-o"),
    certify: bool = option("Measure a stream of your network instead, and write a report.", False, "--certify"),
    minutes: float = option("Length of the measurement of --certify.", 10.0),
    stream: str | None = option("Stream to certify: name=…,type=…,source_id=…", None, "--stream", "-s"),
    force: bool = options.FORCE,
) -> None:
    """Measure latency, throughput and start-up on this machine; no network is used."""
    import os
    import sys

    from rich.console import Console

    from mindwire.bench.suite import PARTS, Plan, run, save
    from mindwire.outputs import check_report
    from mindwire_models.zoo import zoo_bundle_path

    if not sys.platform.startswith("linux"):
        msg = "mindwire bench reads processor time and memory from /proc, which only Linux has."
        raise UsageError(msg)
    bundle = model or zoo_bundle_path()
    if certify:
        given.refuse("--only", "--quick", "--seconds", *_OF_PART, why="--certify measures one stream")
        from mindwire.bench.certificate import certify as make

        if stream is None:
            msg = "--certify takes the stream to measure, for example --stream name=NAME; see `mindwire streams`."
            raise UsageError(msg)
        report = out if out.suffix == ".html" else out / "certificate.html"
        check_report(report.parent, (report.name, report.with_suffix(".json").name), inputs=[bundle], force=force)
        found = make(bundle, stream, report, typer.echo, minutes=minutes, hop=hop)
        age = found["age_ms"]
        typer.echo(f"Age at the client: p50 {age['p50']:.2f}, p99 {age['p99']:.2f}, max {age['max']:.1f} ms. {report}")
        return
    given.refuse("--stream", "--minutes", why="These options belong to --certify")
    wanted = tuple(name.strip() for name in only.split(",")) if only else PARTS
    if (unknown := next((name for name in wanted if name not in PARTS), None)) is not None:
        moved = f"; in a clone, run python benchmarks/{unknown}.py" if unknown in _MOVED else ""
        msg = f"--only expects {', '.join(PARTS)}, found {unknown!r}{moved}."
        raise UsageError(msg)
    for flag, part in _OF_PART.items():
        if part not in wanted:
            given.refuse(flag, why=f"{flag} belongs to the part {part}, which --only leaves out")
    if quick:
        given.refuse("--seconds", why="--quick sets the length of measurements")
        seconds, streams = min(seconds, 8.0), streams if "streams" in given.flags else "4,16"
    from mindwire_models.bundle import load_bundle

    check_report(out, ("bench.json", "latency.svg"), inputs=[bundle], force=force)
    plan = Plan(
        model=bundle,
        hop=hop or load_bundle(bundle).contract.hop_samples,
        parts=wanted,
        seconds=seconds,
        chunks=_numbers(chunks, "--chunks"),
        streams=_numbers(streams, "--streams"),
        workers=workers,
        deadline_ms=deadline_ms,
    )
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for path in save(run(plan, Console(highlight=False)), out):
        typer.echo(f"Saved {path}")


def _numbers(text: str, option: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() and int(word) for word in words):
        msg = f"{option} takes whole numbers from 1, comma-separated, found {text!r}."
        raise UsageError(msg)
    return tuple(map(int, words))
