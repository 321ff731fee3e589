"""The loop on a robot: teleoperation, recording and deployment, with real hardware or its simulated twin."""
