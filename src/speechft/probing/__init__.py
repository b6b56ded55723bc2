"""The parts of `speechft evaluate`: settings, data, encoders, cells, worker processes."""
