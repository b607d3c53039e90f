"""The API through its front door."""
