"""The explicit baselines: regression of joint targets, with or without a loss through forward kinematics."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal
from torch.nn import functional as F

from ikp.kinematics import Robot
from ikp.nets import DenseResNet
from ikp.policies.config import PolicyConfig
from ikp.policies.policy import Context, Policy
from ikp.spec import Batch, DataSpec

FK_WEIGHT = 1.0
"""Weight lambda of the Cartesian loss (paper, Sec. IV-A.1)."""


class ExplicitPolicy(Policy):
    """Regression f(o) -> a by mean squared error; ExplicitFK adds lambda times the error of the link poses.

    Paper, Sec. IV-A.1: L = L_joints(a, a*) + lambda L_cartesian(FK(a), FK(a*)). `Policy` describes arguments and
    errors.
    """

    def __init__(self, robot: Robot | None, spec: DataSpec, config: PolicyConfig) -> None:
        super().__init__(robot, spec, config)
        self.regressor = DenseResNet(self.context_size, self.dims, width=config.width, blocks=config.blocks)

    def _loss(self, batch: Batch) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Mean squared error of the standardised encoded action, plus the Cartesian loss for ExplicitFK."""
        context, action = self.encode(batch), batch["action"]
        demonstrated = self.actions.encode(context.state, action)
        standard = self.regression(context).mean
        parts = {
            "mse": F.mse_loss(standard, self.scale(demonstrated)),
            **self._head_losses(context, demonstrated, action),
            **self._goal_losses(context, batch),
        }
        if self.config.has_kinematics:
            predicted = self.actions.decode(context.state, self.scale.undo(standard))
            target = action[..., self.joint_dims]
            error = F.mse_loss(self._link_poses(predicted), self._link_poses(target))
            parts["cartesian"] = FK_WEIGHT * error
        total = sum(parts.values(), standard.new_zeros(()))
        return total, {name: value.detach() for name, value in parts.items()}

    def regression(self, context: Context) -> Normal:
        """The regression, which predicts no standard deviation."""
        return Normal(self.regressor(context.features), 1.0, validate_args=False)

    def choose(self, context: Context) -> Float[Tensor, "batch dims"]:
        """The regressed encoded action, within the range of the demonstrations."""
        regressed = self.scale.undo(self.regression(context).mean)
        return regressed.clamp(self.bounds.low, self.bounds.high)

    def _link_poses(self, q: Float[Tensor, "batch *way_points joints"]) -> Float[Tensor, "rows features"]:
        assert self.poses is not None
        far_ends = self.poses.far_ends(self.poses.residual(q.reshape(-1, q.shape[-1])))
        return self.poses.features(far_ends)[:, self.poses.shown].flatten(1)
