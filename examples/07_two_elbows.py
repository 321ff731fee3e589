"""Why implicit policies: a goal with two answers, their average, and what each kind of policy chooses; a picture."""

from pathlib import Path

import gymnasium
import matplotlib.pyplot as plt
import numpy as np
import torch

import ikp

EPISODES = 5000
STEPS = 2000
GOALS = 50
OUT = Path("outputs/examples/07")
SHOULDER = 1  # the first joint that is different with the elbow up and with the elbow down

# Demonstrations reach each goal in one motion, half of them with the elbow up and half with the elbow down.
task = {"observation": "state"}
ikp.collect("two-elbows", OUT / "data", EPISODES, env_kwargs=task, workers=1)
demonstrations = ikp.load_dataset(OUT / "data")
view = {"render_mode": "rgb_array", "render_camera": "overview", "render_size": (360, 360)}
env = gymnasium.make("ikp/TwoElbows-v0", **task, **view).unwrapped

recipe = ikp.recipe("standard").with_budget(steps=STEPS)
policies, results = {}, {}
for method in ("explicit", "ikp"):
    policy = ikp.make_policy(env.robot, demonstrations.spec, recipe.policy_for(method))
    training = recipe.train_for("two-elbows", method)
    ikp.train(policy, demonstrations, training, out=OUT / method, resume=True)
    policies[method] = ikp.load_policy(OUT / method)
    results[method] = ikp.evaluate("ikp/TwoElbows-v0", policies[method], episodes=GOALS, env_kwargs=task)
    print(f"{method}: {results[method].success_rate:.0%} of {GOALS} unseen goals reached")

# The goal of the picture is a usual one for Explicit: the one of its median error.
by_error = sorted(results["explicit"].episodes, key=lambda episode: episode.info["position_error"])
goal = by_error[GOALS // 2].seed


def motion(action):
    """The picture at the end of a motion to the goal, and what the task says of it."""
    env.reset(seed=goal)
    *_, info = env.step(np.asarray(action))
    return env.render(), info


frame, _ = env.reset(seed=goal)
observation = ikp.observation_from_frames([[frame]], demonstrations.spec)
up, down = env.solutions
chosen = {method: policy.act(observation)[0].numpy() for method, policy in policies.items()}
panels = {
    "shown: elbow up": up,
    "shown: elbow down": down,
    "Explicit": chosen["explicit"],
    "IKP": chosen["ikp"],
}
figure, axes = plt.subplots(1, 5, figsize=(15, 3.4), width_ratios=(1, 1, 1, 1, 1.25), layout="constrained")
for ax, (title, action) in zip(axes, panels.items(), strict=False):
    image, info = motion(action)
    ax.imshow(image)
    verdict = "" if title.startswith("shown") else f": {1e3 * info['position_error']:.0f} mm from the goal"
    ax.set_title(title + verdict, color="black" if info["success"] else "firebrick", fontsize=11)
    ax.axis("off")

# What IKP's energies say of the shoulder: the density exp(-E) has both answers, and Explicit's is between them.
values, energies, _ = policies["ikp"].energy_slices(observation, points=400)
density = torch.softmax(-energies[0, SHOULDER], -1)
degrees = np.rad2deg((values[0, SHOULDER] + observation["state"][0, -1, SHOULDER]).numpy())
axes[4].fill_between(degrees, density / density.max(), color="tab:blue", alpha=0.3, label="IKP: exp(-E)")
marks = (
    (up, "black", ":", "shown"),
    (down, "black", ":", None),
    (chosen["explicit"], "firebrick", "-", "Explicit"),
)
for q, color, style, label in (*marks, (chosen["ikp"], "tab:blue", "-", "IKP")):
    axes[4].axvline(np.rad2deg(q[SHOULDER]), color=color, linestyle=style, label=label)
axes[4].set(xlabel="shoulder joint [deg]", yticks=[], ylim=(0, 1.05), xlim=(degrees[0], degrees[-1]))
axes[4].legend(fontsize=8, loc="upper center")
figure.savefig(OUT / "two_elbows.png", dpi=85)
print(f"picture: {OUT / 'two_elbows.png'}")
