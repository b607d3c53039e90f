"""What keeps a stack from starting, each with a text for the person at the console."""


class LaunchError(Exception):
    """The stack cannot start or go on; the text says why and what to do."""


class AlreadyRunningError(LaunchError):
    """Another launcher holds the data directory."""
