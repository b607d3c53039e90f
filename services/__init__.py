"""The rules: one function per use case. No HTTP, no Celery, no SQL strings."""
