"""Data: audio and labels in, checked lhotse cuts and duration-bucketed batches out."""
