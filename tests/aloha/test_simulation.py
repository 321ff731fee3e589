"""The simulation beside gym-aloha's own environment; `make aloha` builds the environment that has it."""

import numpy as np
import pytest

pytest.importorskip("gym_aloha", reason="gym-aloha needs an environment of its own; `make aloha` builds it")


@pytest.mark.parametrize(("task", "name"), [("transfer", "transfer_cube"), ("insertion", "insertion")])
def test_steps_are_those_of_gym_alohas_environment(task, name):
    from gym_aloha.env import AlohaEnv

    from simulation import Simulation

    theirs, ours = AlohaEnv(name, obs_type="pixels_agent_pos"), Simulation(task)
    observed, _ = theirs.reset(seed=3)
    assert np.array_equal(ours.reset(3), observed["agent_pos"])
    for command in np.random.default_rng(0).uniform(-0.3, 0.3, (5, 14)):
        observed, reward, *_ = theirs.step(command)
        assert np.array_equal(ours.step(command), observed["agent_pos"])
        assert ours.reward == reward
    assert np.array_equal(ours.objects.ravel(), theirs.unwrapped._env.physics.data.qpos[16:])


@pytest.mark.parametrize("task", ["transfer", "insertion"])
def test_the_expert_succeeds(task):
    from record import demonstrate
    from simulation import Simulation
    from task import SUCCESS

    assert demonstrate(Simulation(task), seed=0)[1] == SUCCESS


def test_images_show_the_cube_and_neither_shadows_nor_other_cameras():
    from simulation import Simulation

    simulation = Simulation("transfer", ("top", "angle"), size=64)
    red = []
    for seed in range(3):
        simulation.reset(seed)
        images = simulation.images()
        assert {name: image.shape for name, image in images.items()} == {
            "top": (64, 64, 3),
            "angle": (64, 64, 3),
        }
        mask = (images["top"][..., 0] > 200) & (images["top"][..., 1] < 100)
        red.append(np.argwhere(mask).mean(0))
    assert np.ptp(np.stack(red), axis=0).min() > 1


def test_pictures_for_people_show_both_parts_from_the_front():
    from simulation import Simulation

    simulation = Simulation("insertion")
    simulation.reset(0)
    picture = simulation.view().astype(int)
    assert picture.shape == (240, 320, 3)
    for channel, others in ((0, (1, 2)), (2, (0, 1))):  # the red peg and the blue socket
        seen = picture[..., channel] - picture[..., others].max(-1) > 100
        assert seen.sum() > 100
