"""Alignment of a red block with a blue one with one arm: scene, environment and scripted expert."""
