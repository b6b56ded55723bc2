"""Which alpha: chosen on data before a merge, by hidden states alone or by dev scores.

`similarity` and `tradeoff` are pure; `states` is where encoders pass over audio, `probes` trains
heads on what they say, and `stage` joins them.
"""
