"""Evaluation on simulations without physics."""

import json

import av
import numpy as np
import pytest

from ikp.files import write_json
from ikp.policies.execution import Execution
from ikp.policies.timing import TimingConfig


def still(frame):
    return np.ones((5, 14))


@pytest.mark.parametrize(("executed", "decisions"), [(1.0, 4), (0.4, 10), (0.2, 20), (1e-6, 400)])
def test_a_share_of_the_horizon_is_executed_before_the_next_decision(follower, executed, decisions):
    from evaluate import run_episode

    simulation, seen = follower(), []

    def policy(frame):
        seen.append(frame["step"])
        return still(frame)

    execution = Execution(TimingConfig(2.5, 5, executed), 50)
    episode, seconds = run_episode(policy, simulation, 7, execution)
    assert seen == list(range(0, 400, 400 // decisions))
    assert len(seconds) == simulation.rendered == decisions
    assert (episode.seed, episode.reward, episode.steps) == (7, 0, 400)
    assert len(simulation.commands) == 400


def test_motions_start_at_the_last_command(follower):
    from evaluate import run_episode

    simulation = follower()
    targets = iter(np.arange(1.0, 21.0))
    run_episode(
        lambda frame: np.full((1, 14), next(targets)), simulation, 0, Execution(TimingConfig(2.5), 50)
    )
    assert np.stack(simulation.commands)[:, 0] == pytest.approx(np.arange(1, 401) / 20)


def test_an_episode_ends_with_success(follower):
    from evaluate import run_episode

    execution = Execution(TimingConfig(2.5, 5), 50)
    episode, _ = run_episode(still, follower({30: 3, 123: 4}), 0, execution)
    assert (episode.reward, episode.steps, episode.is_success) == (4, 123, True)
    episode, _ = run_episode(still, follower({30: 3}), 0, execution)
    assert (episode.reward, episode.steps, episode.is_success) == (3, 400, False)


def test_the_record_counts_successes_and_how_far_the_others_came(follower, tmp_path, capsys):
    from evaluate import evaluate

    class EverySecond(follower):
        def reset(self, seed):
            self.rewards = {50: 4 if seed % 2 else 2}
            return super().reset(seed)

    record = evaluate(still, EverySecond(), range(10, 14), TimingConfig(2.5, 5, 0.4))
    record = json.loads(write_json(tmp_path / "record.json", record).read_text())
    assert record["success_rate"] == 0.5
    assert record["rewards"] == {"0": 0, "1": 0, "2": 2, "3": 0, "4": 2}
    assert [(each["seed"], each["steps"]) for each in record["episodes"]] == [
        (10, 400),
        (11, 50),
        (12, 400),
        (13, 50),
    ]
    assert (record["task"], record["timing"]["rate"], record["timing"]["executed"]) == ("transfer", 2.5, 0.4)
    assert 0 < record["interval_95"][0] < 0.5 < record["interval_95"][1] < 1


def test_a_film_shows_the_first_episodes_ten_times_a_second(follower, tmp_path):
    from evaluate import Film, evaluate

    simulation = follower({100: 4})
    film = Film(simulation, 2)
    evaluate(still, simulation, range(3), TimingConfig(2.5, 5), film=film)
    taken = [[int(picture[0, 0, 0]) for picture in episode] for episode in film.episodes]
    assert taken == [list(range(0, 100, 5)), list(range(0, 100, 5)), []]
    path = film.write(tmp_path / "film.mp4")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 10
        assert sum(1 for _ in container.decode(stream)) == 20 + 15  # the last picture stays for 1.5 seconds


def test_the_experts_way_points_are_its_commands(follower):
    from evaluate import expert_policy, run_episode
    from experts import plan

    simulation = follower()
    run_episode(expert_policy(simulation, TimingConfig()), simulation, 0, Execution(TimingConfig(), 50))
    assert np.stack(simulation.commands) == pytest.approx(plan("transfer", simulation.objects))
