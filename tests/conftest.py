"""Set-up shared by all tests.

The import hook makes beartype check every annotation of both packages, shapes and plain types, while the tests run;
outside of pytest the annotations cost nothing.
"""

import os

os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, here and in child processes

from jaxtyping import install_import_hook

# Before anything imports ikp; an int is a float, as for every static checker.
install_import_hook(
    ["ikp", "ikp_paper"], "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

import hypothesis
import numpy as np
import pytest
import torch

from ikp import recipes
from ikp.nets import EncoderConfig
from ikp.policies import PolicyConfig
from ikp.policies.config import SearchConfig
from ikp.recipes import Recipe
from ikp.rollouts.collect import collect
from ikp.training.config import TrainConfig

# Reproducible, and no time limit per example: the first one may pay for an import or a compilation.
hypothesis.settings.register_profile("ikp", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("ikp")

torch.set_num_threads(1)  # the workers of pytest-xdist share the cores


@pytest.fixture(autouse=True)
def _same_start(tmp_path, monkeypatch):
    """Seeds the global generators and runs the test in a folder of its own: none writes into the checkout."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the legacy generator is what third-party code may use
    monkeypatch.chdir(tmp_path)


TINY = Recipe(
    name="tiny",
    policy=PolicyConfig(
        width=16,
        blocks=1,
        negatives=4,
        encoder=EncoderConfig(channels=4),
        search=SearchConfig(grid=8),
    ),
    train=TrainConfig(
        steps=20,
        batch_size=8,
        moved_scenes=True,
        validate_every=2,
        checkpoint_every=4,
        log_every=1,
        threads=1,
    ),
    demonstrations=4,
    episodes=2,
)


@pytest.fixture(scope="session")
def tiny():
    """A recipe that trains in a second; from the first use on `ikp.recipe("tiny")` returns it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recipes.RECIPES, TINY.name, TINY)
        yield TINY


@pytest.fixture(scope="session")
def demonstrations(tmp_path_factory):
    """Folder of 16 demonstrations of the miscalibrated robot with object poses instead of images."""
    return _collected(tmp_path_factory, "state", 16)


@pytest.fixture(scope="session")
def pixel_demonstrations(tmp_path_factory):
    """Folder of 3 demonstrations of the same robot with images."""
    return _collected(tmp_path_factory, "pixels", 3)


def _collected(tmp_path_factory, observation, episodes):
    root = tmp_path_factory.mktemp("data") / observation
    kwargs = {"observation": observation, "offset_seed": 0}
    collect("ikp/Insertion-v0", root, episodes, env_kwargs=kwargs, workers=1, progress=False)
    return root
