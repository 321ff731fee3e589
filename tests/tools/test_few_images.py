"""Squares in images: the experiment on learning from few images."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "few_images.py"


@pytest.fixture(scope="module")
def few_images():
    """The benchmark; it is in no package."""
    spec = importlib.util.spec_from_file_location("few_images", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_action_is_the_middle_of_the_green_pixels(few_images):
    centers = np.array([[3, 92], [40, 7]])
    data = few_images.squares(centers)
    for image, action in zip(data.images["camera"], data.action, strict=True):
        green = (image == image.new_tensor((0, 255, 0))).all(-1).nonzero()
        assert len(green) == 49
        assert action.tolist() == pytest.approx((green.float().mean(0) / 95 * 2 - 1).tolist())


def test_no_tested_place_was_shown(few_images):
    rng = np.random.default_rng(0)
    shown = few_images.places(1000, rng)
    tested = few_images.unseen_places(500, shown, rng)
    assert tested.shape == (500, 2)
    assert not {tuple(place) for place in tested} & {tuple(place) for place in shown}


def test_a_policy_is_trained_and_tested(few_images):
    row = few_images.run("implicit", examples=5, steps=2, seed=0, encoder="pool")
    assert 1 < row["mean_px"] < few_images.SIDE
    assert row["within_1px"] < 10
