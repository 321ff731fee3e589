"""The demo's page: one HTML file with pictures and video inside, built from stored results alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ikp.demo.config import TITLES
from ikp.demo.decision import Decision
from ikp.demo.offsets import verdict
from ikp.demo.page import embedded, html_page, picture, table
from ikp.demo.plots import (
    energy_figure,
    film_figure,
    final_errors,
    learning_curves,
    offset_bars,
    save_figure,
    scene_figure,
    success_curve,
)
from ikp.files import read_json, replaced_atomically
from ikp.policies.residual import ANGLE_PRIOR
from ikp.rollouts.summary import TOLERANCES, percent, tolerance_name
from ikp.training.metrics import last_probe, last_sigmas, read_metrics
from ikp.training.scene_motion import SHIFT_METRES, TURN_DEGREES

PAGE = "index.html"
FIGURES = "figures"


def write_report(root: Path, result: Mapping[str, Any]) -> Path:
    """Draw all figures from the files that the demo stored in `root`, and write `index.html`; returns its path.

    Args:
        root: the demo's folder, with `rollouts.mp4`, `decision.npz`, `runs/` and `evaluations/`.
        result: the content of `result.json`.
    """
    decision = Decision.load(root / "decision.npz")
    _draw(root, result, decision)
    sections = [_headline(root, result), _task(root, result, decision), _learning(root, result)]
    sections += [_decision(root, decision), _offsets(root, result), _provenance(root, result)]
    page = html_page("IKP: insertion from pixels on a miscalibrated UR5e", sections)
    with replaced_atomically(root / PAGE) as fresh:
        fresh.write_text(page, encoding="utf-8")
    return root / PAGE


def _draw(root: Path, result: Mapping[str, Any], decision: Decision) -> None:
    main = result["main"]
    episodes = read_json(root / "evaluations" / f"{main}-final.json")["episodes"]
    figures = {
        "learning": learning_curves(read_metrics(root / "runs" / main / "metrics.jsonl")),
        "success": success_curve(result["curves"], TITLES),
        "errors": final_errors(episodes),
        "scene": scene_figure(decision),
        "energies": energy_figure(decision),
        "film": film_figure(decision),
        "offsets": offset_bars(result["offsets"]),
    }
    for name, made in figures.items():
        save_figure(made, root / FIGURES / f"{name}.png")


def _headline(root: Path, result: Mapping[str, Any]) -> str:
    summary = result["summary"]
    count, total = summary["success"]["count"], summary["episodes"]
    tiles = []
    for tolerance in TOLERANCES if "within" in summary else ():
        share = summary["within"][tolerance_name(tolerance)]
        words = f"within {tolerance[0]:g} mm and {tolerance[1]:g}°"
        tiles.append(_tile(percent(share).split(" (")[0], words, _interval(share)))
    tiles.append(
        _tile(f"{result['seconds'] / 60:.0f} min", "in all", "data, training, evaluation, this page")
    )
    video = embedded(root / "rollouts.mp4", "video/mp4")
    return f"""<header>
<h1>A miscalibrated robot learns to insert a block, from pixels</h1>
<p class="lead">An Implicit Kinematic Policy (IKP) inserted the block in <b>{count} of {total}</b> configurations
that it had never seen, a success rate of <b>{percent(summary["success"])}</b>; the range in brackets is the 95 %
Wilson interval.</p>
</header>
<div class="tiles">{"".join(tiles)}</div>
<figure><video controls autoplay muted loop playsinline src="{video}"></video>
<figcaption>The first {min(9, total)} of these rollouts, not selected, in real time. A green frame means that the
block was inserted within 10 mm and 15°, a red frame that time ran out.</figcaption></figure>"""


_IMAGE_PLANE = (
    "The pose of the camera is known, so the policy also sees each action in the image, as the distance that remains "
    "between the tool and the place where the motion leads. The policy finds this place in the image by itself; in "
    "training the label is the tool's own pose when the demonstration next switches the vacuum."
)


def _tile(number: str, words: str, small: str) -> str:
    return f'<div class="tile"><b>{escape(number)}</b><span>{escape(words)}</span><small>{escape(small)}</small></div>'


def _interval(share: Mapping[str, Any]) -> str:
    low, high = share["interval_95"]
    return f"95 % interval {100 * low:.0f} to {100 * high:.0f} %"


def _task(root: Path, result: Mapping[str, Any], decision: Decision) -> str:
    data, offsets = result["data"], result["offsets"]
    height, width = decision.observation.shape[:2]
    size = ", ".join(f"{value:+.1f}" for value in offsets["true"])
    return f"""<h2>What was done</h2>
<p>A UR5e with a suction cup picks an L-shaped block from the table and sets it into an L-shaped fixture; block and
fixture are placed at random. Measured and commanded joint positions differ from the true ones by a constant of up to 2°
per joint (here {
        size
    }°), as on an arm whose zero positions were set by eye. A scripted expert that knows the true
