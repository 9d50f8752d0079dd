"""The recipes: what decides a result, and the published settings by name."""
