"""An optional directory of deployments, for people who want to see what there is.

Nobody needs it to bind: two parties meet because they compute the same identity. Anybody on
the network may write here, so what it says is a hint and proves nothing.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..handles.collections import Map
from ..handles.collections.declarations import collection
from .service import Deployment


class DeploymentListing(msgspec.Struct, frozen=True):
    """What people are shown of a deployment.

    Attributes:
        service: What service it is one of.
        name: Its name.
        version: Its version.
        parts: The names of its public parts.
        about: What its operator says of it.
    """

    service: str
    name: str
    version: int
    parts: tuple[str, ...] = ()
    about: str = ""


deployment_directory: Final = collection(Map[str, DeploymentListing], "mosaik.deployments.v1")
"""Listings by fingerprint. Open it with ``online_writer(net)`` or ``online_reader(net)``."""


def make_listing(deployment: Deployment[Any], about: str = "") -> DeploymentListing:
    """Return what the directory shows of a deployment, to be put under its `fingerprint`."""
    config = deployment.config
    parts = tuple(deployment.parts)
    return DeploymentListing(deployment.service, config.name, config.version, parts, about)
