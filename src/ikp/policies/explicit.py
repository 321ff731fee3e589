"""The explicit baselines: regression of joint targets, with or without losses through forward kinematics."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from ikp.kinematics import Robot
from ikp.nets import DenseResNet
from ikp.policies.config import PolicyConfig
from ikp.policies.observation import Batch, Observation
from ikp.policies.policy import Policy
from ikp.spec import DataSpec


class ExplicitPolicy(Policy):
    """f(o) -> a by mean squared error; ExplicitFK adds lambda times the error of the links' poses.

    Paper, Sec. IV-A.1: L = L_joints(a, a*) + lambda L_cartesian(FK(a), FK(a*)). See `Policy` for arguments
    and errors.
    """

    def __init__(self, robot: Robot | None, spec: DataSpec, config: PolicyConfig) -> None:
        super().__init__(robot, spec, config)
        self.regressor = DenseResNet(self.context_size, self.dims, width=config.width, blocks=config.blocks)

    def loss(self, batch: Batch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Mean squared error of the standardised variables, plus the Cartesian losses for ExplicitFK."""
        context, goal = self.observe(batch)
        state, action = batch["state"][:, -1], batch["action"]
        expert = self.variables.encode(state, action)
        standard = self.regressor(context)
        joints = F.mse_loss(standard, self.scale(expert))
        gripper = self._gripper_loss(context, expert, self._disturbed(expert), batch)
        hindsight = self._goal_losses(goal, batch)
        parts = {"mse": joints.detach(), "gripper": gripper.detach()}
        parts |= {name: value.detach() for name, value in hindsight.items()}
        total = sum(hindsight.values(), joints + gripper)
        if self.poses is not None and self.config.has_kinematics:
            predicted = self.variables.decode(state, self._unscale(standard))
            cartesian = F.mse_loss(self._link_poses(predicted), self._link_poses(self._joints_of(action)))
            total = total + self.config.fk_weight * cartesian
            parts["cartesian"] = cartesian.detach()
        return total, parts

    def choose(
        self, observation: Observation, context: Float[Tensor, "batch context"]
    ) -> Float[Tensor, "batch dims"]:
        """The regressed variables."""
        return self._unscale(self.regressor(context))

    def _unscale(self, standard: Tensor) -> Tensor:
        return standard * self.scale.std + self.scale.mean

    def _joints_of(self, action: Tensor) -> Tensor:
        return action[:, list(self.spec.joint_dims)]

    def _link_poses(self, q: Float[Tensor, "batch joints"]) -> Float[Tensor, "batch features"]:
        assert self.poses is not None
        return self.poses.features(self.poses.residual(q))[:, self.poses.shown].flatten(1)
