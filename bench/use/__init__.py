"""Using a trained learner: on pictures of one's own, and from Python."""
