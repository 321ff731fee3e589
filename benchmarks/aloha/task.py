"""Rates, names and limits that both of ALOHA's simulated tasks share."""

FPS = 50
"""Commands per second."""
STEPS = 400
"""Length of an episode in the publications; gym-aloha registers 300."""
SUCCESS = 4
"""gym-aloha's reward of success: the cube is off the table and touches the left gripper, or the peg the pin."""
JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
NAMES = tuple(f"{side}_{joint}" for side in ("left", "right") for joint in (*JOINTS, "gripper"))
"""The dimensions of commands and measurements [rad]; the grippers from 0 (closed) to 1 (open)."""
OPEN, CLOSED = 1.0, 0.0
TEXT = {"transfer": "hand the cube from right to left", "insertion": "put the peg into the socket"}
"""The tasks, and what to do in words."""
