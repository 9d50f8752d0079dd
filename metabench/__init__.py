"""metabench: one meta-learner core, measured on few-shot images and on locomotion tasks.

The folders beside this one are its packages (they are linked here), so that they are installed under one name and a
user's own folder called `envs` or `bench` stands in nobody's way.
"""
