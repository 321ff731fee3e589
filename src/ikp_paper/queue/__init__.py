"""The queue of runs: finished ones are skipped, interrupted ones continue, several machines may share it."""
