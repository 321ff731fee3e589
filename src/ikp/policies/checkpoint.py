"""Policies on disk: a folder with `config.json` and `model.safetensors`. Loading executes no code from the folder."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ikp.checks import A_ROBOT, instance
from ikp.files import read_json, replaced_atomically, writable_folder
from ikp.joint_map import EXTRA, GRIPPER, JOINT, Dimension, JointMap
from ikp.kinematics import Robot
from ikp.policies.config import PolicyConfig
from ikp.policies.denoising import DenoisingPolicy
from ikp.policies.explicit import ExplicitPolicy
from ikp.policies.implicit import ImplicitPolicy
from ikp.policies.policy import Policy
from ikp.policies.weights import CHECKSUM, checksum, load_weights, packed, unpacked
from ikp.spec import DataSpec
from ikp.words import shortened

POLICY_CLASSES: dict[str, type[Policy]] = {
    "implicit": ImplicitPolicy,
    "explicit": ExplicitPolicy,
    "two-step": DenoisingPolicy,
    "flow": DenoisingPolicy,
}
"""The class of each kind of policy."""
FORMAT = 7
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
AGAIN = "train the policy or copy its folder again"
"""The fix of a damaged file."""


def make_policy(robot: Robot | None, spec: DataSpec, config: PolicyConfig | None = None) -> Policy:
    """Create a policy of the kind that the configuration names.

    Args:
        robot: the kinematic model; None with `action_space="raw"`.
        spec: names and sizes of the data (`dataset.spec`).
        config: options of the policy; the default is IKP.

    Raises:
        ValueError: robot, data and configuration do not match, or an argument is of another type.
    """
    if robot is not None:
        instance("robot", robot, Robot, A_ROBOT)
    instance("spec", spec, DataSpec, "give the specification of the data (dataset.spec)")
    if not isinstance(config, PolicyConfig | None):
        raise ValueError(
            f"config is {config!r}: give an ikp.PolicyConfig, such as ikp.recipe('standard').policy_for('explicit')"
        )
    config = config or PolicyConfig()
    return POLICY_CLASSES[config.kind](robot, spec, config)


def describe_policy(policy: Policy, *, provenance: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Everything of a policy but its weights, as plain JSON values: robot, specification and configuration.

    `policy_from_description` makes a policy of the same structure, whose weights and scales `load_state_dict` fills,
    so that a policy can be stored inside a checkpoint of another format.
    """
    return {
        "format": FORMAT,
        "spec": policy.spec.to_json(),
        "policy": policy.config.to_json(),
        "robot": policy.robot.to_dict() if policy.robot is not None else None,
        "provenance": dict(provenance or {}),
    }


def policy_from_description(
    description: Mapping[str, Any],
    where: Path | str = "the description",
    *,
    joint_map: JointMap | Path | str | None = None,
) -> Policy:
    """Create a policy as `describe_policy` wrote it down, with new weights.

    Args:
        description: what `describe_policy` returned.
        where: the file that it comes from, for messages.
        joint_map: a map, or its JSON file, in place of the stored one (`load_policy`).

    Raises:
        FileNotFoundError: there is no such joint map.
        ValueError: the description is damaged or of another format, or the joint map does not fit it.
    """
    if description.get("format") != FORMAT:
        raise ValueError(
            f"{where} has the format {description.get('format')!r}, this version reads {FORMAT}: "
            "train the policy again"
        )
    with _intact(where):
        robot = Robot.from_dict(description["robot"]) if description["robot"] else None
        spec = DataSpec.from_json(description["spec"])
        config = PolicyConfig.from_json(description["policy"])
    if joint_map is not None:
        given = joint_map if isinstance(joint_map, JointMap) else JointMap.load(joint_map, robot)
        spec = _with_other_map(spec, robot, given, where)
    with _intact(where):
        return make_policy(robot, spec, config)


def save_policy(policy: Policy, path: Path | str, *, provenance: Mapping[str, Any] | None = None) -> Path:
    """Write a policy's folder; each file is written under a temporary name and renamed.

    Args:
        policy: what to save.
        path: the folder to write; the files of an older one are replaced.
        provenance: recipe, data, training and commit that the policy comes from, stored beside it.
    """
    path = writable_folder(path)
    description = describe_policy(policy, provenance=provenance)
    text = json.dumps({CHECKSUM: _checksum(description), **description}, indent=1)
    with replaced_atomically(path / CONFIG_FILE) as fresh:
        fresh.write_text(text)
    with replaced_atomically(path / WEIGHTS_FILE) as fresh:
        fresh.write_bytes(packed(policy.state_dict()))
    return path


def policy_folder(path: Path | str) -> Path:
    """The folder of the policy itself: `path`, or `path/policy` where `path` is the folder of a run."""
    path = Path(path)
    inner = path / "policy"
    return inner if not (path / CONFIG_FILE).is_file() and (inner / CONFIG_FILE).is_file() else path


def complete_folder(path: Path | str, files: Sequence[str] = (CONFIG_FILE, WEIGHTS_FILE)) -> Path:
    """The folder of the policy itself, as `policy_folder`, which has these files.

    Raises:
        FileNotFoundError: there is no such folder or a file of it is missing.
    """
    path = policy_folder(path)
    for name in files:
        if not (path / name).is_file():
            raise FileNotFoundError(
                f"{path} holds no policy: {name} is missing. Give the folder that 'ikp train' wrote"
            )
    return path


