"""Celery entry points: a task is its name, its policy and one call of a service."""
