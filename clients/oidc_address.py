"""Where a sign-in provider may be. Apart from its client: every process reads the settings, one talks to the provider."""

from urllib.parse import urlsplit

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def is_allowed_address(url: str) -> bool:
    """Tell whether codes and secrets may travel there: https, or http within this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    plain_inside = parts.scheme == "http" and parts.hostname in LOOPBACK
    return bool(parts.hostname) and "@" not in parts.netloc and (parts.scheme == "https" or plain_inside)
