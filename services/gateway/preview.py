"""What a customer sees of an answer while it is written: whole sentences that passed the guard, and nothing after a refusal."""

import re
from collections.abc import Callable

from services.gateway.guard import Recipient, check_so_far
from services.gateway.settings import GuardSettings
from services.gateway.text import strip_harmful

_SENTENCE_END = re.compile(r"[。！？!?…～~\n]+|\.(?=\s)")


class GuardedPreview:
    """Takes pieces as they stream and passes on sentences. Not thread-safe: one call's pieces come one after the other.

    The whole answer is checked again by `guard.check`; a preview may therefore have shown a beginning that is replaced by
    the template, but never a sentence the guard refuses.
    """

    def __init__(self, show: Callable[[str], None], recipient: Recipient, settings: GuardSettings) -> None:
        self._show = show
        self._recipient = recipient
        self._settings = settings
        self._text = ""
        self._shown = 0
        self.refused = False

    def take(self, piece: str) -> None:
        """Account for a piece; show the sentences it completes."""
        if self.refused:
            return
        self._text += piece
        end = max((found.end() for found in _SENTENCE_END.finditer(self._text, self._shown)), default=self._shown)
        if end == self._shown and len(self._text) <= self._settings.max_characters:
            return
        if not check_so_far(self._text[:end], self._recipient, self._settings).accepted:
            self.refused = True
            return
        fresh, self._shown = self._text[self._shown : end], end
        if fresh:
            self._show(strip_harmful(fresh))
