"""The name of the links that bonds are made of."""

from __future__ import annotations

from typing import Final

PROTOCOL: Final = "mosaik/groups/2"
