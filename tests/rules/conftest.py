"""Rules are fast but the machine is shared: a slow moment must not fail a property."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("rules", deadline=None, max_examples=60)
settings.load_profile("rules")
