"""Implicit Kinematic Policies as a policy of LeRobot.

LeRobot imports this package because of its name, and the package registers `--policy.type=ikp`.

- `configuration_ikp`: options, and everything a trained policy needs, frozen: robot, specification, joint map.
- `modeling_ikp`: the policy; `preparation`: the policy itself, new or trained, and the numbers of its data set.
- `optimization`: optimiser and schedule of ikp's recipes as LeRobot's.
- `processor_ikp`: LeRobot's pipelines, which change no number.
- `exchange`: LeRobot checkpoints from runs of ikp, and back.
"""

from lerobot_policy_ikp.configuration_ikp import IKPConfig
from lerobot_policy_ikp.exchange import export_policy, import_policy
from lerobot_policy_ikp.modeling_ikp import IKPPolicy

__all__ = ["IKPConfig", "IKPPolicy", "export_policy", "import_policy"]
