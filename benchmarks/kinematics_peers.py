"""Forward kinematics of all links by other libraries, each as its users call it.

Every builder takes the robot, joint positions q (n, dof) in float32 and the weights G (n, link, 4, 4) of the
scalar <G, T> whose gradient is taken, and imports its library only then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ikp.kinematics import Robot
from ikp.kinematics.rotations import matrix_to_rpy


@dataclass(frozen=True)
class Peer:
    """One library at work on one batch."""

    forward: Callable[[], object]
    poses: Callable[[], Tensor]  # (n, link, 4, 4) in the order of the robot's links
    forward_and_gradient: Callable[[], object] | None = None
    gradient: Callable[[], Tensor] | None = None  # (n, dof)


def pytorch_kinematics(robot: Robot, q: Tensor, G: Tensor) -> Peer:
    """The dictionary of all frames that its `forward_kinematics` gives."""
    import pytorch_kinematics as pk

    chain = pk.build_chain_from_urdf(urdf(robot)).to(dtype=torch.float32, device=q.device.type)
    weights = [G[:, i].contiguous() for i in range(1, len(robot.links))]  # the base depends on no joint
    leaf = q.clone().requires_grad_()

    def matrices(q: Tensor, first: int) -> list[Tensor]:
        frames = chain.forward_kinematics(q)
        return [frames[name].get_matrix() for name in robot.link_names[first:]]

    def gradient() -> Tensor:
        return torch.autograd.grad(matrices(leaf, 1), leaf, weights)[0]

    return Peer(
        lambda: chain.forward_kinematics(q),
        lambda: torch.stack([m.expand(len(q), 4, 4) for m in matrices(q, 0)], dim=1),
        gradient,
        gradient,
    )


def jax_rows(robot: Robot, q: Tensor, G: Tensor) -> Peer:
    """A struct of arrays under jit: each entry of the upper three rows is an array (n,) of its own.

    XLA makes one loop of it; stacked to a single array, it works out the chain again for every entry and takes
    several times as long. Zeros of the constants are left out, and so are the poses' last rows.
    """
    import jax
    import jax.numpy as jnp

    origins = [link.T_parent_joint.tolist() for link in robot.links]

    def combined(column: list[float], parent: list[jax.Array]) -> jax.Array:
        first, *others = (
            factor * entry for factor, entry in zip(column, parent, strict=True) if abs(factor) > 1e-12
        )
        return sum(others, start=first)

    def poses(q: jax.Array) -> list[jax.Array]:
        """Entry [link][row][column], flattened, from (n, dof)."""
        zero, one = jnp.zeros_like(q[:, 0]), jnp.ones_like(q[:, 0])
        frames = [[[one if r == c else zero for c in range(4)] for r in range(3)]]
        for link, K in zip(robot.links[1:], origins[1:], strict=True):
            rows = []
            for parent in frames[link.parent]:
                x, y, z, p = (combined([K[k][c] for k in range(4)], parent) for c in range(4))
                rows.append([x, y, z, p])
            if link.joint is not None:  # about z, in both arms
                angle = q[:, robot.joint_names.index(link.joint.name)]
                cos, sin = jnp.cos(angle), jnp.sin(angle)
                rows = [[cos * x + sin * y, cos * y - sin * x, z, p] for x, y, z, p in rows]
            frames.append(rows)
        return [entry for rows in frames for row in rows for entry in row]

    @jax.jit
    def both(q: jax.Array, G: list[jax.Array]) -> tuple[list[jax.Array], jax.Array]:
        T, pull_back = jax.vjp(poses, q)
        return T, pull_back(G)[0]

    def stacked(entries: list[jax.Array]) -> Tensor:
        upper = torch.tensor(np.stack(entries, axis=-1)).reshape(len(q), len(robot.links), 3, 4)
        last = torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(*upper.shape[:2], 1, 4)
        return torch.cat([upper, last], dim=2)

    theta, forward = jnp.asarray(q.numpy()), jax.jit(poses)
    weights = [jnp.asarray(entry.numpy()) for entry in G[:, :, :3].flatten(1).unbind(1)]
    return Peer(
        lambda: jax.block_until_ready(forward(theta)),
        lambda: stacked(forward(theta)),
        lambda: jax.block_until_ready(both(theta, weights)),
        lambda: torch.tensor(np.asarray(both(theta, weights)[1])),
    )


def pinocchio(robot: Robot, q: Tensor, G: Tensor) -> Peer:
    """A Python loop over `framesForwardKinematics`, float64; the poses stay in its data, none is copied."""
    import pinocchio as pin

    model = pin.buildModelFromXML(urdf(robot).decode())
    data = model.createData()
    rows = [row.astype(float) for row in q.numpy()]
    frames = [model.getFrameId(name, pin.FrameType.BODY) for name in robot.link_names]

    def forward() -> None:
        for row in rows:
            pin.framesForwardKinematics(model, data, row)

    def poses() -> Tensor:
        result = []
        for row in rows:
            pin.framesForwardKinematics(model, data, row)
            result.append(np.stack([data.oMf[frame].homogeneous for frame in frames]))
        return torch.tensor(np.stack(result))

    return Peer(forward, poses)


def mujoco_loop(robot: Robot, q: Tensor, G: Tensor) -> Peer:
    """A Python loop over `mj_kinematics`, float64; the poses stay in its data, none is copied."""
    import mujoco

    options = '<mujoco><compiler fusestatic="false" boundmass="1" boundinertia="1"/></mujoco>'
    text = urdf(robot).decode().replace("<link", options + "<link", 1)
    model = mujoco.MjModel.from_xml_string(text)
    data = mujoco.MjData(model)
    rows = [row.astype(float) for row in q.numpy()]
    bodies = [mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_BODY, name) for name in robot.link_names]
    bodies = [max(body, 0) for body in bodies]  # its world is our base

    def forward() -> None:
        qpos = data.qpos
        for row in rows:
            qpos[:] = row
            mujoco.mj_kinematics(model, data)

    def poses() -> Tensor:
        result = torch.zeros(len(rows), len(bodies), 4, 4, dtype=torch.float64)
        result[..., 3, 3] = 1.0
        for T, row in zip(result, rows, strict=True):
            data.qpos[:] = row
            mujoco.mj_kinematics(model, data)
            T[:, :3, :3] = torch.tensor(data.xmat[bodies]).reshape(-1, 3, 3)
            T[:, :3, 3] = torch.tensor(data.xpos[bodies])
        return result

    return Peer(forward, poses)


PEERS: dict[str, Callable[[Robot, Tensor, Tensor], Peer]] = {
    "pytorch_kinematics": pytorch_kinematics,
    "JAX, jitted": jax_rows,
    "Pinocchio, Python loop": pinocchio,
    "MuJoCo, Python loop": mujoco_loop,
}


def urdf(robot: Robot) -> bytes:
    """The robot as URDF; its joints turn about z."""
    lines = [f'<robot name="{robot.name}">', *(f'<link name="{name}"/>' for name in robot.link_names)]
    for i, link in enumerate(robot.links[1:], start=1):
        rpy = " ".join(map(repr, matrix_to_rpy(link.T_parent_joint[:3, :3]).tolist()))
        xyz = " ".join(map(repr, link.T_parent_joint[:3, 3].tolist()))
        kind = "fixed" if link.joint is None else "revolute"
        lines += [
            f'<joint name="{i}" type="{kind}"><origin rpy="{rpy}" xyz="{xyz}"/>',
            f'<parent link="{robot.link_names[link.parent]}"/><child link="{link.name}"/>',
            '<axis xyz="0 0 1"/><limit lower="-7" upper="7" effort="1" velocity="1"/></joint>',
        ]
    return "\n".join([*lines, "</robot>"]).encode()
