"""The Celery door: a message comes in, one service is called. Knows nothing of SQL and decides nothing about memory."""
