"""What `metabench data` does, without printing."""
