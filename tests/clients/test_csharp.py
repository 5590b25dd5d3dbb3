"""The client for C#: interruptions, and a program that reads too slowly."""

from __future__ import annotations

import itertools
import re
from contextlib import ExitStack

import pytest

from tests.support.csharp import CLIENTS, compiled, until
from tests.support.standin import StandIn, served

# Reads nothing for two seconds, in which more than its queue of 8 arrive, then the rest of three.
SLOW = """
using System; using System.Threading; using Mindwire;
static class Slow {
    static void Main(string[] arguments) {
        using (var client = new MindwireClient(arguments[0], null, 8)) {
            Thread.Sleep(2000);
            long first = -1, last = -1, n = 0, missed = 0, dropped = 0;
            var end = DateTime.UtcNow.AddSeconds(1);
            while (DateTime.UtcNow < end) {
                client.Wait(100);
                while (client.TryRead(out var message)) {
                    var notice = message as Missed; var prediction = message as Prediction;
                    if (notice != null) { missed += notice.Count; dropped += notice.Dropped; if (notice.After < 0) first = notice.Before - notice.Count; }
                    if (prediction != null) { n++; last = prediction.Seq; if (first < 0) first = last; }
                }
            }
            Console.WriteLine("{0} {1} {2} {3}", last - first + 1, n, missed, dropped);
        }
    }
}
"""

# As much of Unity as the example of the documentation uses.
UNITY = """
namespace UnityEngine {
    public struct Vector3 { public static Vector3 left, right, zero; }
    public class Transform { public void Translate(Vector3 by) { } }
    public class MonoBehaviour { public Transform transform = new Transform(); }
}
"""


@pytest.fixture
def stream():
    made = StandIn()
    yield made
    made.stop()


def test_it_connects_again_and_says_exactly_what_was_missed(stream, tmp_path):
    listen = compiled(tmp_path, CLIENTS / "csharp" / "examples" / "Listen.cs")
    other = StandIn()
    with ExitStack() as stack:
        with served(stream) as address:
            stream.start()
            process = stack.enter_context(listen(f"ws://{address}/ws"))
            stack.callback(process.kill)
            lines = until(process, r"prediction .*")
        port = int(address.partition(":")[2])
        lines += until(process, "lost: .*")
        with served(stream, port=port):  # the same numbers go on
            lines += until(process, r"prediction .*")
        notices = [line for line in lines if line.startswith("missed")]
        assert notices == notices_expected(lines)
        assert notices
        other.start()
        stack.callback(other.stop)
        until(process, "lost: .*")
        with served(other, port=port):  # the numbers begin again
            lines = until(process, r"prediction .*")
    (missed,) = [line for line in lines if line.startswith("missed")]
    count, before = re.fullmatch(r"missed (\d+) between \d+ and (\d+), restarted", missed).groups()
    assert count == before
    assert lines.index(missed) == len(lines) - 2


def notices_expected(lines: list[str]) -> list[str]:
    """Return the notice that each step of the numbers above 1 must have."""
    seqs = [int(line.split()[1]) for line in lines if line.startswith("prediction")]
    return [f"missed {two - one - 1} between {one} and {two}" for one, two in itertools.pairwise(seqs) if two > one + 1]


def test_a_slow_program_gets_the_newest_and_the_rest_is_counted(stream, tmp_path):
    source = tmp_path / "Slow.cs"
    source.write_text(SLOW)
    with served(stream) as address:
        stream.start()
        with compiled(tmp_path, source)(f"ws://{address}/ws") as process:
            span, n, missed, dropped = map(int, process.stdout.read().split())
    assert span == n + missed
    assert 0 < dropped <= missed


def test_the_example_for_unity_compiles(tmp_path):
    (code,) = re.findall(r"```csharp\n(.*?)```", (CLIENTS.parent / "docs" / "csharp.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "Steered.cs").write_text(code)
    (tmp_path / "Unity.cs").write_text(UNITY)
    compiled(tmp_path, tmp_path / "Steered.cs", tmp_path / "Unity.cs", target="library")
