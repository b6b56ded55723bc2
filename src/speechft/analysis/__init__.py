"""The parts of `speechft analyze`."""
