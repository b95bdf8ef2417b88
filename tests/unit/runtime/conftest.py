from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from mosaik_actors.runtime import AsyncActorSystem


@pytest.fixture
async def system() -> AsyncIterator[AsyncActorSystem]:
    async with AsyncActorSystem() as system:
        yield system
