"""Collect demonstrations, train a policy, load it, and act in a Gymnasium loop of one's own."""

from pathlib import Path

import gymnasium

import ikp.tasks  # registers the tasks with Gymnasium

EPISODES = 200
STEPS = 1500
OUT = Path("outputs/examples/02")

# Demonstrations of the scripted expert; object poses in place of images train in a minute or two.
task = {"observation": "state", "offset_seed": 0}  # seed 0 draws joint offsets of up to 2 degrees
ikp.collect("insertion", OUT / "data", EPISODES, env_kwargs=task, perturbation=0.7, workers=1)
demonstrations = ikp.load_dataset(OUT / "data")
print(f"{demonstrations.episodes} episodes, {len(demonstrations)} frames")

# The recipe `quick`; `ikp train --recipe quick` and `ikp evaluate` do the same from the command line.
env = gymnasium.make("ikp/Insertion-v0", **task)
chosen = ikp.recipe("quick").with_budget(steps=STEPS)
policy = ikp.make_policy(env.unwrapped.robot, demonstrations.spec, chosen.policy_for("ikp"))
ikp.train(policy, demonstrations, chosen.train_for("insertion"), out=OUT / "run", resume=True)

# The control loop. One frame after another: the policy keeps those before it, if its history needs them.
policy = ikp.load_policy(OUT / "run")
for seed in (1_000_000, 1_000_001):
    frame, _ = env.reset(seed=seed)
    policy.reset()
    done = False
    while not done:
        action = policy.select_action(frame)  # six joint targets [rad], and the vacuum, 0 or 1
        frame, _, terminated, truncated, info = env.step(action.numpy())
        done = terminated or truncated
    print(f"seed {seed}: success {info['success']}, {1e3 * info['position_error']:.0f} mm from the fixture")
