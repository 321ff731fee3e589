"""The same kinematics by MuJoCo and by Pinocchio, one configuration at a time."""

import importlib.util
import re
from pathlib import Path

import mujoco
import numpy as np
import pinocchio
import torch

from ikp.kinematics import Robot

ASSETS = Path(__file__).parent / "assets"


def package_file(package: str, path: str) -> Path:
    """A data file of an installed package, without importing the package."""
    return Path(importlib.util.find_spec(package).submodule_search_locations[0]) / path


FOREIGN_URDF = [
    package_file("airo_models", path)
    for path in (
        "arms/ur3e/ur3e.urdf",
        "arms/ur5e/ur5e.urdf",
        "grippers/robotiq_2f_85/urdf/robotiq_2f_85.urdf",
        "grippers/schunk_egk40_magneto/schunk_egk40_magneto.urdf",
    )
]
FOREIGN_MJCF = [
    package_file("gymnasium", f"envs/mujoco/assets/{name}.xml")
    for name in ("pusher_v5", "reacher", "half_cheetah", "humanoid", "ant", "walker2d_v5", "swimmer")
]


def joint_positions(robot: Robot, q: torch.Tensor) -> dict[str, float]:
    """Position of every moving joint, mimic joints included, at one `q` (dof,)."""
    positions = {}
    for link, dof in zip(robot.links, robot.link_dofs, strict=True):
        if link.joint is not None:
            mimic = link.joint.mimic
            positions[link.joint.name] = (
                q[dof].item() if mimic is None else mimic.multiplier * q[dof].item() + mimic.offset
            )
    return positions


def mujoco_from_robot(robot: Robot) -> mujoco.MjModel:
    """A MuJoCo model of a robot that comes from no file."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    bodies = []
    for link in robot.links:
        T = link.T_parent_joint.numpy()
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, T[:3, :3].flatten())
        parent = bodies[link.parent] if link.parent >= 0 else spec.worldbody
        name = "" if link.name == "world" else link.name  # that one is MuJoCo's own
        body = parent.add_body(name=name, pos=T[:3, 3], quat=quat, mass=1, inertia=[1, 1, 1])
        body.explicitinertial = True
        if link.joint is not None:
            slide = link.joint.kind == "prismatic"
            kind = mujoco.mjtJoint.mjJNT_SLIDE if slide else mujoco.mjtJoint.mjJNT_HINGE
            body.add_joint(name=link.joint.name, type=kind, axis=link.joint.axis, pos=link.joint.anchor)
        bodies.append(body)
    return spec.compile()


def mujoco_from_urdf(path: Path) -> mujoco.MjModel:
    """A URDF by MuJoCo's own import, without shapes (no meshes here) and masses (often incomplete)."""
    text = re.sub(r"<(visual|collision|inertial)\b.*?</\1>", "", path.read_text(), flags=re.DOTALL)
    options = '<mujoco><compiler fusestatic="false" boundmass="1" boundinertia="1"/></mujoco>'
    return mujoco.MjModel.from_xml_string(re.sub(r"(<robot\b[^>]*>)", rf"\1{options}", text, count=1))


def mujoco_poses(model: mujoco.MjModel, robot: Robot, q: torch.Tensor) -> dict[str, np.ndarray]:
    """T_base_link (4, 4) of every link that is a body of the model."""
    data = mujoco.MjData(model)
    for name, position in joint_positions(robot, q).items():
        data.joint(name).qpos[:] = position
    mujoco.mj_kinematics(model, data)
    poses = {}
    for body in range(1, model.nbody):
        name = model.body(body).name
        if name in robot.link_names:
            poses[name] = homogeneous(data.xmat[body].reshape(3, 3), data.xpos[body])
    return poses


def pinocchio_from_robot(robot: Robot) -> pinocchio.Model:
    """A Pinocchio model of a robot that comes from no file: one frame per link."""
    model = pinocchio.Model()
    joint_of, T_joint_link = [], []
    for link in robot.links:
        T = pinocchio.SE3(link.T_parent_joint.numpy())
        if link.parent >= 0:
            parent, T = joint_of[link.parent], T_joint_link[link.parent] * T
        else:
            parent = 0
        if link.joint is not None:
            axis = np.array(link.joint.axis)
            slide = link.joint.kind == "prismatic"
            kind = pinocchio.JointModelPrismaticUnaligned if slide else pinocchio.JointModelRevoluteUnaligned
            parent = model.addJoint(parent, kind(axis), T, link.joint.name)
            T = pinocchio.SE3.Identity()
        model.addFrame(pinocchio.Frame(link.name, parent, T, pinocchio.FrameType.BODY))
        joint_of.append(parent)
        T_joint_link.append(T)
    return model


def pinocchio_poses(model: pinocchio.Model, robot: Robot, q: torch.Tensor) -> dict[str, np.ndarray]:
    """T_base_link (4, 4) of every link."""
    data = model.createData()
    x = pinocchio.neutral(model)
    for name, position in joint_positions(robot, q).items():
        joint = model.joints[model.getJointId(name)]
        unbounded = joint.nq == 2  # a continuous joint's position is its cosine and sine
        x[joint.idx_q : joint.idx_q + joint.nq] = (
            [np.cos(position), np.sin(position)] if unbounded else position
        )
    pinocchio.framesForwardKinematics(model, data, x)
    frames = {name: model.getFrameId(name, pinocchio.FrameType.BODY) for name in robot.link_names}
    return {name: data.oMf[frame].homogeneous for name, frame in frames.items()}


def homogeneous(R: np.ndarray, p: np.ndarray) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, p
    return T
