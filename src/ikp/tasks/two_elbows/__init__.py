"""One goal pose, two ways to bend the elbow: scene, environment and scripted expert."""
