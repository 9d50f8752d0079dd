"""Task distributions of control, behind the same interface as few-shot images."""
