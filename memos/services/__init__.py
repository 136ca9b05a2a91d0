"""Use cases, one concern a file. API routes and worker tasks both end here."""
