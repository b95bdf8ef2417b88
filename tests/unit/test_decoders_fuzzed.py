"""A short run of `tests.fuzz.decoders`: built inputs against all that decodes what peers send."""

from random import Random

import msgpack
import pytest

from mosaik_actors.errors import DecodeError
from mosaik_actors.transport.frames import decode_control
from tests.fuzz.decoders import (
    INPUT_BYTES,
    Report,
    Target,
    list_bombs,
    list_targets,
    run_once,
    try_input,
)

INPUTS_EACH = 12


def test_no_decoder_does_more_than_its_input_is_worth() -> None:
    report = Report()
    for target in list_targets():
        run_once(target, Random(target.name), report, INPUTS_EACH)
    assert report.faults == []
    assert report.input_count > 400


def test_every_good_message_is_decoded() -> None:
    """Or the inputs would be spoilt in the first byte already, and try nothing."""
    targets = [one for one in list_targets() if one.call.__qualname__ == "BoundedDecoder.decode"]
    assert len(targets) > 20
    for target in targets:
        for number in range(5):
            target.call(target.prefix + msgpack.packb(target.samples(Random(number))))


def test_a_careless_decoder_is_found_out() -> None:
    def careless(data: bytes) -> None:
        try:
            msgpack.unpackb(data)
        except (ValueError, msgpack.UnpackException) as exc:
            raise DecodeError(str(exc)) from exc

    report = Report()
    target = Target("careless", careless, lambda _rng: [])
    bomb = dict(list_bombs())["array32 claims 32768, nested"]
    try_input(target, "a bomb", bomb, report, weighs=True)
    assert [fault.rpartition(" ")[2] for fault in report.faults][-1] == "MB"


@pytest.mark.parametrize("head", [b"\xdd", b"\xdf"])
def test_what_a_control_frame_claims_is_not_allocated(head: bytes) -> None:
    """1,000 nested arrays that claim as many elements as there are bytes."""
    bomb = ((head + INPUT_BYTES.to_bytes(4)) * 1000).ljust(INPUT_BYTES, b"\xc0")
    for place in (bomb, b"\x92\x01" + bomb, b"\x93\x01\xc4\x00" + bomb):
        with pytest.raises(DecodeError, match="not a control frame"):
            decode_control(place[:INPUT_BYTES])
