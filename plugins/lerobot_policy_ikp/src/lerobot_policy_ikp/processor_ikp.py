"""LeRobot's pipelines before and after the policy: batches and devices; every number stays as recorded."""

from __future__ import annotations

from typing import Any

import torch
from lerobot.processor import PolicyAction, PolicyProcessorPipeline, make_default_pre_post_processors

from lerobot_policy_ikp.configuration_ikp import IKPConfig


def make_ikp_pre_post_processors(
    config: IKPConfig, dataset_stats: dict[str, dict[str, torch.Tensor]] | None = None
) -> tuple[
    PolicyProcessorPipeline[dict[str, Any], dict[str, Any]],
    PolicyProcessorPipeline[PolicyAction, PolicyAction],
]:
    """The pipelines of a policy; their normalisation is the identity (`IKPConfig.normalization_mapping`)."""
    return make_default_pre_post_processors(config, dataset_stats)
