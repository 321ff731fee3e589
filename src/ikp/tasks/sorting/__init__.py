"""Sorting of two blocks into bowls, which are then swept aside, with one arm: scene, environment and expert."""
