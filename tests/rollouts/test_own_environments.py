"""Evaluation on environments that know nothing of this library."""

import inspect
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.wrappers import TimeLimit

import ikp.rollouts.evaluate as module
from ikp.kinematics import ur5e
from ikp.policies import DataSpec, PolicyConfig, make_policy
from ikp.policies.frame_map import frame_of
from ikp.rollouts.environments import EnvironmentMaker, check_actions
from ikp.rollouts.evaluate import evaluate

from .acting import policy_for
from .own_environments import CameraPoint, Endless, GoalPoint, Point

SPLIT = {"state": lambda o: o[:1], "environment_state": lambda o: o[1:]}
GOAL = {"state": "observation", "environment_state": "desired_goal"}


@pytest.fixture(autouse=True)
def _count_from_zero():
    for kind in (Point, GoalPoint, CameraPoint, Endless):
        kind.alive = kind.most_alive = 0
    yield
    assert all(kind.alive == 0 for kind in (Point, GoalPoint, CameraPoint, Endless)), "all are closed"


def close_in(distance=0.05):
    return lambda info: info["distance"] < distance


@pytest.fixture
def mover():
    """Goes half of the way to the goal in the environment state."""
    spec = DataSpec(("x",), ("x",), ("goal",), fps=10)
    return policy_for(spec, lambda o: 0.5 * (o["environment_state"][:, -1] - o["state"][:, -1]).clamp(-1, 1))


@pytest.fixture
def seer():
    """Goes half of the way to the goal in the image."""
    spec = DataSpec(("x",), ("x",), image_shapes={"top": (8, 8, 3)}, fps=10)
    goal = lambda o: o["images"]["top"][:, -1, 0, 0, :1] / 100.0 - 1  # noqa: E731
    return policy_for(spec, lambda o: 0.5 * (goal(o) - o["state"][:, -1]).clamp(-1, 1))


def rollout(env, policy, **options):
    return evaluate(env, policy, **{"episodes": 4, "progress": False, **options})


