"""The data sets: how each is read, checked, cached and split."""
