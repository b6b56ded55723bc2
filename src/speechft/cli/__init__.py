"""The command line: one small file per command, no logic, nothing heavy before a command needs it."""
