"""What an encoder, and a head on it, give for audio files."""
