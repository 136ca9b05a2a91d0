"""The HTTP door: parses, calls one service, answers. Knows nothing of SQL and decides nothing about memory."""
