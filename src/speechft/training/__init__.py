"""Training: one loop, the stable schedule, freezing, penalties, adapters, pre-training objectives.

Knows no task by name.
"""
