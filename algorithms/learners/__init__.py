"""The learners: each is one rule that maps support examples to parameter overrides."""
