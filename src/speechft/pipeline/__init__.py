"""What joins stages: recipes and studies."""
