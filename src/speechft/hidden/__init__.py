"""An encoder's passes over audio, each done once and kept: time means and frames of hidden states.

`front_end` what a frozen front end makes of utterances, in memory; `states` a pass of the whole
encoder, and what a probe reads; `store` what is kept where and what is missing; `folder` its files.
"""
