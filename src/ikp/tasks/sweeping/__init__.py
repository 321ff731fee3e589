"""Bimanual sweeping of particles into two bowls: scene, environment and scripted expert."""
