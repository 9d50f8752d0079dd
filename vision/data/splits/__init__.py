"""Class splits as published: one line a class or span of classes."""
