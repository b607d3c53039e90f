"""The signup service: signed registrations of invented people. Start with ``python -m simulators.signup``."""

from simulators.signup.client import Answer, SignupService
from simulators.signup.people import registration, registrations

__all__ = ["Answer", "SignupService", "registration", "registrations"]
