"""What both sides know: the items, the software that may have them, and whose word counts."""

from pathlib import Path

from mosaik_actors import Measurement, SimulatedRoot, SimulatedTd, TeeConfig
from mosaik_actors import Record as _Record

READER = Path(__file__).with_name("reader.py")

# Whoever reads this can make quotes below this root: for trying things out only.
ROOT = SimulatedRoot("examples/attested")


class Reading(_Record, frozen=True):
    patient: int
    heart_rate: int


def measure(program: Path) -> Measurement:
    """What stands here for the measurement of an image: the digest of a program's file."""
    return Measurement.of(program.read_bytes())


def domain(program: Path, is_real: bool) -> TeeConfig:
    """The trusted domain that a program runs in: this machine's own, or a simulated one."""
    return TeeConfig() if is_real else TeeConfig(source=SimulatedTd(ROOT, mrtd=measure(program)))
