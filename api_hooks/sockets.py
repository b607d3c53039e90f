"""/ws/consultants and /ws/customers: who may open one, how it resumes, and what a client may say on it."""

import asyncio
import re
from typing import Any

import orjson
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from pydantic import SecretStr
from starlette.requests import HTTPConnection, Request

from api_hooks.hub import Hub
from api_hooks.responses import problem, status_of
from api_hooks.socket import BAD_FRAME, Socket, frame
from core import log_events
from core.errors import AnmeiError, InvalidInputError, NotAllowedError, NotAuthenticatedError, RateLimitedError
from core.logging import get_logger
from queries.consultants import Receipt
from queries.events import ALL_CONSULTANTS, Told, consultant_audience, customer_audience
from services import auth, events, presence
from services import consultants as consultants_service
from services.auth import Identity
from services.permissions import Permission

log = get_logger(__name__)
router = APIRouter()

SUBPROTOCOL = "bearer"
# Telephones, tablets and forgotten tabs of one person; each process counts its own.
SOCKETS_PER_USER = 10
FRAME_MAX_CHARACTERS = 16 * 1024
IDS_MAX = 500
CLOSE_SECONDS = 2.0
# A language tag (BCP 47) of sensible length.
LOCALE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}")
# No close frame was received (RFC 6455, 7.4.1); uvicorn says 1005 for it, as it does for a close frame without a code.
BROKEN_OFF = (1005, 1006)


@router.websocket("/ws/consultants")
async def consultants(websocket: WebSocket) -> None:
    """Frames for consultants: new_customer, customer_claimed, customer_released, message, escalation, presence."""
    await _serve(websocket, Permission.RECEIVE_CONSULTANT_EVENTS)


@router.websocket("/ws/customers")
async def customers(websocket: WebSocket) -> None:
    """Frames for one customer: message, and message_delta while an answer is being written."""
    await _serve(websocket, Permission.RECEIVE_CUSTOMER_EVENTS)


async def _serve(websocket: WebSocket, permission: Permission) -> None:
    hub: Hub = websocket.app.state.hub
    try:
        after = _last_event_id(websocket)
        wanted = _locale(websocket)
        identity = await hub.run(auth.identify, _token(websocket))
        identity.require(permission)
        locale = wanted or await hub.run(consultants_service.locale_of, identity.user_id)
        socket = Socket(websocket, identity, permission, _audiences(identity, permission), locale)
        if hub.count_of(identity.user_id) >= SOCKETS_PER_USER:
            raise RateLimitedError(f"more than {SOCKETS_PER_USER} open sockets", code="TOO_MANY_SOCKETS")
        start = await hub.attach(socket)
    except AnmeiError as error:
        await _refuse(websocket, error)
        return
    broken = False
    try:
        await _converse(hub, socket, after, start)
    except WebSocketDisconnect as gone:
        broken = gone.code in BROKEN_OFF
        log.debug(log_events.SOCKET_CLOSED, code=gone.code)
    finally:
        # Shielded: a cancelled connection must not leave its consultant online.
        await asyncio.shield(hub.detach(socket, broken=broken))


