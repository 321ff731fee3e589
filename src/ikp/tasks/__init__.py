"""Simulated tasks as Gymnasium environments; importing this package registers them.

`ikp/Insertion-v0`: a UR5e with a suction tool inserts an L-shaped block into an L-shaped fixture.
"""

import gymnasium

from ikp.tasks.insertion import MAX_EPISODE_STEPS, InsertionEnv
from ikp.tasks.insertion_oracle import InsertionOracle
from ikp.tasks.miscalibration import Miscalibration

__all__ = ["ORACLES", "InsertionEnv", "InsertionOracle", "Miscalibration"]

if "ikp/Insertion-v0" not in gymnasium.registry:
    gymnasium.register(
        "ikp/Insertion-v0",
        entry_point="ikp.tasks.insertion:InsertionEnv",
        max_episode_steps=MAX_EPISODE_STEPS,
    )

ORACLES = {"ikp/Insertion-v0": InsertionOracle}
"""Environment id to the class of its scripted expert, `(env, rng, perturbation)`; own tasks add theirs."""
