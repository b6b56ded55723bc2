"""Formats of checkpoints: readers and writers, driven by the families' records."""
