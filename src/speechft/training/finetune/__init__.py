"""The parts of `speechft finetune`: its settings, its data, the run, and what is kept of it."""
