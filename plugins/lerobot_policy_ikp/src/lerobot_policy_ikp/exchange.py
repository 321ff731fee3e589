"""Policies from one format to the other: a run of ikp as a LeRobot checkpoint, and back."""

from __future__ import annotations

from pathlib import Path

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.utils.constants import ACTION, OBS_ENV_STATE, OBS_IMAGES, OBS_STATE

from ikp.policies import describe_policy, load_policy, save_policy
from ikp.runs import policy_provenance
from ikp.spec import DataSpec
from lerobot_policy_ikp.configuration_ikp import IKPConfig, check_per_frame
from lerobot_policy_ikp.modeling_ikp import IKPPolicy
from lerobot_policy_ikp.processor_ikp import make_ikp_pre_post_processors


def export_policy(run: Path | str, out: Path | str) -> Path:
    """Write a policy of `ikp train` as a LeRobot checkpoint, for `--policy.path`.

    Args:
        run: folder of a policy or of a run.
        out: the folder to write.

    Raises:
        FileExistsError: `out` exists.
        FileNotFoundError, ValueError: there is no policy in `run`, it is damaged, or does not decide one action per
            frame.
    """
    out = Path(out)
    if out.exists():
        raise FileExistsError(f"{out} exists: choose another folder")
    policy, provenance = load_policy(run), policy_provenance(run)
    check_per_frame(policy.config)
    config = IKPConfig(
        device="cpu",
        push_to_hub=False,
        recipe=provenance.get("recipe") or IKPConfig.recipe,
        method=provenance.get("method") or IKPConfig.method,
        n_obs_steps=policy.config.history,
        **_features(policy.spec),
    )
    config.freeze(describe_policy(policy, provenance=provenance), working_height=None, data=None)
    exported = IKPPolicy(config)
    exported.policy.load_state_dict(policy.state_dict())
    exported.averaged.load_state_dict(policy.state_dict())
    exported.save_pretrained(out)
    for pipeline in make_ikp_pre_post_processors(config):
        pipeline.save_pretrained(out)
    return out


def import_policy(checkpoint: Path | str, out: Path | str) -> Path:
    """Write the policy of a LeRobot checkpoint as a policy of ikp, for `ikp.load_policy` and `ikp evaluate`.

    Args:
        checkpoint: a folder with config.json and model.safetensors, or the folder of a step or of a run that has one.
        out: the folder to write.

    Raises:
        FileExistsError: `out` exists.
        FileNotFoundError, ValueError: there is no checkpoint of this policy.
    """
    out = Path(out)
    if out.exists():
        raise FileExistsError(f"{out} exists: choose another folder")
    policy = IKPPolicy.from_pretrained(pretrained_folder(checkpoint))
    policy.to("cpu")
    return save_policy(policy.averaged, out, provenance=policy.config.frozen["policy"]["provenance"])


def pretrained_folder(checkpoint: Path | str) -> Path:
    """The folder of the policy inside a LeRobot checkpoint or run.

    Raises:
        FileNotFoundError: there is none.
    """
    checkpoint = Path(checkpoint)
    for inner in (".", "pretrained_model", "checkpoints/last/pretrained_model"):
        if (checkpoint / inner / "config.json").is_file():
            return checkpoint / inner
    raise FileNotFoundError(
        f"{checkpoint} holds no LeRobot checkpoint: give the folder with config.json and model.safetensors"
    )


def _features(spec: DataSpec) -> dict[str, dict[str, PolicyFeature]]:
    """LeRobot's inputs and outputs of a policy, with the sizes of the recording."""
    inputs = {
        f"{OBS_IMAGES}.{camera}": PolicyFeature(FeatureType.VISUAL, (3, height, width))
        for camera, (height, width, _) in spec.image_shapes.items()
    }
    for key, kind, size in (
        (OBS_STATE, FeatureType.STATE, len(spec.recorded_state_names)),
        (OBS_ENV_STATE, FeatureType.ENV, spec.environment_state_dim),
    ):
        if size:
            inputs[key] = PolicyFeature(kind, (size,))
    outputs = {ACTION: PolicyFeature(FeatureType.ACTION, (len(spec.recorded_action_names),))}
    return {"input_features": inputs, "output_features": outputs}
