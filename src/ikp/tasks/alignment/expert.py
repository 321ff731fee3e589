"""Scripted expert for `ikp/BlockAlignment-v0`."""

from __future__ import annotations

from ikp.tasks.alignment.environment import BlockAlignmentEnv
from ikp.tasks.alignment.scene import HEIGHT
from ikp.tasks.placing import PlacingExpert


class BlockAlignmentExpert(PlacingExpert):
    """Picks the red block and puts it beside the blue one; see `PlacingExpert`."""

    environment = BlockAlignmentEnv
    block_height = HEIGHT
    lift = HEIGHT + 0.010
