"""Networks: image encoders, dense residual networks, and the stack of per-dimension energies.

- `encoders`: uint8 camera frames to a feature vector at unit scale.
- `dense`: the dense residual network of the explicit policies.
- `goal`: where in the image a motion leads: a heatmap, a polar patch around it, a profile over headings.
- `energies`: one energy network per action dimension, multiplied as one batched product.
"""

from ikp.nets.dense import DenseResNet
from ikp.nets.encoders import ENCODERS, EncoderConfig, ImageEncoder
from ikp.nets.energies import StackedEnergies

__all__ = ["ENCODERS", "DenseResNet", "EncoderConfig", "ImageEncoder", "StackedEnergies"]
