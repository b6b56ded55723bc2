"""Merging encoders in weight space, by streaming and without torch. Imports no model code."""
