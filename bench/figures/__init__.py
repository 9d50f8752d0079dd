"""Pictures and films of results."""
