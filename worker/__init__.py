"""The Celery application, the process launcher and the command line."""
