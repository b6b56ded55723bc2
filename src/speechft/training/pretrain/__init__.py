"""The parts of `speechft pretrain`: its settings, and one iteration of units and prediction."""
