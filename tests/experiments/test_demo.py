"""The demo from nothing to its page at a tiny size, stopped on the way and continued."""

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from ikp.experiments import demo
from ikp.experiments.decision import Decision
from ikp.experiments.demo import DemoConfig, run_demo

CONFIG = DemoConfig(preset="tiny", episodes=2, curve_episodes=1, workers=1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished demo: its folder, its result and what the user saw. The first run is stopped before evaluation."""
    from ikp.experiments import presets
    from tests_tiny import TINY  # noqa: F401  (kept in conftest)

    raise NotImplementedError(presets)
