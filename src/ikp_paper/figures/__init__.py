"""Figures, drawn from stored records and trajectories."""
