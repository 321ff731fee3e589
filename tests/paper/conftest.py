"""A tiny recipe and a few demonstrations that the tests of experiments share."""

import pytest

from ikp import recipes as presets
from ikp.nets import EncoderConfig
from ikp.policies import PolicyConfig
from ikp.recipes import Preset
from ikp.rollouts.collect import collect
from ikp.training.config import TrainConfig

TINY = Preset(
    policy=PolicyConfig(
        width=16,
        blocks=1,
        negatives=4,
        grid=8,
        refinements=1,
        encoder=EncoderConfig(channels=4, heads=2, seen=2, layers=0, features=8),
    ),
    train=TrainConfig(steps=20, batch_size=8, validate_every=2, checkpoint_every=4, log_every=1, threads=1),
    demonstrations=4,
    minutes=5.0,
    scene_motion=presets.SCENE_MOTION,
)


@pytest.fixture(scope="session")
def tiny():
    """A recipe that trains in a second; it goes by the name `tiny` while the tests of this folder run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(presets.PRESETS, "tiny", TINY)
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
