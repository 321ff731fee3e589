"""Rewrite all stored results for the present configuration; run once, `python tools/migrate_records.py`.

Keys `origin` become `provenance`, a run's `preset` becomes `recipe`, and settings of policies and trainings get the
present fields. Values that these cannot express are kept under `settled` beside them. No number changes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ikp.files import write_json
from ikp.policies.config import PolicyConfig
from ikp.training.config import TrainConfig

RENAMED = {"origin": "provenance", "preset": "recipe"}
ENCODER = {
    "stem": 4, "coordinates": False, "fine_layers": 0, "layers": 2, "heads": 32, "seen": 16, "features": 128,
    "normalize": True, "bfloat16": True,
}  # fmt: skip
PLANE = {"inputs": True, "labels": True, "candidates": True}
POLICY = {"energy_gradient": 1.0, "fine_motion": True, "fk_weight": 1.0}
TRAIN = {
    "residual_learning_rate": 3e-4, "weight_decay": 1e-4, "warmup": 0.02, "ema": 0.998, "clip": 5.0, "image_shift": 0,
}  # fmt: skip
SCENES = {"scene_turn": 8.0, "scene_shift": 0.03}
MUON = 1.5
"""Muon's learning rate as a multiple of AdamW's."""


def policy_of(old: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The present fields, and what they cannot express."""
    old = dict(old)
    encoder, plane = dict(old.pop("encoder")), dict(old.pop("image_plane", PLANE | {"refine_camera": False}))
    space = old.pop("action_space")
    shown = space.endswith("+image")
    assert old["bfloat16"] == encoder["bfloat16"]
    new = {
        "kind": old.pop("kind"),
        "action_space": space.removesuffix("+image"),
        "residual": old.pop("residual"),
        "targets": old.pop("targets"),
        "history": old.pop("history"),
        "encoder": {"kind": encoder.pop("kind"), "channels": encoder.pop("channels")},
        "width": old.pop("width"),
        "blocks": old.pop("blocks"),
        "negatives": old.pop("negatives"),
        "proposal": old.pop("proposal"),
        "bfloat16": old.pop("bfloat16"),
        "image_plane": {"refine_camera": plane.pop("refine_camera")} if shown else None,
        "search": {
            "method": {"search": "grid", "langevin": "langevin"}[old.pop("inference")],
            **{name: old.pop(name) for name in ("grid", "refinements", "beam", "window")},
        },
        "ablation": {
            "links": old.pop("links"),
            "observed_poses": old.pop("cartesian_observation"),
            "prefix_noise": old.pop("prefix_noise"),
        },
    }
    settled = other_than(old, POLICY)
    for name, rest, usual in (("encoder", encoder, ENCODER), ("image_plane", plane, PLANE)):
        if name == "encoder" or shown:
            settled |= {name: kept} if (kept := other_than(rest, usual)) else {}
    assert PolicyConfig.from_json(new).to_json() == new, new
    return new, settled


def train_of(old: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The present fields, and what they cannot express."""
    old = dict(old)
    scenes = {name: old.pop(name, 0.0) for name in SCENES}
    moved = any(scenes.values())
    settled = {name: value for name, value in scenes.items() if moved and value != SCENES[name]}
    muon = old.pop("muon_learning_rate")
    settled |= {} if muon == MUON * old["learning_rate"] else {"muon_learning_rate": muon}
    settled |= other_than({name: old.pop(name) for name in TRAIN}, TRAIN)
    new = {**old, "moved_scenes": moved}
    order = [name for name in TrainConfig().to_json() if name in new]
    assert sorted(order) == sorted(new), new
    new = {name: new[name] for name in order}
    assert {**TrainConfig().to_json(), **new} == TrainConfig.from_json(new).to_json()
    return new, settled


def other_than(values: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """Values that differ from the usual ones; every one of them has to be known."""
    assert values.keys() <= usual.keys(), values.keys() - usual.keys()
    return {name: value for name, value in values.items() if value != usual[name]}


def migrated(value: Any) -> Any:
    """A result with present names and settings."""
    if isinstance(value, list):
        return [migrated(item) for item in value]
    if not isinstance(value, dict):
        return value
    new: dict[str, Any] = {}
    settled: dict[str, Any] = {}
    for key, item in value.items():
        rest: dict[str, Any] = {}
        if key == "policy" and isinstance(item, dict) and "action_space" in item:
            item, rest = policy_of(item)
        elif key == "train" and isinstance(item, dict) and "muon_learning_rate" in item:
            item, rest = train_of(item)
        else:
            item = migrated(item)
        new[RENAMED.get(key, key)] = item
        settled |= {key: rest} if rest else {}
    if {"metric", "policy"} <= value.keys():  # settings of a run
        new |= {"expert": value.get("expert", {}), "rough_camera": value.get("rough_camera", False)}
    return {**new, "settled": settled} if settled else new


def main() -> None:
    """Rewrite every file below `results` that changes."""
    changed = 0
    for path in sorted(Path("results").rglob("*.json")):
        old = json.loads(path.read_text())
        new = migrated(old)
        if new != old:
            write_json(path, new)
            changed += 1
    print(f"{changed} files rewritten")


if __name__ == "__main__":
    main()
