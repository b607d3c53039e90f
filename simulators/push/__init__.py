"""A push and alert receiver that remembers what it got. Start with ``python -m simulators.push``."""
