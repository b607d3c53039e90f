"""Sending what the notification step wrote down: frames to sockets, messages for pushes."""

from collections.abc import Sequence

from queries.effects import Told
from tasks.publish import publish_deliveries


def send_notifications(told: Sequence[Told]) -> None:
    """Ask for the pushes among these to be made."""
    pushes = [push for one in told for push in one.pushes]
    if pushes:
        publish_deliveries(pushes)
