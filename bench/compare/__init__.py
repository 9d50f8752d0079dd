"""`metabench compare`: two sets of records side by side."""
