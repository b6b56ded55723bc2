"""The parts of `speechft pretrain`: its settings, and one round of units and prediction."""
