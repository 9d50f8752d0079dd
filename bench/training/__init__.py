"""A run from its recipe to its record: building, training, checkpoints, evaluation, and what it costs."""
