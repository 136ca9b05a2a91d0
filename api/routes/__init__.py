"""Routes, one resource a file. Each parses, calls one service, answers."""
