"""Block insertion with one arm: scene, environment and scripted expert."""
