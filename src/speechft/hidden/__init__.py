"""An encoder's passes over audio, each done once and kept: time means and frames of hidden states.

`front_end` what a frozen front end makes of utterances, in memory; `encoding` a pass of the whole
encoder; `store` what is kept where and what is missing; `folder` the store's files; `states` what a
probe reads.
"""
