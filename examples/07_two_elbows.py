"""Why implicit policies: a goal with two answers, and what each kind of policy chooses; draws a picture."""

from pathlib import Path

import gymnasium
import matplotlib.pyplot as plt
import numpy as np
import torch

import ikp
from ikp.kinematics import project

EPISODES = 5000
STEPS = 2000
GOALS, UNSEEN = 50, 1_000_000  # number of unseen goals and the seed of the first
OUT = Path("outputs/examples/07")
SHOULDER = 1  # the first joint that is different with the elbow up and with the elbow down

# Demonstrations reach each goal in one motion, half of them with the elbow up and half with the elbow down.
task = {"observation": "state"}
ikp.collect("two-elbows", OUT / "data", EPISODES, env_kwargs=task, workers=1)
demonstrations = ikp.load_dataset(OUT / "data")
view = {"render_mode": "rgb_array", "render_camera": "overview", "render_size": (400, 400)}
env = gymnasium.make("ikp/TwoElbows-v0", **task, **view).unwrapped
camera = env.camera("overview").resized(*env.render_size)

recipe = ikp.recipe("standard").with_budget(steps=STEPS)
policies = {}
for method in ("explicit", "ikp"):
    policy = ikp.make_policy(env.robot, demonstrations.spec, recipe.policy_for(method))
    ikp.train(policy, demonstrations, recipe.train_for("two-elbows", method), out=OUT / method, resume=True)
    policies[method] = ikp.load_policy(OUT / method)
    result = ikp.evaluate("two-elbows", policies[method], episodes=GOALS, env_kwargs=task)
    print(f"{method}: {result.success_rate:.0%} of {GOALS} unseen goals reached")


def answers(goal):
    """The observation of a goal, its two demonstrated answers, and those of Explicit and IKP."""
    frame, _ = env.reset(seed=goal)
    observation = ikp.observation_from_frames([[frame]], demonstrations.spec)
    return observation, *env.solutions, *(policy.act(observation)[0].numpy() for policy in policies.values())


def motion(action):
    """The picture at the end of a motion to the goal, and the tip's distance from the goal [mm]."""
    env.reset(seed=goal)
    *_, info = env.step(np.asarray(action))
    return env.render().astype(float), 1e3 * info["position_error"]


def draw(ax, title, image, action, color):
    """The picture, a ring around the goal, and a line from there to the tip."""
    tip = ikp.forward_kinematics(env.robot, torch.as_tensor(action))[env.robot.tip_indices[0], :3, 3]
    points = torch.stack([observation["environment_state"][0, -1, :3], tip]).double()
    x, y = project(camera.intrinsics(), camera.pose(), points).T
    ax.imshow(image.astype(np.uint8))
    ax.plot(x, y, "o-", color=color, linewidth=3, markersize=26, mfc="none", mew=2, markevery=2)
    ax.set_title(title, color=color, fontsize=14)
    ax.axis("off")


# The unseen goal at which Explicit's place between both answers is the median of all.
goals = [answers(seed) for seed in range(UNSEEN, UNSEEN + GOALS)]
shares = [(explicit - up)[SHOULDER] / (down - up)[SHOULDER] for _, up, down, explicit, _ in goals]
goal = UNSEEN + int(np.argsort(shares)[GOALS // 2])
observation, up, down, explicit, chosen = answers(goal)
values, energies, _ = policies["ikp"].decision_slices(observation, points=400)
degrees = np.rad2deg((values[0, SHOULDER] + observation["state"][0, -1, SHOULDER]).numpy())
figure, axes = plt.subplots(1, 4, figsize=(13, 4.3), layout="constrained")
rows = (("Explicit", axes[1], explicit, "firebrick"), ("IKP", axes[2], chosen, "green"))
shown = (motion(up)[0] + motion(down)[0]) / 2
draw(axes[0], "Demonstrations: one goal,\nelbow up or elbow down", shown, up, "black")
axes[3].plot(degrees, energies[0, SHOULDER], color="green")
for name, ax, action, color in rows:
    image, error = motion(action)
    draw(ax, f"{name}:\n{error:.0f} mm from the goal", 0.7 * image + 0.3 * shown, action, color)
    axes[3].axvline(np.rad2deg(action[SHOULDER]), color=color, linewidth=2)
axes[3].set(box_aspect=1, yticks=[], xlim=degrees[[0, -1]], xlabel="shoulder joint [deg]", ylabel="energy")
axes[3].set_title("IKP's energy has\ntwo minima", fontsize=14)
figure.savefig(OUT / "two_elbows.png", dpi=85)
