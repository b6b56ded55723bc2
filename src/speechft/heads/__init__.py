"""Trainable parts on top of an encoder: weighted sum of hidden states, and task heads."""
