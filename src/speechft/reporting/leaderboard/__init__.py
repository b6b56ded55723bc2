"""The local leaderboard: its rows, and how they are shown."""