def load_policy(path: Path | str, *, joint_map: JointMap | Path | str | None = None) -> Policy:
    """Read a policy from its folder or from the folder of the run that trained it.

    Args:
        path: the folder.
        joint_map: a map, or its JSON file, in place of the stored one: the same policy on an arm with other zeros,
            signs, units or names.

    Raises:
        FileNotFoundError: there is no such folder or a file of it is missing.
        ValueError: a file is damaged, of another format or does not fit the other.
    """
    path = complete_folder(path)
    description = dict(read_json(path / CONFIG_FILE, fix=AGAIN))
    stated = description.pop(CHECKSUM, None)
    policy = policy_from_description(description, path / CONFIG_FILE, joint_map=joint_map)
    try:
        load_weights(policy, unpacked(path / WEIGHTS_FILE)[0])
    except ValueError as error:
        raise ValueError(
            f"{path / WEIGHTS_FILE} is damaged or of another policy ({error}): {AGAIN}"
        ) from None
    if stated not in (None, _checksum(description)):
        warnings.warn(
            f"{path / CONFIG_FILE} is not as it was saved: it was edited, or is damaged. The policy is as it says now",
            stacklevel=2,
        )
    arms = arms_of(description.get("provenance"))
    if arms and joint_map is None:
        warnings.warn(
            f"{path} was trained on the arms {', '.join(arms)} and drives {arms[0]} now: for another one give its "
            "joint map (--joint-map FILE, in Python joint_map=)",
            stacklevel=2,
        )
    return policy.eval()


def arms_of(provenance: object) -> list[str]:
    """Names of the arms on whose data a policy was trained, by its provenance; empty where it was one."""
    data = provenance.get("data") if isinstance(provenance, Mapping) else None
    arms = data.get("arms") if isinstance(data, Mapping) else None
    return list(arms) if isinstance(arms, Mapping) else []


def _checksum(description: Mapping[str, Any]) -> str:
    """Checksum of a description that has none, however its text is indented."""
    return checksum(json.dumps(description, sort_keys=True))


@contextmanager
def _intact(where: Path | str) -> Iterator[None]:
    """Tell an error in the block as damage of the file."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError) as error:
        reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise ValueError(f"{where} is damaged ({shortened(reason, 500)}): {AGAIN}") from None


def _with_other_map(spec: DataSpec, robot: Robot | None, joint_map: JointMap, where: Path | str) -> DataSpec:
    """The specification of a policy with another joint map that leads to the same model's dimensions.

    Raises:
        ValueError: the map leads to other dimensions.
    """
    joints = robot.joint_names if robot is not None else ()
    if joint_map.joints != joints:
        raise ValueError(
            f"the joint map has the joints {list(joint_map.joints)}, the robot of {where} has {list(joints)}: write a "
            "map for this robot"
        )
    joint_map = _completed(joint_map, spec, robot, where)
    joint_dims = spec.joint_dims if joints else ()  # without a robot all that are no grippers are the same
    dims = {
        "action": (_layout(spec.action_names, joint_dims, spec.discrete_dims), joint_map.actions),
        "state": (_layout(spec.state_names, joint_dims, spec.measured_discrete_dims), joint_map.states),
    }
    for what, (stored, vector) in dims.items():
        roles = [d.role if d.role != EXTRA else d.name for d in vector.kept]
        if roles != stored:
            raise ValueError(
                f"the joint map leads to the {what} dimensions {roles}, the policy in {where} has {stored}: give every "
                "dimension the role that it has there"
            )
    return replace(
        spec, action_names=joint_map.actions.names, state_names=joint_map.states.names, joint_map=joint_map
    )


def _completed(joint_map: JointMap, spec: DataSpec, robot: Robot | None, where: Path | str) -> JointMap:
    """A map of the joints alone, such as a calibration's, with the policy's own names and further dimensions.

    Raises:
        ValueError: its joints are in other units than the policy's, so that it is a map of another recording.
    """
    alone = all(d.role == JOINT for d in (*joint_map.action, *joint_map.state))
    if robot is None or not alone or len(joint_map.action) == len(spec.action_names):
        return joint_map
    own = spec.recorded_map(robot)

    def completed(kept: Sequence[Dimension], given: Sequence[Dimension]) -> tuple[Dimension, ...]:
        joints, made = {d.joint: d for d in given}, []
        for d in kept:
            if d.role == JOINT and joints[d.joint].unit != d.unit:
                raise ValueError(
                    f"the joint map has {d.joint} in {joints[d.joint].unit}, the policy in {where} in {d.unit}: write "
                    "one with the policy's units and dimensions (ikp data check FOLDER --robot ARM --save FILE, then "
                    "ikp calibrate --joint-map FILE)"
                )
            made.append(replace(joints[d.joint], name=d.name) if d.role == JOINT else d)
        return tuple(made)

    return replace(
        joint_map, action=completed(own.action, joint_map.action), state=completed(own.state, joint_map.state)
    )


def _layout(names: Sequence[str], joint_dims: Sequence[int], discrete_dims: Sequence[int]) -> list[str]:
    """Roles of a vector's dimensions, and the names of extras."""
    roles = dict.fromkeys(joint_dims, JOINT) | dict.fromkeys(discrete_dims, GRIPPER)
    return [roles.get(dim, name) for dim, name in enumerate(names)]
