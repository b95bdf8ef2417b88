"""The trace: its digest, and the timeline that people read."""

from mosaik_actors.testing.trace import Trace


def filled(*lines: tuple[float, str, str]) -> Trace:
    trace = Trace()
    for at, kind, text in lines:
        trace.add(at, kind, text)
    return trace


def test_digest_is_that_of_all_lines_in_order() -> None:
    one, two = (1.0, "fault", "x"), (2.0, "note", "y")
    assert filled(one, two).digest == filled(one, two).digest
    others = [
        filled(one),
        filled(two, one),
        filled((1.0 + 1e-12, "fault", "x"), two),
        filled((1.0, "node", "x"), two),
        filled((1.0, "fault", "z"), two),
    ]
    digests = [trace.digest for trace in [filled(one, two), *others]]
    assert len(set(digests)) == len(digests)


def test_digest_counts_lines_that_are_not_kept() -> None:
    first, second = Trace(lines_kept=2), Trace(lines_kept=2)
    for number in range(10):
        first.add(0.0, "note", str(number))
        second.add(0.0, "note", str(number if number else "other"))
    assert list(map(str, first.lines())) == list(map(str, second.lines()))
    assert first.line_count == 10
    assert first.digest != second.digest


def test_flood_of_messages_does_not_wash_the_faults_away() -> None:
    trace = Trace(lines_kept=5)
    trace.add(0.0, "fault", "n0 crashes")
    for number in range(1000):
        trace.add(1.0, "message", str(number))
    assert [line.text for line in trace.lines("fault")] == ["n0 crashes"]
    assert trace.lines()[0].text == "n0 crashes"
    assert len(trace.lines()) == 6


def test_timeline_tells_what_happened_in_order_also_at_the_same_instant() -> None:
    trace = filled(
        (0.5, "node", "n0 started"),
        (1.0, "message", "n0 > n1  1 frames"),
        (1.0, "fault", "n1 crashes"),
        (1.0, "peer", "n0 lost n1"),
        (1.0, "message", "n0 > n2  1 frames"),
        (1.0, "note", "calm"),
    )
    assert trace.timeline().splitlines() == [
        "    0.500000  node     n0 started",
        "    1.000000  message  n0 > n1  1 frames",
        "    1.000000  fault    n1 crashes",
        "    1.000000  peer     n0 lost n1",
        "    1.000000  message  n0 > n2  1 frames",
        "    1.000000  note     calm",
    ]


def test_timeline_is_bounded_for_each_kind() -> None:
    trace = Trace()
    for number in range(300):
        for kind in ("fault", "peer", "message"):
            trace.add(float(number), kind, f"{kind} {number}")
    lines = trace.timeline(20).splitlines()
    count = {kind: sum(kind in line for line in lines) for kind in ("fault", "peer", "message")}
    assert count == {"fault": 20, "peer": 10, "message": 10}
    assert lines[-1].endswith("message 299")
