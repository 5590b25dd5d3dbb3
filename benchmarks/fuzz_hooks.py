"""Hooks of schemathesis for ``fuzz_rest.py``: what a client of the service always sends, and the stream that is left alone."""

from __future__ import annotations

import io
import random
import stat
import zipfile

import schemathesis

WATCHED, FUZZED = "watched", "fuzzed"


@schemathesis.hook
def map_path_parameters(_context, parameters):
    """Every second request is for a stream that exists, none for the one that the bystander listens to."""
    name = (parameters or {}).get("stream")
    if name is not None and (str(name).casefold() == WATCHED or random.random() < 0.5):
        parameters["stream"] = FUZZED
    return parameters


@schemathesis.hook
def before_call(_context, case, _kwargs):
    """A change is JSON by its content type, also without a body."""
    if case.method.upper() not in ("GET", "HEAD", "OPTIONS") and not case.media_type and random.random() < 0.9:
        case.headers["Content-Type"] = "application/json"
    if (case.path_parameters or {}).get("stream") == WATCHED:
        case.path_parameters["stream"] = FUZZED


@schemathesis.serializer("application/zip")
def archive(_context, value):
    """An archive that the service unpacks as far as it can: pieces of a bundle, names that lead elsewhere, damage."""
    data = value if isinstance(value, bytes) else str(value).encode(errors="replace")
    if random.random() < 0.3:
        return data
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for name in random.sample(
            ["m/contract.json", "m/config.json", "../out", "/etc/x", "m/../../out", "m/model.onnx"], 3
        ):
            file.writestr(name, random.choice([data, b"{}", b"0" * 100_000]))
        link = zipfile.ZipInfo("m/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
    whole = bytearray(packed.getvalue())
    if random.random() < 0.5:
        whole[random.randrange(len(whole))] ^= 0xFF
    return bytes(whole)
