"""Curves from a run's own files, also after a kill, and figures that say what they show."""

import json

import numpy as np

from ikp.demo.plots import final_errors, learning_curves, save_figure, success_curve
from ikp.recipes import METHOD_TITLES
from ikp.rollouts.summary import summarize
from ikp.training.metrics import read_metrics


def metrics_file(tmp_path, steps, torn=""):
    lines = []
    for step in steps:
        errors = {
            f"{key}_{q}": 10.0 / (1 + step) for key in ("joint_deg", "tip_mm") for q in ("median", "p90")
        }
        line = {"step": step, "seconds": 2.0 * step, "train": {"loss": 5.0 - 0.1 * step}}
        lines.append(json.dumps(line))
        lines.append(json.dumps({"step": step, "seconds": 2.0 * step, "training": errors | {"miss": 0.5}}))
        lines.append(json.dumps({"step": step, "seconds": 2.0 * step, "held_out": errors | {"miss": 0.6}}))
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join([*lines, torn]))
    return path


def test_what_a_killed_run_wrote_beyond_its_state_is_left_out(tmp_path):
    path = metrics_file(tmp_path, [1, 2, 3, 4, 3, 4, 5], torn='{"step": 6, "sec')
    losses = [line["step"] for line in read_metrics(path) if "train" in line]
    assert losses == [1, 2, 3, 4, 5]


def test_learning_curves_have_units(tmp_path):
    made = learning_curves(read_metrics(metrics_file(tmp_path, range(1, 60))))
    labels = [ax.get_ylabel() for ax in made.axes]
    assert labels == ["loss [nat]", "largest joint [deg]", "distance [mm]", "share [%]"]
    path = save_figure(made, tmp_path / "new" / "curves.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_success_curves_show_every_method_with_its_interval():
    rng = np.random.default_rng(0)

    def point(minutes):
        info = [{"position_error": error, "yaw_error": 1.0} for error in rng.uniform(0.0005, 0.02, 20)]
        episodes = [{"success": i["position_error"] < 0.01, "info": i} for i in info]
        return {"minutes": minutes, "summary": summarize({"episodes": episodes})}

    made = success_curve({method: [point(1.0), point(2.0)] for method in ("ikp", "explicit")}, METHOD_TITLES)
    left = made.axes[0]
    assert len(left.containers) == 2
    assert [text.get_text() for text in left.get_legend().get_texts()] == [
        "IKP (joints + link poses)",
        "Explicit (joints)",
    ]


def test_final_errors_show_the_tolerances_even_when_all_fail():
    episodes = [{"success": False, "info": {"position_error": 0.2, "yaw_error": 40.0}}] * 3
    low, high = final_errors(episodes).axes[0].get_xlim()
    assert low <= 2
    assert high > 200
