"""The harness: recipes, runs, records and what is made of them. Only it knows both worlds."""
