"""What an encoder gives for audio files."""
