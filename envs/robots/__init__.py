"""The MuJoCo robots, and what their tasks have in common."""
