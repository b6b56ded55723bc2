"""Ground floor: errors, settings, files, lengths, registry, seeds, logging."""
