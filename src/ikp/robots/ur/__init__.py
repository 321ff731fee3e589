"""A Universal Robots arm through ur-rtde, and a controller that imitates it on this machine."""
