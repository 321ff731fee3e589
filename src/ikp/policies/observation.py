"""Features of an observation at unit scale, the same for all methods."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from ikp.nets import ImageEncoder
from ikp.nets.encoders import check_image_size
from ikp.policies.config import PolicyConfig
from ikp.policies.frames import check_readable
from ikp.policies.normalizer import Standardizer
from ikp.spec import DataSpec, Observation


class EncodedImages(NamedTuple):
    """Outputs of the image encoders for an observation.

    Attributes:
        features: (batch, features) of every camera, by its name.
        map: (batch, channels, rows / 4, columns / 4) of one camera, if it was asked for.
    """

    features: Mapping[str, Tensor]
    map: Tensor | None


class ObservationEncoder(nn.Module):
    """Standardised states and encoded images, concatenated.

    Args:
        spec: sizes and names of the observation.
        config: gives the history and the image encoder.
    """

    def __init__(self, spec: DataSpec, config: PolicyConfig) -> None:
        super().__init__()
        self.spec, self.history = spec, config.history
        self.state = Standardizer(spec.state_dim)
        self.environment_state = Standardizer(spec.environment_state_dim)
        encoders: dict[str, ImageEncoder] = {}
        for camera in spec.camera_names:
            check_image_size(config.encoder.kind, camera, *spec.image_shapes[camera][:2])
            encoder = ImageEncoder(config.history, config.encoder, bfloat16=config.bfloat16)
            encoders[_module_name(camera, encoders)] = encoder
        self.images = nn.ModuleDict(encoders)
        vectors = spec.state_dim + spec.environment_state_dim
        self.size = config.history * vectors + sum(encoder.size for encoder in encoders.values())

    def fit(
        self, state: Float[Tensor, "frames s"], environment_state: Float[Tensor, "frames e"] | None
    ) -> None:
        """Set the scales from demonstrations."""
        self.state.fit(state)
        if environment_state is not None and self.spec.environment_state_dim:
            self.environment_state.fit(environment_state)

    def forward(
        self, observation: Observation, images: EncodedImages | None = None
    ) -> Float[Tensor, "batch features"]:
        """All features; `images` saves the encoders' work where they are known (`encode_images`)."""
        return torch.cat(list(self.parts(observation, images).values()), -1)

    def parts(self, observation: Observation, images: EncodedImages | None = None) -> dict[str, Tensor]:
        """Features by source: `state`, `environment_state`, and each camera by its name (`camera_part`)."""
        images = images or self.encode_images(observation)
        parts = {"state": self.state(observation["state"]).flatten(1)}
        if self.spec.environment_state_dim:
            assert "environment_state" in observation
            parts["environment_state"] = self.environment_state(observation["environment_state"]).flatten(1)
        return parts | {camera_part(name): features for name, features in images.features.items()}

    def encode_images(self, observation: Observation, mapped: str | None = None) -> EncodedImages:
        """Features of all cameras, and the feature map of the camera `mapped`."""
        features, found = {}, None
        for name, encoder in zip(self.spec.camera_names, self.images.values(), strict=True):
            images = observation["images"][name]
            if name == mapped:
                assert isinstance(encoder, ImageEncoder)
                features[name], found = encoder.with_map(images)
            else:
                features[name] = encoder(images)
        return EncodedImages(features, found)

    def check(self, observation: Observation | Mapping[str, Any]) -> Observation:
        """Return the observation after checking shapes, types and that all numbers are finite.

        A policy that has no state may be given none: the result then has an empty one.

        Raises:
            ValueError: a part is missing or wrong; the message names it and what was expected.
        """
        for key, size in (
            ("state", self.spec.state_dim),
            ("environment_state", self.spec.environment_state_dim),
        ):
            if size:
                self._check_vector(observation, key, size)
        self._check_batch(observation)
        images = observation.get("images", {})
        for camera, shape in self.spec.image_shapes.items():
            if camera not in images:
                raise ValueError(
                    f"the observation has no image of camera {camera!r}: it has {sorted(images)}"
                )
            found = tuple(images[camera].shape)
            if found[1:] != (self.history, *shape):
                raise ValueError(
                    f"images of camera {camera!r} have the shape {found}: expected (batch, {self.history}, "
                    f"{', '.join(map(str, shape))}), that is (batch, history, height, width, 3). Resize the images"
                )
            if images[camera].dtype != torch.uint8:
                raise ValueError(
                    f"images of camera {camera!r} are {images[camera].dtype}: expected uint8, 0 to 255"
                )
        if "state" not in observation:
            seen = next(iter(images.values())) if images else observation["environment_state"]
            observation = {
                **observation,
                "state": torch.zeros(len(seen), self.history, 0, device=seen.device),
            }
        return cast(Observation, observation)

    def _check_batch(self, observation: Mapping[str, Any]) -> None:
        images = observation.get("images", {})
        parts = {camera: images[camera] for camera in self.spec.camera_names if camera in images}
        sizes = (("state", self.spec.state_dim), ("environment_state", self.spec.environment_state_dim))
        parts |= {key: observation[key] for key, size in sizes if size and key in observation}
        rows = {key: len(part) for key, part in parts.items() if part.ndim}
        if len(set(rows.values())) > 1 or 0 in rows.values():
            raise ValueError(
                f"the batch sizes of the observation are {rows}: they must be the same, and not 0"
            )

    def _check_vector(self, observation: Mapping[str, Any], key: str, size: int) -> None:
        if key not in observation:
            raise ValueError(f"the observation has no {key!r}: it has {sorted(observation)}")
        value = observation[key]
        if value.ndim != 3 or tuple(value.shape[1:]) != (self.history, size):
            raise ValueError(
                f"observation {key!r} has the shape {tuple(value.shape)}: expected (batch, {self.history}, {size}), "
                "that is (batch, history, dimensions)"
            )
        bad = ~torch.isfinite(value)
        if bad.any():
            row, frame, dim = (int(i) for i in bad.nonzero()[0])
            names = self.spec.state_names if key == "state" else self.spec.environment_state_names
            raise ValueError(
                f"observation {key!r} holds {float(value[row, frame, dim])} at {names[dim]!r} (row {row}): "
                "the policy needs finite numbers; check the sensor"
            )


