"""The paper's tables and figures, ablations and the queue that runs them. It imports `ikp`, never the other way."""
