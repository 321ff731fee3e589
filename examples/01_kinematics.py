"""Kinematics alone: poses of all links, their gradient, the Jacobian and inverse kinematics, all batched."""

import torch

import ikp
from ikp.kinematics import inverse_kinematics, jacobian

robot = ikp.load_robot("ur5e")  # or iiwa14, iiwa14_dual, or the path of a URDF or MJCF file
print(f"{robot.name}: joints {', '.join(robot.joint_names)}; tip {', '.join(robot.tip_names)}")
tip = robot.tip_indices[0]

# Poses T_base_link of every link, for any number of configurations at once.
q = robot.random_q((1000,), generator=torch.Generator().manual_seed(0)).requires_grad_()
T = ikp.forward_kinematics(robot, q)
print("poses (configuration, link, 4, 4):", tuple(T.shape))

# They are differentiable, so a loss on a pose teaches the joints.
height = T[:, tip, 2, 3].sum()
(gradient,) = torch.autograd.grad(height, q)
J = jacobian(robot, q.detach())[:, 0]  # (configuration, 6, joint), linear rows first
print("gradient of the tip's height equals the Jacobian's row:", torch.allclose(gradient, J[:, 2]))

# Joint positions that bring the tip to poses, within the limits and near a start.
targets = T.detach()[:, tip : tip + 1]
found = inverse_kinematics(robot, targets, q_start=torch.zeros_like(q).detach())
print(f"inverse kinematics reached {found.converged.double().mean():.1%} of the poses")

# A joint encoder that is off by 2 degrees moves the tip by centimetres.
moved = ikp.forward_kinematics(robot, q.detach(), q_offset=torch.full((6,), 0.035, dtype=torch.float64))
error = (moved - T.detach())[:, tip, :3, 3].norm(dim=-1)
print(f"offsets of 2 degrees move the tip by {1e3 * error.mean():.0f} mm on average")
