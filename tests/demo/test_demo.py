"""The demo from nothing to its page at a tiny size: stopped on the way, continued, opened without a network."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import gymnasium
import numpy as np
import pytest
from PIL import Image

from ikp import recipes
from ikp.demo import run as demo
from ikp.demo.config import DemoConfig
from ikp.demo.decision import Decision
from ikp.demo.run import run_demo
from ikp.demo.snapshots import SHARES, keep_snapshots
from ikp.policies import ImagePlaneConfig, load_policy


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny):
    """Configuration and result of a demo that was stopped during its evaluation and then continued."""
    policy = replace(tiny.policy, image_plane=ImagePlaneConfig())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(recipes.RECIPES, "tiny-demo", replace(tiny, name="tiny-demo", policy=policy))
        yield stopped_and_continued(tmp_path_factory.mktemp("demo") / "out")


def stopped_and_continued(out):
    config = DemoConfig(out=out, recipe="tiny-demo", curve_episodes=1, workers=1)

    def stop(*_, **__):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "evaluate_policy", stop)
        with pytest.raises(KeyboardInterrupt):
            run_demo(config)
    assert not (config.out / "index.html").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gymnasium.registry["ikp/Insertion-v0"], "max_episode_steps", 10)  # it will not succeed
        patch.setattr(demo, "train_policy", stop)  # it is finished, so nobody may call it
        patch.setattr(demo, "collect", stop)
        return config, run_demo(config)


class Page(HTMLParser):
    """Collects the tags that must close, and everything a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.errors = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href", "poster")]

    def handle_endtag(self, tag):
        if self.open.pop() != tag:
            self.errors.append(tag)


def test_the_page_is_whole_and_fetches_nothing(finished):
    config, _ = finished
    text = (config.out / "index.html").read_text()
    page = Page(text)
    assert not page.open
    assert not page.errors
    kinds = [source.split(",")[0] for source in page.sources]
    assert kinds.count("data:video/mp4;base64") == 1
    assert kinds.count("data:image/png;base64") == len(kinds) - 1 >= 7
    outside = re.sub(r"data:[^\"]*", "", text)
    assert not re.search(r"https?://|@import|url\(", outside)
    for source in page.sources:
        if "image" in source[:20]:
            image = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))
            assert image.std() > 1, "no picture is empty"


def test_the_page_and_the_result_say_the_same(finished):
    config, result = finished
    stored = json.loads((config.out / "result.json").read_text())
    assert stored["summary"]["episodes"] == 2
    assert {"command", "commit", "machine", "date"} <= set(stored["provenance"])
    text = (config.out / "index.html").read_text()
    assert f"<b>{result['summary']['success']['count']} of 2</b>" in text
    assert "correlation" in text
    assert "intervals of ±" in text
    assert stored["stages"]["evaluate-ikp-image"]["runs"] == 2
    assert all(stage["finished"] for stage in stored["stages"].values())
    minutes = [point["minutes"] for point in stored["curves"]["ikp-image"]]
    assert len(minutes) == 1 + len(SHARES)
    assert minutes == sorted(minutes)


def test_the_policy_remembers_where_it_comes_from(finished):
    config, _ = finished
    folder = config.out / "runs" / "ikp-image" / "policy"
    provenance = json.loads((folder / "config.json").read_text())["provenance"]
    assert (provenance["recipe"], provenance["method"]) == ("tiny-demo", "ikp")
    assert provenance["task"] == {"env_id": "ikp/Insertion-v0", "env_kwargs": config.task.env_kwargs}
    assert provenance["data"]["episodes"] == 4
    assert load_policy(folder).robot.tip_names == ("tool",)


def test_the_decision_is_the_policys_own(finished):
    config, _ = finished
    decision = Decision.load(config.out / "decision.npz")
    policy = load_policy(config.out / "runs" / "ikp-image" / "policy")
    dof, points = decision.targets.shape
    assert decision.energies.shape == (dof, points)
    width = policy.bounds.high - policy.bounds.low
    assert np.allclose(np.ptp(decision.targets, axis=1), width.numpy(), atol=1e-5)
    # the path of the far end passes through the chosen pose, at the candidate nearest to the choice
    nearest = np.abs(decision.targets - decision.q_chosen[:, None]).argmin(1)
    on_path = decision.far_ends[np.arange(dof), nearest]
    assert np.abs(on_path - decision.far_end_chosen).max() < 2 * float(width.max()) / points


def test_a_second_run_only_writes_the_page_again(finished, monkeypatch, capsys):
    config, result = finished
    for name in ("collect", "train_policy", "evaluate_policy", "record_decision"):
        monkeypatch.delattr(demo, name)
    (config.out / "index.html").unlink()
    again = run_demo(config)
    assert again["summary"] == result["summary"]
    assert (config.out / "index.html").exists()
    assert capsys.readouterr().out.count("done before") == 5


def test_changed_settings_are_refused_and_nothing_is_touched(finished):
    config, _ = finished
    before = (config.out / "stages.json").read_bytes()
    with pytest.raises(ValueError, match=r"train\.seed was 0, is 1|seed was 0, is 1"):
        run_demo(replace(config, seed=1))
    with pytest.raises(ValueError, match="minutes was None, is 6.0"):
        run_demo(replace(config, minutes=6.0))
    assert (config.out / "stages.json").read_bytes() == before


def test_a_comparison_can_be_added_to_a_finished_demo(finished, monkeypatch):
    config, result = finished
    monkeypatch.setattr(gymnasium.registry["ikp/Insertion-v0"], "max_episode_steps", 10)
    compared = run_demo(replace(config, compare=True))
    assert list(compared["methods"]) == ["ikp-image", "ikp", "implicit-joint", "explicit"]
    assert compared["summary"] == result["summary"]
    text = (config.out / "index.html").read_text()
    assert "<td>Explicit (joints)</td>" in text


def test_the_methods_follow_the_recipe():
    def names(**options):
        return [contestant.name for contestant in DemoConfig(**options).contestants]

    assert names() == ["ikp-image"]
    assert names(recipe="standard") == ["ikp"]
    assert names(compare=True) == ["ikp-image", "ikp", "implicit-joint", "explicit"]
    assert names(recipe="paper", compare=True) == ["ikp", "implicit-joint", "explicit"]
    config = DemoConfig(compare=True)
    planes = [contestant.policy(config.chosen).image_plane for contestant in config.contestants]
    assert [plane is not None for plane in planes] == [True, False, False, False]
    assert all(contestant.train(config.chosen).moved_scenes for contestant in config.contestants)


def test_policies_kept_by_a_killed_branch_of_a_run_are_dropped(finished, tmp_path, tiny):
    config, _ = finished
    policy = load_policy(config.out / "runs" / "ikp-image" / "policy")
    train = replace(tiny.train, steps=100)
    killed = keep_snapshots(tmp_path / "kept", train)
    for step in (10, 30, 60):
        killed(policy, step, 0.0)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["10", "25", "50"]
    keep_snapshots(tmp_path / "kept", train)(policy, 20, 0.0)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["10"]


def test_unusable_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="episodes=0"):
        DemoConfig(out=tmp_path, episodes=0)
    with pytest.raises(ValueError, match="recipe is 'fast': choose one of quick"):
        DemoConfig(out=tmp_path, recipe="fast")
