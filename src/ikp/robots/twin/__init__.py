"""The simulated twin: a task's scene in real time behind the interfaces of an arm, a gripper and a camera."""
