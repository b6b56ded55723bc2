"""The generated pages of docs/, a module each."""
