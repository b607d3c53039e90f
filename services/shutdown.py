"""Whether this process has been asked to stop: long waits look here and hand back what they hold."""

import threading

stopping = threading.Event()