KINDS = {
    "vector": (Point, "mover", {"frame": SPLIT, "success": close_in()}),
    "one function": (
        Point,
        "mover",
        {"frame": lambda o: dict(state=o[:1], environment_state=o[1:]), "success": close_in()},
    ),
    "goals": (GoalPoint, "mover", {"frame": GOAL}),
    "cameras": (CameraPoint, "seer", {}),
    "nested key": (CameraPoint, "seer", {"frame": {"state": "agent_pos", "top": "pixels/top"}}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_observation_and_success(kind, request):
    environment, policy, options = KINDS[kind]
    found = rollout(environment, request.getfixturevalue(policy), **options)
    assert found.success_rate == 1.0
    assert [episode.steps for episode in found.episodes] == [6] * 4
    assert all(episode.reward < 0 for episode in found.episodes)
    short = rollout(lambda: environment(length=1), request.getfixturevalue(policy), **options)
    assert short.success_rate < 1.0, "half of the way is not there"


def test_an_id_a_function_and_an_instance_give_the_same(seer):
    env = CameraPoint()
    by_id = rollout("other/CameraPoint-v0", seer, env_kwargs={"length": 3})
    by_function = rollout(CameraPoint, seer, env_kwargs={"length": 3})
    by_instance = rollout(TimeLimit(env, 3), seer)
    assert by_id.episodes == by_function.episodes == by_instance.episodes
    assert len({episode.reward for episode in by_id.episodes}) == 4
    assert by_id.env_id == "other/CameraPoint-v0"
    assert by_function.env_id == by_instance.env_id == "CameraPoint"
    assert not env.closed
    env.close()
    with pytest.raises(ValueError, match="cannot be given to the environment CameraPoint, which is made"):
        rollout(env, seer, env_kwargs={"length": 3})


def test_what_is_missing_is_named_with_the_fix(mover, seer):
    for env, policy, options, words in (
        (Point, mover, {"success": close_in()}, "'state' has the shape .2,.*frame="),
        (GoalPoint, mover, {}, "no 'state'.*has .'observation', 'desired_goal', 'achieved_goal'.*frame="),
        (Point, seer, {"frame": {"state": lambda o: o[:1]}}, "no image of camera 'top'.*frame="),
        (GoalPoint, mover, {"frame": {**GOAL, "state": "obs"}}, "no 'obs': there are .'observation'"),
        (Point, mover, {"frame": {"state": "qpos"}}, "'qpos', but the observation has a ndarray"),
        (Point, mover, {"frame": lambda o: o}, "returned a ndarray: return a dictionary"),
        (Point, mover, {"frame": SPLIT}, "no 'success' and no 'is_success': it has .'distance', 'text'"),
        (Point, mover, {"frame": SPLIT, "success": "solved"}, "info has no 'solved'"),
        (Point, mover, {"frame": SPLIT, "success": "text"}, "success is 'words': it must be true or false"),
    ):
        with pytest.raises(ValueError, match=words):
            rollout(env, policy, **options)


def test_what_is_no_environment_is_refused(mover):
    vector = gymnasium.make_vec("other/Point-v0", 1)
    for env, words in (
        (3, "is a int: give a Gymnasium id"),
        (vector, "a single one, not a vector"),
        (lambda: 3, "made a int: it must make a gymnasium.Env"),
        ("other/Missing-v0", "cannot make the environment 'other/Missing-v0' with no options"),
        ("Nowhere", "or give a Gymnasium id"),
    ):
        with pytest.raises(ValueError, match=words):
            EnvironmentMaker(env, {}).make()
    vector.close()
    with pytest.raises(ValueError, match="with size=3: .*unexpected keyword"):
        rollout("Pendulum-v1", mover, env_kwargs={"size": 3})
    with pytest.raises(ValueError, match=r"actions of the space Discrete\(2\), the policy makes 1 numbers"):
        rollout("CartPole-v1", mover)
    with pytest.raises(ValueError, match=r"actions of the shape \(1,\), the policy makes 2 numbers \(a, b\)"):
        check_actions(gymnasium.make("Pendulum-v1"), DataSpec(("a", "b")), "Pendulum")


@pytest.mark.parametrize("name", ["max_steps", "simultaneous"])
def test_numbers_below_one_are_refused(mover, name):
    with pytest.raises(ValueError, match=f"{name} is 0: it must be from 1 to"):
        rollout(Point, mover, **{name: 0})


@pytest.mark.parametrize("name", ["episodes", "seed", "max_steps", "simultaneous", "video_episodes"])
def test_numbers_that_are_not_whole_are_refused(mover, name):
    unhooked = inspect.unwrap(evaluate)  # without the checks of the tests' import hook
    with pytest.raises(ValueError, match=f"{name} is 2.5: it must be a whole number"):
        unhooked(Point, mover, **{"progress": False, name: 2.5})


def test_observations_that_differ_from_their_space_are_named_with_the_fix(mover):
    class Other(Point):
        def reset(self, **options):
            return {"angle": np.zeros(1, np.float32)}, {}

    gymnasium.register("ikp-tests/Other-v0", entry_point=Other)
    with pytest.raises(ValueError, match="angle"):
        rollout("ikp-tests/Other-v0", mover)


def test_endless_environments_end(mover, monkeypatch):
    options = {"frame": SPLIT, "success": close_in()}
    assert [e.steps for e in rollout(Endless, mover, max_steps=7, **options).episodes] == [7] * 4
    monkeypatch.setattr(module, "MOST_STEPS", 9)
    with pytest.warns(UserWarning, match="Endless did not end within 9 steps: set max_steps"):
        assert [e.steps for e in rollout(Endless, mover, **options).episodes] == [9] * 4
    own_limit = rollout(lambda: TimeLimit(Endless(), 12), mover, **options)
    assert [e.steps for e in own_limit.episodes] == [12] * 4


@pytest.mark.parametrize("simultaneous", [1, 2, 5, 9])
def test_any_number_at_once_gives_the_same(mover, simultaneous):
    options = {"frame": SPLIT, "success": close_in(), "episodes": 5}
    assert (
        rollout(Point, mover, simultaneous=simultaneous, **options).episodes
        == rollout(Point, mover, **options).episodes
    )
    Point.most_alive = 0
    rollout(Point, mover, simultaneous=simultaneous, **options)
    assert Point.most_alive == min(simultaneous, 5)


def test_environments_take_half_of_the_memory(mover, monkeypatch):
    options = {"frame": SPLIT, "success": close_in(), "episodes": 20}
    monkeypatch.setattr(module, "free_memory", lambda: 1000 - 100 * Point.alive)
    assert len(rollout(Point, mover, **options).episodes) == 20
    assert Point.most_alive == 6
    rollout(Point, mover, simultaneous=10, **options)
    assert Point.most_alive == 10, "the user knows better"


def test_video_of_own_environments(seer, tmp_path):
    for number, env in enumerate(("other/CameraPoint-v0", CameraPoint, CameraPoint(render_mode="rgb_array"))):
        rollout(env, seer, video=tmp_path / f"{number}.mp4", video_episodes=3)
        assert (tmp_path / f"{number}.mp4").stat().st_size > 500
    env.close()
    with pytest.raises(
        ValueError, match="renders a NoneType, no image: make it with render_mode='rgb_array'"
    ):
        rollout(lambda: CameraPoint(length=3), seer, video=tmp_path / "none.mp4")
    assert not (tmp_path / "none.mp4").exists()


def test_arguments_that_an_environment_does_not_take(mover, tmp_path):
    """No render_mode is passed where no video is asked for, and where it is not taken the video is refused."""

    class Bare(Point):
        def __init__(self):
            super().__init__()

    gymnasium.register("other/Bare-v0", entry_point=Bare)
    options = {"frame": SPLIT, "success": close_in()}
    assert rollout("other/Bare-v0", mover, **options).episodes
    with pytest.raises(ValueError, match="render_mode.*; leave the video out"):
        rollout("other/Bare-v0", mover, video=tmp_path / "a.mp4", **options)


def test_other_rates_robots_and_actions_are_told_once(mover):
    class Arm(Point):
        control_dt = 0.5
        robot = type("Robot", (), {"joint_names": ("one", "two")})

        def __init__(self):
            super().__init__()
            self.action_space = gymnasium.spaces.Box(-1, 1, (6,), np.float64)

        def observe(self):
            return np.zeros(6)

    spec = DataSpec(tuple("abcdef"), tuple("abcdef"), joint_dims=tuple(range(6)), fps=10)
    policy = make_policy(ur5e(), spec, PolicyConfig(width=8, blocks=1)).eval()
    policy.act = lambda o: torch.full((len(o["state"]), 6), 2.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rollout(Arm, policy, success=close_in())
    told = [str(w.message) for w in caught if "Arm" in str(w.message)]
    assert [
        ("2 steps per second" in t, "joints one, two" in t, "leaves the action space" in t) for t in told
    ] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rollout(Point, mover, frame=SPLIT, success=close_in())


def test_frames_of_arrays_and_dictionaries():
    vector, image = np.zeros(4), np.zeros((8, 8, 3), np.uint8)
    assert frame_of(vector)["state"] is vector
    assert frame_of(image)["image"] is image
    assert frame_of({"a": 1}, {"b": "a"}) == {"a": 1, "b": 1}
    assert frame_of({"a/b": 1, "a": {"b": 2, "c": {"d": 3}}}, {"x": "a/b", "y": "a/c/d"})["x"] == 1
    assert frame_of({"a": {"c": {"d": 3}}}, {"y": "a/c/d"})["y"] == 3
