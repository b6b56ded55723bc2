"""The parts of `speechft study`: what a study is, its jobs, doing them, and what they show."""
