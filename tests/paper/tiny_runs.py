"""Tiny runs on the toy task, for tests that kill their runner; processes import this module by name."""

import multiprocessing
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "rollouts"))

import gymnasium
from toy_task import ToyEnv, ToyExpert
from tqdm import tqdm

from ikp.policies.config import PolicyConfig, SearchConfig
from ikp.runs import Task
from ikp.tasks import TaskEntry, register_task
from ikp.training.config import TrainConfig
from ikp_paper.queue.local import PRELOADED, LocalExecutor
from ikp_paper.queue.runner import Runner
from ikp_paper.run import Places, Run
from ikp_paper.tables import Setting

TRAIN = TrainConfig(
    steps=60, batch_size=8, validate_every=20, checkpoint_every=5, log_every=10, held_out=0.25, threads=1
)
DEMONSTRATIONS, EPISODES = 8, 20


class BlindToyEnv(ToyEnv):
    """The toy task without its image."""

    def __init__(self, render_mode=None, **options):
        super().__init__(**options)
        spaces = self.observation_space.spaces
        self.observation_space = gymnasium.spaces.Dict({k: v for k, v in spaces.items() if k != "image"})

    def _observe(self):
        observation = super()._observe()
        return {key: observation[key] for key in ("state", "environment_state")}


register_task(
    TaskEntry("blind-toy", "test/BlindToy-v0", "Toy, blind", BlindToyEnv, ToyExpert, max_episode_steps=15)
)


def run_of(width, seed, **changes):
    """A run of an implicit policy of some width without a robot."""
    policy = PolicyConfig(action_space="raw", width=width, blocks=1, negatives=4, search=SearchConfig(grid=8))
    described = {
        "name": f"toy-width{width}-seed{seed}",
        "recipe": "tiny",
        "setting": Setting("insertion", DEMONSTRATIONS, "state"),
        "method": "raw",
        "variant": "raw",
        "task": Task("tiny_runs:test/BlindToy-v0", {"duration": 0.002}),
        "metric": "success",
        "policy": policy,
        "train": TrainConfig(**{**TRAIN.to_json(), "seed": seed}),
        "demonstrations": DEMONSTRATIONS,
        "perturbation": 0.02,
        "episodes": EPISODES,
    }
    return Run(**{**described, **changes})


RUNS = [run_of(8, 0), run_of(16, 0), run_of(8, 1)]


def places_in(root):
    return Places(Path(root) / "results", Path(root) / "out")


def work_through(root, jobs):
    """A runner's whole process; forked from a server that has imported everything, it forks its runs in turn."""
    tqdm.monitor_interval = 0  # no thread
    places = places_in(root)
    failed = Runner(RUNS, places, LocalExecutor(places, jobs, 1, start_method="fork"), workers=1).run()
    sys.exit(1 if failed else 0)


def start_runner(root, jobs=2):
    """Start a process that works through the runs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ikp_paper.queue.runner", *PRELOADED])
    process = context.Process(target=work_through, args=(root, jobs))
    process.start()
    return process
