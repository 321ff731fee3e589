"""The simulated tasks of ikp as environments of LeRobot.

LeRobot imports this package because of its name, and the package registers `--env.type=ikp`.
"""

from lerobot_env_ikp.configuration_ikp_env import IKPEnvConfig
from lerobot_env_ikp.environment import LeRobotTask, make_task

__all__ = ["IKPEnvConfig", "LeRobotTask", "make_task"]
