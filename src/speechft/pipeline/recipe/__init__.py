"""The parts of `speechft run`: the recipe, the plan, what is done, the sizes."""
