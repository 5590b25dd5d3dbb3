"""``mindwire bench``: how fast this machine is, beside the floor of its parts; or a report on one stream."""

from __future__ import annotations

from pathlib import Path

import typer

from mindwire.cli.groups import option

_ONLY = "Parts, comma-separated: startup, decoder, latency, replay, clients, streams; all without it."


def bench(
    model: Path | None = option("Bundle; the demonstration bundle without it.", None, "--model", "-m"),
    only: str | None = option(_ONLY),
    quick: bool = option("Seconds instead of minutes, with coarser figures.", False, "--quick"),
    seconds: float = option("Length of each end-to-end measurement.", 60.0, min=5),
    hop: int | None = option("Samples between predictions; the model's unless given.", min=1),
    chunks: str = option("Samples that the outlet pushes together, one case each.", "1,10"),
    streams: str = option("Numbers of streams to try, rising.", "10,50,100,150,200"),
    workers: int = option("Processes that share many streams, as in serve; 0 is one per core.", 0, min=0),
    clients: str = option("Numbers of websocket clients to try.", "1,100,500"),
    deadline_ms: float = option("What the 99th percentile of the age may be with many streams.", 40),
    out: Path = option("Folder for bench.json and latency.svg, or the report.", Path("bench"), "--out", "-o"),
    certify: bool = option("Measure a stream of your network instead, and write a report.", False, "--certify"),
    minutes: float = option("How long --certify measures.", 10.0),
    stream: str | None = option("The stream to certify: name=…,type=…,source_id=…", None, "--stream", "-s"),
    force: bool = option("Replace files in --out that Mindwire did not write.", False, "--force"),
) -> None:
    """Measure latency, throughput and start-up on this machine; no network is used."""
    import os
    import sys

    from mindwire.bench.suite import Part, Plan, run, save
    from mindwire.errors import UsageError
    from mindwire.outputs import check_report
    from mindwire_models.zoo import zoo_bundle_path

    if not sys.platform.startswith("linux"):
        msg = "mindwire bench reads processor time and memory from /proc, which only Linux has."
        raise UsageError(msg)
    bundle = model or zoo_bundle_path()
    if certify:
        from mindwire.bench.certificate import Request
        from mindwire.bench.certificate import certify as make

        if stream is None:
            msg = "--certify takes the stream to measure, for example --stream name=NAME; see `mindwire streams`."
            raise UsageError(msg)
        report = out if out.suffix == ".html" else out / "certificate.html"
        check_report(report.parent, (report.name, report.with_suffix(".json").name), inputs=[bundle], force=force)
        found = make(Request(bundle, stream, minutes, hop), report, typer.echo)
        age = found["age_ms"]
        typer.echo(f"Age at the client: p50 {age['p50']:.2f}, p99 {age['p99']:.2f}, max {age['max']:.1f} ms. {report}")
        return
    known = {part.value: part for part in Part}
    wanted = [name.strip() for name in only.split(",")] if only else list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        msg = f"--only {unknown[0]!r} is unknown; known are {', '.join(known)}."
        raise UsageError(msg)
    from mindwire_models.bundle import load_bundle

    check_report(out, ("bench.json", "latency.svg"), inputs=[bundle], force=force)
    plan = Plan(
        model=bundle,
        hop=hop or load_bundle(bundle).contract.hop_samples,
        parts=tuple(known[name] for name in wanted),
        seconds=min(seconds, 8.0) if quick else seconds,
        chunks=_numbers(chunks, "--chunks"),
        clients=_numbers("1,50" if quick and clients == "1,100,500" else clients, "--clients"),
        streams=_numbers("4,16" if quick and streams == "10,50,100,150,200" else streams, "--streams"),
        workers=workers,
        deadline_ms=deadline_ms,
    )
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for path in save(run(plan, typer.echo), out):
        typer.echo(f"Saved {path}")


def _numbers(text: str, option: str) -> tuple[int, ...]:
    from mindwire.errors import UsageError

    try:
        numbers = tuple(int(word) for word in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 1:
        msg = f"{option} takes whole numbers from 1, comma-separated, found {text!r}."
        raise UsageError(msg)
    return numbers
