"""Bimanual flipping of a box that carries a bowl: scene, environment and scripted expert."""
