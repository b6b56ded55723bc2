"""The parts of `speechft evaluate`: settings, inputs, jobs, cells, protocols, probes."""
