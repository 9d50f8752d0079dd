"""Is it worse than before: the regression check, and two sets of records side by side."""
