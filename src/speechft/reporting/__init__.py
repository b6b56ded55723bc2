"""The parts of `speechft report`: reading results, comparing, saying, drawing, laying out."""
