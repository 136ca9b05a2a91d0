"""A memory operating system for agents: the library behind the API and the workers.

It knows neither HTTP nor Celery; see docs/architecture.md for the map.
"""
