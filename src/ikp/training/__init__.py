"""Training of policies on demonstrations.

- `trainer`: one loop for every method, with options in `config` and its state on disk in `state`.
- `optimizer`, `muon`: optimisers, learning-rate schedule and the moving average of the weights.
- `scene_motion`: additional demonstrations by moving whole scenes.
- `validation`, `probe`, `diagnostics`: action errors, what the image encoder perceives, and the scale of inputs.
- `memory`: allocator settings.
"""
