"""The joint map of demonstrations whose encoders seem to be off: all that a policy of joint targets notices of it.

.venv-aloha/bin/python benchmarks/aloha/wrong_zeros.py outputs/aloha/insertion outputs/aloha/zeros.json
.venv-aloha/bin/ikp train --data outputs/aloha/insertion --joint-map outputs/aloha/zeros.json ...

The offsets are constant, so it makes no difference to the arms whether their encoders are off or the map is: a policy
sees the same numbers, and its commands move the arms in the same way. Only its kinematics is wrong.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import ikp
from ikp.tasks.miscalibration import MAX_OFFSET, Miscalibration


def wrong_zeros(data: Path, seed: int, degrees: float) -> ikp.JointMap:
    """The joint map of a data set, with other zeros of every joint.

    Args:
        data: folder of the demonstrations.
        seed: of the offsets.
        degrees: the largest offset [deg].
    """
    joint_map = ikp.load_dataset(data, images=False).spec.joint_map
    assert joint_map is not None
    drawn = Miscalibration.from_seed(seed, len(joint_map.joints), degrees)
    return joint_map.shifted(drawn.q_offset.tolist(), reason="wrong on purpose")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path, help="JSON file of the joint map")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--degrees", type=float, default=MAX_OFFSET, help="largest offset")
    chosen = parser.parse_args(arguments)
    print(wrong_zeros(chosen.data, chosen.seed, chosen.degrees).save(chosen.out))


if __name__ == "__main__":
    main()
