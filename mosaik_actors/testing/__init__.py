"""Scenario tests: whole nodes on virtual time, with faults, replayed from one seed.

    from mosaik_actors.testing import Cluster, scenario

    @scenario(nodes=3, seeds=range(20))
    async def test_readings_arrive(cluster: Cluster) -> None:
        ...

``docs/testing.md`` teaches it in ten minutes.
"""

from .cluster import Cluster, NodeDown, SimClock, SimNode
from .conditions import NetworkConditions, lognormal, uniform
from .disk import SimDisk, SimFile
from .faults import DISK_KINDS, KINDS, Fault, FaultPlan, FaultSchedule
from .history import Call, History, Operation, Outcome
from .linearizability import Decision, Verdict, check_linearizable
from .loop import SimDeadlock, SimLivelock, SimLoop
from .models import Counter, MapModel, Model, Queue, Register, SetModel
from .network import SimNetwork
from .scenario import Report, Scenario, scenario, simulate
from .settings import read_time_factor
from .simlog import SimLog
from .trace import Trace

__all__ = [
    "DISK_KINDS",
    "KINDS",
    "TIME_FACTOR",
    "Call",
    "Cluster",
    "Counter",
    "Decision",
    "Fault",
    "FaultPlan",
    "FaultSchedule",
    "History",
    "MapModel",
    "Model",
    "NetworkConditions",
    "NodeDown",
    "Operation",
    "Outcome",
    "Queue",
    "Register",
    "Report",
    "Scenario",
    "SetModel",
    "SimClock",
    "SimDeadlock",
    "SimDisk",
    "SimFile",
    "SimLivelock",
    "SimLog",
    "SimLoop",
    "SimNetwork",
    "SimNode",
    "Trace",
    "Verdict",
    "check_linearizable",
    "lognormal",
    "scenario",
    "simulate",
    "uniform",
]

TIME_FACTOR = read_time_factor()
"""What timeouts on real time are multiplied by, for slow machines; from the environment."""
