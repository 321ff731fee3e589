"""Scripted expert for `ikp/Insertion-v0`."""

from __future__ import annotations

from ikp.tasks.insertion.environment import InsertionEnv
from ikp.tasks.insertion.scene import BLOCK_HEIGHT, WALL_HEIGHT
from ikp.tasks.placing import PlacingExpert


class InsertionExpert(PlacingExpert):
    """Picks the block and puts it into the fixture; see `PlacingExpert`."""

    environment = InsertionEnv
    block_height = BLOCK_HEIGHT
    lift = WALL_HEIGHT + 0.004
