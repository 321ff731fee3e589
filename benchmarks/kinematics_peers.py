"""Forward kinematics of all links by other libraries, each as its users call it.

Every builder takes the robot, joint positions q (n, dof) in float32 and the weights G (n, link, 4, 4) of the
scalar <G, T> whose gradient is taken, and imports its library only then.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ikp.kinematics import Robot
from ikp.kinematics.rotations import matrix_to_rpy


@dataclass(frozen=True)
class Peer:
    """One library at work on one batch.

    A callable with `compile_s` compiles at its first call and then knows how long that took.
    """

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


class Compiled:
    """A function that compiles at its first call; `compile_s` is the time of that call."""

    def __init__(self, function: Callable[[], object]) -> None:
        self.function = function
        self.compile_s: float | None = None

    def __call__(self) -> object:
        if self.compile_s is not None:
            return self.function()
        started = time.perf_counter()
        result = self.function()
        self.compile_s = time.perf_counter() - started
        return result


def pytorch_kinematics_compiled(robot: Robot, q: Tensor, G: Tensor) -> Peer:
    """Its strongest form: one tensor of all frames under `torch.compile` for this size, and its analytical gradient."""
    import pytorch_kinematics as pk

    chain = pk.build_chain_from_urdf(urdf(robot)).to(dtype=torch.float32, device=q.device.type)
    torch._dynamo.reset()  # each size is compiled for itself, and from scratch
    torch._inductor.config.force_disable_caches = True
    frames = torch.compile(chain.forward_kinematics_tensor, dynamic=False)
    order = [chain.get_frame_indices(name).item() for name in robot.link_names]
    weights = torch.zeros(chain.forward_kinematics_tensor(q[:1]).shape[0], len(q), 4, 4, device=q.device)
    weights[order] = G.transpose(0, 1)
    leaf = q.clone().requires_grad_()

    def gradient() -> Tensor:
        return torch.autograd.grad(frames(leaf), leaf, weights)[0]

    return Peer(
        Compiled(lambda: frames(q)),
        lambda: frames(q)[order].transpose(0, 1),
        Compiled(gradient),
        gradient,
    )


def frax_frames(robot: Robot, q: Tensor, G: Tensor) -> Peer:
    """Frames of its joints under `jit` and `vmap`; fixed links follow by a product, for it has no frames of them."""
    import jax
    import jax.numpy as jnp

    inertia = b'<inertia ixx="1" ixy="0" ixz="0" iyy="1" iyz="0" izz="1"/>'
    inertial = b'><inertial><mass value="1"/>' + inertia + b"</inertial></link>"
    links, joints = urdf(robot).split(b"<joint", 1)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # recommends settings
        import frax

        path = Path(folder, "robot.urdf")
        path.write_bytes(links.replace(b"/>", inertial) + b"<joint" + joints)
        model = frax.Robot(str(path))
    origins = [jnp.asarray(link.T_parent_joint.float().numpy()) for link in robot.links]

    def frames(q: jax.Array) -> jax.Array:
        joints = model.joint_to_world_transforms(q)
        T = []
        for i, link in enumerate(robot.links):
            if link.joint is not None:
                T.append(joints[robot.joint_names.index(link.joint.name)])
            else:
                T.append(origins[i] if link.parent < 0 else T[link.parent] @ origins[i])
        return jnp.stack(T)

    @jax.jit
    def both(q: jax.Array, G: jax.Array) -> tuple[jax.Array, jax.Array]:
        T, pull_back = jax.vjp(jax.vmap(frames), q)
        return T, pull_back(G)[0]

    forward = jax.jit(jax.vmap(frames))
    theta, weights = jnp.asarray(q.numpy()), jnp.asarray(G.contiguous().numpy())
    return Peer(
        lambda: jax.block_until_ready(forward(theta)),
        lambda: torch.tensor(np.asarray(forward(theta))),
        lambda: jax.block_until_ready(both(theta, weights)),
        lambda: torch.tensor(np.asarray(both(theta, weights)[1])),
    )


def mjbatch(robot: Robot, q: Tensor, G: Tensor) -> Peer:
    """Its pool of threads over MuJoCo, which takes one version of MuJoCo and no other."""
    import mujoco

    raise NotImplementedError(
        f"mjbatch 0.1.4 needs mujoco 3.14.0, and ikp is set up with {mujoco.__version__}"
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
    "pytorch_kinematics, compiled": pytorch_kinematics_compiled,
    "pytorch_kinematics, dictionary": pytorch_kinematics,
    "JAX, jitted": jax_rows,
    "frax, jitted": frax_frames,
    "mjbatch": mjbatch,
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
