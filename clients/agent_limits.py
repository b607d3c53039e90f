"""The bounds of agent calls: times, sizes, and how many at once."""

# From looking the name up to the end of the TLS handshake.
CONNECT_SECONDS = 5.0
WRITE_SECONDS = 10.0
# Dify pings every 10 s: silence over two pings and a bit is a dead connection.
IDLE_READ_SECONDS = 28.0
# The calls that are no runs: what the key belongs to, the application's parameters, feedback.
PLAIN_READ_SECONDS = 10.0
# A run waits for a place only when a thousand others are open; better to fail over than to queue.
MAX_RUNS = 1000
POOL_SECONDS = 2.0
# uvicorn closes a connection that lay idle for 5 s, nginx one of 65 s: ours goes first, so that no run meets its end.
KEEP_ALIVE_SECONDS = 4.0
# After the last event the body's end follows at once; waiting for it lets the connection be used again.
DRAIN_SECONDS = 1.0

# A line or field of a response's head; proxies send policies of several kilobytes.
MAX_HEADER_BYTES = 16 << 10
MAX_HEADERS = 128
# A body is read ahead to twice this, then its server has to wait.
READ_BUFFER_BYTES = 64 << 10
MAX_RESPONSE_BYTES = 4 << 20
MAX_REPLY_BYTES = 1 << 20
MAX_ERROR_BYTES = 64 << 10

# A run that was given up before it told its id is listened to this long, so that it can be stopped: plain chats tell it
# with their first word only.
NAME_SECONDS = 60.0
STOP_SECONDS = 5.0
STOP_TRIES = 2
SHUTDOWN_SECONDS = 3.0
