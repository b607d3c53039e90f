"""What embedded servers raise."""


class EmbeddedServerError(Exception):
    """An embedded server cannot be started; the text says why and what to do."""
