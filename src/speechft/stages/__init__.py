"""Stages: one verb per file. Each reads folders and writes one folder."""
