"""Checkpoints: readers and writers, and the key maps between formats."""
