"""`ikp view`: what a policy sees and decides at a recorded step."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from tyro.conf import arg


@dataclass(frozen=True)
class View:
    """Show a policy's decisions along a recorded episode: image, arm, energy of each joint, the chosen action.

    For example:
      ikp view --policy runs/align --data data/align --step 20 --out view.png
      ikp view --policy runs/align --data runs/deployed --episode 3 --out view.mp4
      ikp view --policy runs/align --data runs/deployed --out view.rrd

    Attributes:
        policy: folder of a run or of a policy of the method ikp.
        data: folder of a data set, recorded or deployed.
        out: the file: png for one step, mp4 for an episode, rrd for Rerun.
        episode: index of the episode, from 0.
        step: a frame of it, from 0.
    """

    HINT: ClassVar[str] = "it begins anew when it is run again"

    policy: Path
    data: Path
    out: Path = Path("view.png")
    episode: int = 0
    step: Annotated[
        int | None, arg(metavar="INT", help_behavior_hint="(default: all, png: the middle one)")
    ] = None

    def run(self) -> None:
        from ikp.files import writable_file
        from ikp.policies import load_policy
        from ikp.policies.checkpoint import policy_folder
        from ikp.robots.view import write_view
        from ikp.runs import policy_provenance, task_of_data

        writable_file(self.out)
        learned, shown = policy_provenance(self.policy).get("task"), task_of_data(self.data)
        if learned and shown and learned["env_id"] != shown.env_id:
            warnings.warn(
                f"the policy {self.policy} is from the task {learned['env_id']}, {self.data} from {shown.env_id}",
                stacklevel=2,
            )
        policy = load_policy(policy_folder(self.policy))
        print(f"wrote {write_view(policy, self.data, self.episode, self.step, self.out)}")