def as_tensors(observation: object, device: torch.device) -> dict[str, Any]:
    """The observation with tensors in place of arrays and lists, numbers of the vectors as float32.

    Raises:
        ValueError: it is no mapping, or a value is no array of real numbers that can all be read.
    """
    if not isinstance(observation, Mapping):
        raise ValueError(
            f"the observation is a {type(observation).__name__}: give a dictionary such as "
            "{'state': ..., 'images': {'front': ...}}"
        )
    made: dict[str, Any] = dict(observation)
    for key in ("state", "environment_state"):
        if key in made:
            made[key] = _tensor(made[key], key, device).float()
    if isinstance(made.get("images"), Mapping):
        made["images"] = {
            camera: _tensor(value, f"image of camera {camera!r}", device)
            for camera, value in made["images"].items()
        }
    return made


def _tensor(value: Any, what: str, device: torch.device) -> Tensor:
    check_readable(value, what)
    try:
        tensor = (
            value.to(device) if isinstance(value, Tensor) else torch.as_tensor(_plain(value), device=device)
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} is no array of numbers ({error})") from error
    if tensor.is_complex():
        raise ValueError(f"{what} holds complex numbers ({tensor.dtype}): give real ones")
    return tensor


def _plain(value: Any) -> np.ndarray:
    """An array that torch takes: in native byte order, and copied where an axis is reversed (`image[..., ::-1]`)."""
    array = np.asarray(value)
    if array.dtype.isnative and all(stride >= 0 for stride in array.strides):
        return array
    return array.astype(array.dtype.newbyteorder("="), order="C")


def camera_part(camera: str) -> str:
    """The key of a camera in `ObservationEncoder.parts`."""
    return f"camera {camera}" if camera in ("state", "environment_state") else camera


def _module_name(camera: str, taken: Container[str]) -> str:
    """A name that a `ModuleDict` accepts: without dots, not one of its own attributes, and not taken."""
    name = camera.replace(".", "_")
    while hasattr(nn.ModuleDict(), name) or name in taken:
        name = f"camera_{name}"
    return name
