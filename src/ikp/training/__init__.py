"""Training, evaluation by rollouts, and collection of demonstrations.

- `trainer`: one loop for every method, with `config`, `optimization`, `augmentation`, `validation`, `state`.
- `evaluation`: rollouts in lock step; `statistics`: intervals; `video`: grids of rollouts.
- `collection`: demonstrations of a scripted expert, on all cores.
- `origin`: command, commit and machine beside every result.
"""