positions demonstrated the task {data["episodes"]} times ({
        data["frames"]
    } frames at 10 Hz). The policy sees one
{width} x {
        height
    } camera image and the six wrong joint readings, ten times a second, and returns six joint targets and
the state of the vacuum. It is not given the offsets.{
        " " + _IMAGE_PLANE if "image" in result["main"] else ""
    }</p>
{_picture(root, "film", "Images of one rollout as the policy sees them, from start to end.")}
{
        _picture(
            root,
            "errors",
            "Final position and yaw of the block in its fixture, over all evaluated episodes. "
            "Dotted lines: the tolerances above.",
        )
    }"""


def _learning(root: Path, result: Mapping[str, Any]) -> str:
    main = result["main"]
    training = result["training"][main]
    compared = len(result["methods"]) > 1
    words = (
        "All methods had the same data, the same encoder and the same budget."
        if compared
        else "Add <code>--compare</code> for the same curve of IKP as in the paper, Implicit (joints) and Explicit."
    )
    return f"""<h2>Learning</h2>
<p>{training["steps"]} steps in {training["seconds"] / 60:.1f} minutes. The loss only classifies the
demonstrated joint value against random ones. The error of the chosen action against the expert's is measured on
demonstrations that were kept out of training.</p>
{_moved_scenes(training["train"])}
{_picture(root, "learning", "Errors of the averaged weights on 512 training and 512 held-out frames.")}
{_perception(last_probe(read_metrics(root / "runs" / main / "metrics.jsonl")))}
{_picture(root, "success", f"Success of the averaged policies kept during training; bars are 95 % intervals. {words}")}
{_methods_table(result) if compared else ""}"""


def _moved_scenes(train: Mapping[str, Any]) -> str:
    if not train["moved_scenes"]:
        return ""
    return f"""<p>Half of every batch shows the scene elsewhere on the table, turned about the robot's base by up to
{TURN_DEGREES:g}° and shifted by up to {100 * SHIFT_METRES:g} cm: kinematics give the joints, the camera's model gives
the images.</p>"""


def _perception(probe: Mapping[str, float]) -> str:
    if not probe:
        return ""
    return f"""<p>A linear map of the encoder's features predicts where the tool works next (its pose when the
demonstration next switches the vacuum) to {probe["probe_mm_median"]:.0f} mm and
{probe["probe_deg_median"]:.1f}° at the median, {probe["probe_mm_p90"]:.0f} mm and {probe["probe_deg_p90"]:.1f}° at the
90th percentile of held-out frames. Without the image the best guess is off by {probe["blind_mm_median"]:.0f} mm and
{probe["blind_deg_median"]:.1f}°.</p>"""


def _methods_table(result: Mapping[str, Any]) -> str:
    head = [
        "method",
        *(f"within {mm:g} mm, {deg:g}°" for mm, deg in TOLERANCES),
        "steps",
        "training",
        "one call, 100 robots",
    ]
    rows = []
    for method, summary in result["methods"].items():
        training = result["training"][method]
        cells = [TITLES[method]]
        cells += (
            [percent(summary["within"][tolerance_name(t)]) for t in TOLERANCES] if "within" in summary else []
        )
        cells += [
            str(training["steps"]),
            f"{training['seconds'] / 60:.1f} min",
            f"{result['policy_milliseconds'][method]:.0f} ms",
        ]
        rows.append(cells)
    return table(head, rows)


def _decision(root: Path, decision: Decision) -> str:
    return f"""<h2>One decision in detail</h2>
<p>The policy chooses one joint after the other, from the base to the tool. For each joint it searches the value of
least energy, given the joints already chosen. The energy sees each candidate value twice: as a joint angle, and as the
pose in space that the arm's kinematics give it. Below is step {
        int(decision.step) + 1
    } of a rollout, the largest
motion before the grasp.</p>
{
        _picture(
            root,
            "scene",
            "Left: the policy's input. Right: the motion that it chose, and the motion of the scripted expert.",
        )
    }
{
        _picture(
            root,
            "energies",
            "For each joint, left: the energy, pooled with the regression, over the joint's range; dark is low energy, "
            "which is good. Right: the same candidates in space, with the link that the joint moves and the path of "
            "its far end (the next joint, or the tool), seen along the joint's axis; the rest of the arm is grey. The "
            "far ends of the first and the last joint lie on their own axes, so only a direction turns there.",
        )
    }"""


def _offsets(root: Path, result: Mapping[str, Any]) -> str:
    offsets = result["offsets"]
    sigmas = last_sigmas(read_metrics(root / "runs" / result["main"] / "metrics.jsonl"))
    words = [_learned_words(offsets), _interval_words(sigmas), _solved_words(offsets)]
    return f"""<h2>Learned and true offsets</h2>
