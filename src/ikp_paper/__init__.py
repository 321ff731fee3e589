"""The paper's experiments: its tables and figures, ablations, and the queue that runs them.

It imports `ikp`; `ikp` never imports it. The command is `ikp-paper`.
"""
