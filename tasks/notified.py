"""Sending what the notification step wrote down: frames to sockets, messages for pushes."""

from collections.abc import Sequence

from models import Channel
from queries.effects import Told
from tasks.publish import publish_deliveries


def send_notifications(told: Sequence[Told]) -> None:
    """Ask for the pushes among these to be made."""
    pushes = [one.notification_id for one in told if one.channel == Channel.PUSH and one.notification_id is not None]
    if pushes:
        publish_deliveries(pushes)
