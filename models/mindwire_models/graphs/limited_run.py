"""Limits of graphs on trial in ONNX Runtime: time, and memory, which it limits only by an allocator that sessions share."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from mindwire_models.reading import MIB

MAX_BYTES: Final = 384 * MIB
# Words of ONNX Runtime's message where the allocator's limit is reached.
OUT_OF_MEMORY: Final = "Available memory"


def limit_memory(options: Any) -> None:
    """Let a session of these ``SessionOptions`` take its memory from the limited allocator, of which a process has one."""
    _register()
    options.add_session_config_entry("session.use_env_allocators", "1")


@contextmanager
def limited_run(seconds: float) -> Iterator[tuple[Any, threading.Event]]:
    """Return ``RunOptions`` of runs that end after `seconds` seconds, give their memory back and log nothing, and the event of that end."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    timed_out = threading.Event()

    def stop() -> None:
        timed_out.set()
        options.terminate = True

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield options, timed_out
    finally:
        timer.cancel()


@functools.cache
def _register() -> None:
    import onnxruntime

    arena = onnxruntime.OrtArenaCfg(
        {
            "max_mem": MAX_BYTES,
            "arena_extend_strategy": 1,  # as much as asked for
            "initial_chunk_size_bytes": MIB,
            "max_dead_bytes_per_chunk": MIB,
        }
    )
    info = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    onnxruntime.create_and_register_allocator(info, arena)
