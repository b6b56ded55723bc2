"""Hidden states that are computed once: what is wanted, where it lies, how it is read."""