async def _converse(hub: Hub, socket: Socket, after: int | None, start: int) -> None:
    websocket = socket.websocket
    offered = SUBPROTOCOL in websocket.scope.get("subprotocols", [])
    await websocket.accept(subprotocol=SUBPROTOCOL if offered else None)
    log.debug(log_events.SOCKET_OPENED, user_id=str(socket.identity.user_id), resumed=after is not None)
    ending = asyncio.create_task(socket.ended())
    working = [asyncio.create_task(_read(hub, socket)), asyncio.create_task(_write(hub, socket, after, start))]
    try:
        await asyncio.wait((ending, *working), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (ending, *working):
            task.cancel()
        outcomes = await asyncio.gather(*working, return_exceptions=True)
    if socket.ending is not None:
        await _close(websocket, *socket.ending)
        return
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await websocket.close(code, reason)
    except TimeoutError:
        # A device that reads nothing does not read this either; the connection is cut when this returns.
        log.info(log_events.SOCKET_CLOSED, code=code, reason=reason, in_time=False)


async def _write(hub: Hub, socket: Socket, after: int | None, start: int) -> None:
    """Say where the stream begins, send what was missed, then what comes."""
    gap = after is not None and await hub.run(events.has_gap_after, after)
    if gap and after is not None:
        after = min(after, start)
    begin = start if after is None else after
    await socket.send("connected", {"connection_id": str(socket.id), "resumed": after is not None}, begin)
    if gap:
        await socket.send("resync", {"reason": "last_event_id is not known any more: load the present state"})
    if after is not None:
        await _send_missed(hub, socket, after, start)
    socket.skip_to(max(begin, start))
    await socket.write()


async def _send_missed(hub: Hub, socket: Socket, after: int, until: int) -> None:
    while after < until:
        page = await hub.run(_missed, socket, after, until)
        for event in page:
            await socket.websocket.send_text(frame(event, socket.locale))
        if len(page) < events.PAGE:
            return
        after = page[-1].seq


def _missed(socket: Socket, after: int, until: int) -> list[Told]:
    recipient = socket.identity.consultant_id
    return events.missed(socket.audiences, recipient_id=recipient, after=after, until=until)


async def _read(hub: Hub, socket: Socket) -> None:
    while True:
        text = await socket.websocket.receive_text()
        said = _parse(text)
        if said is None:
            socket.end(BAD_FRAME, "frames are JSON objects with a type")
            return
        await _hear(hub, socket, said["type"], said.get("data"))


def _parse(text: str) -> dict[str, Any] | None:
    if len(text) > FRAME_MAX_CHARACTERS:
        return None
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return said if isinstance(said, dict) and isinstance(said.get("type"), str) else None


async def _hear(hub: Hub, socket: Socket, kind: str, data: Any) -> None:
    """Act on what a client says; kinds unknown to us are left for later versions."""
    consultant_id = socket.identity.consultant_id
    details = data if isinstance(data, dict) else {}
    if kind == "ping":
        socket.offer(None, '{"id":null,"type":"pong","data":{}}')
    elif kind in ("received", "seen") and consultant_id is not None:
        numbers = [int(one) for one in details.get("ids", [])[:IDS_MAX] if isinstance(one, str) and one.isdecimal()]
        hub.add_receipts(Receipt(number, consultant_id, kind == "seen") for number in numbers if number < 2**63)
    elif kind == "presence" and consultant_id is not None and details.get("status") in ("online", "away"):
        away = details["status"] == "away"
        await hub.run(lambda: presence.set_away(consultant_id, away=away))


def _token(connection: HTTPConnection) -> SecretStr:
    """Return the token of the Authorization header, or of the subprotocol pair that browsers can send."""
    kind, _, value = connection.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and value:
        return SecretStr(value.strip())
    offered = connection.scope.get("subprotocols", [])
    if len(offered) == 2 and offered[0] == SUBPROTOCOL:
        return SecretStr(offered[1])
    raise NotAuthenticatedError(
        "this needs `Authorization: Bearer <jwt>` or the subprotocols `bearer, <jwt>`", code="TOKEN_MISSING"
    )


def _last_event_id(connection: HTTPConnection) -> int | None:
    given = connection.query_params.get("last_event_id")
    if not given:
        return None
    if not given.isdecimal() or len(given) > 18:
        raise InvalidInputError("last_event_id: the id of a frame", code="INVALID_LAST_EVENT_ID")
    return int(given)


def _locale(connection: HTTPConnection) -> str | None:
    """Return the language a device shows, where it says one (`?locale=en`); else it is its person's."""
    given = connection.query_params.get("locale")
    if given and not LOCALE.fullmatch(given):
        raise InvalidInputError("locale: a language tag such as en or zh-CN", code="INVALID_LOCALE")
    return given or None


def _audiences(identity: Identity, permission: Permission) -> tuple[str, ...]:
    if permission is Permission.RECEIVE_CUSTOMER_EVENTS:
        return (customer_audience(identity.user_id),)
    if identity.consultant_id is None:
        raise NotAllowedError("the account is no consultant's")
    return (ALL_CONSULTANTS, consultant_audience(identity.consultant_id))


async def _refuse(websocket: WebSocket, error: AnmeiError) -> None:
    """Answer the handshake with a problem, as any HTTP request would be."""
    request = Request({**websocket.scope, "type": "http", "method": "GET"})
    answer = problem(request, status_of(error), error.code, error.message)
    await websocket.send_denial_response(answer)
