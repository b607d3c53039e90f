"""A peer's door: FastAPI, one durable insert, then the engine's own way of starting work. ``python -m bench.peers.accept``."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import psycopg
import uvicorn
from fastapi import FastAPI, Request

from bench.peers.job import ACCEPT, accept_parameters
from core.settings import get_settings

PATH = "/registrations"
CONNECTIONS = 8
# What starts a journey, by engine; "none" is the bare insert that the webhook's answer is compared with.
STARTERS = {"celery": "bench.peers.celery_chain", "dramatiq": "bench.peers.dramatiq_actors", "none": None}

Start = Callable[[str], None]


def create_app(start: Start | None) -> FastAPI:
    """Return the application; `start` is called in a thread once the insert is committed."""
    idle: asyncio.Queue[psycopg.AsyncConnection[Any]] = asyncio.Queue()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        url = get_settings().require_database_url()
        opened = [await psycopg.AsyncConnection.connect(url, autocommit=True) for _ in range(CONNECTIONS)]
        for connection in opened:
            idle.put_nowait(connection)
        yield
        for connection in opened:
            await connection.close()

    app = FastAPI(lifespan=lifespan)

    @app.get("/healthz")
    async def healthz() -> dict[str, bool]:
        return {"success": True}

    @app.post(PATH, status_code=202)
    async def register(request: Request) -> dict[str, Any]:
        values = accept_parameters(await request.json())
        connection = await idle.get()
        try:
            await connection.execute(ACCEPT, values)
        finally:
            idle.put_nowait(connection)
        journey_id = str(values["journey"])
        if start is not None:
            await asyncio.to_thread(start, journey_id)
        return {"success": True, "data": {"journey_id": journey_id}}

    return app


def main() -> None:
    """Serve; arguments: the engine (celery, dramatiq, none) and the port."""
    module = STARTERS[sys.argv[1]]
    app = create_app(import_module(module).start if module else None)
    uvicorn.run(
        app, port=int(sys.argv[2]), loop="uvloop", http="httptools", access_log=False, log_level="warning", backlog=2048
    )


if __name__ == "__main__":
    main()
