"""Valkey/Redis: disposable. Any key may vanish at any time; what must not be lost is a row."""
