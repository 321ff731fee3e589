"""Set-up shared by all tests.

The import hook makes beartype check every annotation of ``ikp``, shapes and plain types, while the tests run;
outside of pytest the annotations cost nothing.
"""

import os

os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported, here and in child processes

from jaxtyping import install_import_hook

# Before anything imports ikp; an int is a float, as for every static checker.
install_import_hook("ikp", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import hypothesis
import numpy as np
import pytest
import torch

# Reproducible, and no time limit per example: the first one may pay for an import or a compilation.
hypothesis.settings.register_profile("ikp", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("ikp")

torch.set_num_threads(1)  # the workers of pytest-xdist share the cores


@pytest.fixture(autouse=True)
def _same_start(tmp_path, monkeypatch):
    """Seeds the global generators and runs the test in a folder of its own: none writes into the checkout."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the legacy generator is what third-party code may use
    monkeypatch.chdir(tmp_path)
