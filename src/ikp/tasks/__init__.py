"""Simulated tasks as Gymnasium environments; importing this package registers them.

- `ikp/Insertion-v0`: a UR5e with a suction tool inserts an L-shaped block into an L-shaped fixture.
- `ikp/BimanualSweeping-v0`: two iiwa 14 with spatulas share out a pile of particles between two bowls.
- `ikp/BimanualSweepingMiscalibrated-v0`: the same with joint encoders that are up to two degrees off.
- `ikp/BimanualFlipping-v0`: two iiwa 14 lift a box between their elbows and pour out the bowl on top of it.
"""

import gymnasium

from ikp.tasks import flipping, insertion, sweeping
from ikp.tasks.environment import ArmTask
from ikp.tasks.flipping import FlippingEnv
from ikp.tasks.flipping_oracle import FlippingOracle
from ikp.tasks.insertion import InsertionEnv
from ikp.tasks.insertion_oracle import InsertionOracle
from ikp.tasks.miscalibration import Miscalibration
from ikp.tasks.sweeping import SweepingEnv
from ikp.tasks.sweeping_oracle import SweepingOracle

__all__ = [
    "ORACLES",
    "ArmTask",
    "FlippingEnv",
    "FlippingOracle",
    "InsertionEnv",
    "InsertionOracle",
    "Miscalibration",
    "SweepingEnv",
    "SweepingOracle",
]

_TASKS = (
    ("ikp/Insertion-v0", InsertionEnv, insertion.MAX_EPISODE_STEPS, {}),
    ("ikp/BimanualSweeping-v0", SweepingEnv, sweeping.MAX_EPISODE_STEPS, {}),
    ("ikp/BimanualSweepingMiscalibrated-v0", SweepingEnv, sweeping.MAX_EPISODE_STEPS, {"offset_seed": 0}),
    ("ikp/BimanualFlipping-v0", FlippingEnv, flipping.MAX_EPISODE_STEPS, {}),
)

for _id, _class, _steps, _kwargs in _TASKS:
    if _id not in gymnasium.registry:
        _entry = f"{_class.__module__}:{_class.__name__}"
        gymnasium.register(_id, entry_point=_entry, max_episode_steps=_steps, kwargs=_kwargs)

ORACLES = {
    "ikp/Insertion-v0": InsertionOracle,
    "ikp/BimanualSweeping-v0": SweepingOracle,
    "ikp/BimanualSweepingMiscalibrated-v0": SweepingOracle,
    "ikp/BimanualFlipping-v0": FlippingOracle,
}
"""Environment id to the class of its scripted expert, `(env, rng, perturbation)`; own tasks add theirs."""
