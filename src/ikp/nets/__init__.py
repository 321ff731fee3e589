"""Networks: image encoders, dense residual networks, and stacked energies.

- `encoders`: uint8 images to a feature vector at unit scale.
- `dense`: the dense residual network of the explicit policies.
- `goal`: estimates the goal of a motion in the image: a heatmap, and a profile over headings from a polar patch.
- `modes`: evaluation mode for a while.
- `energies`: one energy network per action dimension; `fused` has its elementwise steps.
"""

from ikp.nets.dense import DenseResNet
from ikp.nets.encoders import ENCODERS, EncoderConfig, ImageEncoder
from ikp.nets.energies import StackedEnergies

__all__ = ["ENCODERS", "DenseResNet", "EncoderConfig", "ImageEncoder", "StackedEnergies"]
