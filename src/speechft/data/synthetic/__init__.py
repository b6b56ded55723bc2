"""Synthetic speech: seeded sentences, speakers, prosody and rooms, spoken by eSpeak NG.

Nothing is imported here, so that the processes that speak start quickly.
"""