<p>{" ".join(words)}</p>
{
        _picture(
            root,
            "offsets",
            "Left: offsets per joint. Right: the motion of the tool per degree of one joint's offset that the other "
            "offsets, and the placements of base and tool where they are unknown, cannot explain, by least squares "
            "over the demonstrated configurations (rotations count at a lever of 10 cm). Zero means that the offset "
            "is not identifiable.",
        )
    }
{_identifiability_words(offsets)}"""


def _learned_words(offsets: Mapping[str, Any]) -> str:
    if offsets["learned"] is None:
        return "This policy has no residual on its joints."
    found = offsets["learned_vs_true"]
    why = (
        " The training loss does not ask for the true values: the network itself can learn the small change that a "
        "constant offset makes to the map from readings to actions."
    )
    return (
        f"The policy's residual ended with an error of <b>{found['rms_error']:.2f}° RMS</b> against the true offsets, "
        f"which are {found['rms_true']:.2f}° RMS themselves (correlation {found['correlation']:+.2f} over six joints): "
        f"<b>{verdict(found)}</b>.{'' if verdict(found) == 'recovered' else why}"
    )


def _interval_words(sigmas: Sequence[float]) -> str:
    if not sigmas:
        return ""
    low, high, most = (1.96 * sigma for sigma in (min(sigmas), max(sigmas), math.degrees(ANGLE_PRIOR)))
    return (
        f"The training itself gives the learned offsets 95 % intervals of ±{low:.1f} to ±{high:.1f}°, in which the "
        f"network's weights are as unknown as the offsets; without any data they are ±{most:.1f}°."
    )


def _solved_words(offsets: Mapping[str, Any]) -> str:
    along = offsets["along_directions"]
    learned = f" (the learned residual is off by {along['learned']:.2f}° there)" if "learned" in along else ""
    return (
        "The demonstrations hold more information: the expert keeps the tool vertical and grasps at one height, and "
        f"least squares on these two facts determine {offsets['directions']} of {len(offsets['joints'])} combinations "
        f"of offsets, with an error of {along['from_constraints']:.2f}° RMS along them, where the true offsets measure "
        f"{along['true']:.2f}°{learned}; along the other combinations this estimate stays at zero."
    )


def _identifiability_words(offsets: Mapping[str, Any]) -> str:
    rows = [
        [
            name.removesuffix("_joint").replace("_", " "),
            *(f"{values[j]:.2f}" for values in offsets["remaining_mm"].values()),
        ]
        for j, name in enumerate(offsets["joints"])
    ]
    head = ["mm per degree left", *offsets["remaining_mm"]]
    lost = {
        scenario: [rows[j][0] for j, value in enumerate(values) if value < 1e-3]
        for scenario, values in offsets["remaining_mm"].items()
    }
    sentences = [
        f"With {scenario}: {', '.join(names)} cannot be distinguished from it at all." if names
        else f"With {scenario}: every joint has an effect of its own."
        for scenario, names in lost.items()
    ]  # fmt: skip
    here = "Here the camera is not calibrated to the base, nor the tool to the flange."
    return f"<p>{escape(' '.join(sentences))} {here}</p>{table(head, rows)}"


_STAGE_NAMES = {"collect": "demonstrations", "explain": "decision and offsets"}


def _provenance(root: Path, result: Mapping[str, Any]) -> str:
    provenance = result["provenance"]
    machine = provenance["machine"]
    rows = []
    for name, stage in result["stages"].items():
        kind, _, method = name.partition("-")
        words = (
            _STAGE_NAMES.get(name)
            or {"train": "training", "evaluate": "evaluation", "curve": "curve"}[kind] + f", {method}"
        )
        rows.append(
            [
                words,
                f"{stage['seconds'] / 60:.1f} min",
                "" if stage["runs"] == 1 else f"in {stage['runs']} runs",
            ]
        )
    rows.append(["in all", f"{result['seconds'] / 60:.1f} min", ""])
    main = result["main"]
    train = result["training"][main]["train"]
    facts = [
        ["machine", f"{machine['processor']}, {machine['cores']} cores, GPU: {machine['gpu'] or 'none'}"],
        ["command", provenance["command"]],
        ["commit", provenance["commit"] or "unknown"],
        ["date", provenance["date"]],
        ["versions", f"Python {provenance['python']}, torch {provenance['torch']}"],
        ["task", f"{result['task']['env_id']}, {result['task']['env_kwargs']}"],
        [
            "training",
            f"recipe {result['recipe']}, batches of {train['batch_size']}, seed {train['seed']}, one seed only",
        ],
    ]
    return f"""<h2>Durations and provenance</h2>
{table(["stage", "time", ""], rows)}
{table(["", ""], facts)}
<p>All numbers are in <code>result.json</code> and <code>evaluations/</code> beside this page, with every episode;
the trained policy is in <code>runs/{main}/policy</code>, and
<code>ikp evaluate --policy {escape(str(root / "runs" / main))} --episodes {result["summary"]["episodes"]}</code>
repeats the evaluation.</p>"""


def _picture(root: Path, name: str, caption: str) -> str:
    return picture(root / FIGURES / f"{name}.png", caption)
