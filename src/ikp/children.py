"""Environment variables of processes that this one starts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Linear algebra in one thread, for processes that share the cores: more threads would wait for each other."""
DRAWS_ALONE = {"LP_NUM_THREADS": "0"}
"""Mesa's software renderer draws in the calling thread."""


@contextlib.contextmanager
def starting_with(variables: Mapping[str, str]) -> Iterator[None]:
    """Processes that are started in the block get these environment variables."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
