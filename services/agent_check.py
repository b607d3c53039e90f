"""Checking an agent as an administrator set it: who the key belongs to, and one harmless message through all of the way."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, replace
from typing import TypeVar
from uuid import UUID

from clients import agents as agent_client
from clients.agents import AgentRequest, AgentTarget
from core.database import unit_of_work
from core.errors import AgentTransientError, AnmeiError, ConflictError, NotFoundError
from core.ids import new_handle
from queries import agents as agent_queries
from queries import subjects
from queries import users as user_queries
from services import agents, audit, automation
from services.agents import KnownVersion
from services.gateway import guard, prompt
from services.gateway.guard import Recipient
from services.gateway.prompt import Customer

T = TypeVar("T")

# A provider that takes longer to say who it is will not write a welcome in time either.
INFO_SECONDS = 10.0
# The caller of the check waits for it.
MESSAGE_SECONDS = 30.0
# How long the agent's tools answer for a customer a preview is written for.
PREVIEW_SECONDS = 120.0
NAME, LOCALE = "测试客户", "zh-CN"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one part of a check came to. `detail` never holds the key."""

    check: str
    ok: bool
    detail: str
    code: str | None = None
    duration_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """All findings; `name` and `mode` as the provider says them, `answer` as a customer would have read it."""

    findings: tuple[Finding, ...]
    name: str | None = None
    mode: str | None = None
    answer: str | None = None

    @property
    def failed(self) -> Finding | None:
        return next((one for one in self.findings if not one.ok), None)

    @property
    def ok(self) -> bool:
        return self.failed is None

    @property
    def latency_ms(self) -> int:
        """Milliseconds the provider took, over all that was asked."""
        return sum(one.duration_ms or 0 for one in self.findings)

    @property
    def error_code(self) -> str | None:
        return self.failed.code if self.failed else None

    @property
    def error(self) -> str | None:
        return self.failed.detail if self.failed else None


def check(agent_id: UUID, version_id: UUID | None = None, *, actor: str = "system", origin: str | None = None) -> Check:
    """Ask the provider who it is, compare the mode, and have one welcome written for nobody; a paid run.

    Stops at the first part that fails. Raises NotFoundError.
    """
    version = _known(agent_id, version_id)
    done = _check(version)
    with unit_of_work() as session:
        audit.record(
            session,
            actor=actor,
            action="agent.check",
            subject=f"agent:{agent_id}",
            after={"version_id": str(version_id) if version_id else None, "failed": done.error_code},
            origin=origin,
        )
    return done


def preview(
    agent_id: UUID, version_id: UUID | None = None, *, customer: str, actor: str, origin: str | None = None
) -> Check:
    """Have the welcome of one customer (our id, or the signup service's) written as it would be; nothing is sent; a paid run.

    The agent's tools answer for that customer, through the handle of their journey, which is good for PREVIEW_SECONDS again.
    Audited, as the agent is told of them. Raises NotFoundError, and ConflictError for a customer without a journey.
    """
    version = _known(agent_id, version_id)
    with unit_of_work() as session:
        user = user_queries.find_customer(session, customer)
        if user is None:
            raise NotFoundError("no such customer", code="CUSTOMER_NOT_FOUND")
        handle = subjects.lend_handle(session, user.id, new_handle(), seconds=PREVIEW_SECONDS)
        if handle is None:
            raise ConflictError("the customer has no journey", code="CUSTOMER_HAS_NO_JOURNEY")
        noted = {"agent": str(agent_id), "version_id": str(version_id) if version_id else None}
        audit.record(
            session, actor=actor, action="agent.preview", subject=f"user:{user.id}", after=noted, origin=origin
        )
    locale = prompt.safe_locale(user.locale)
    written_for = Customer(handle, user.username, user.locale, user.interests, user.source)
    heard, answer = _hear(version, written_for, Recipient(locale, user.username, email=user.email, phone=user.phone))
    return Check(tuple(heard), version.name, None, answer)


def _known(agent_id: UUID, version_id: UUID | None) -> KnownVersion:
    with unit_of_work() as session:
        agent_queries.get_agent(session, agent_id)
    version = agents.find_known(agent_id, version_id)
    if version is None:
        raise NotFoundError("no such version of this agent", code="AGENT_VERSION_NOT_FOUND")
    return version


def _check(version: KnownVersion) -> Check:
    began = time.monotonic()
    try:
        found = _wait(lambda: agent_client.info(version.target), INFO_SECONDS)
    except AnmeiError as error:
        return Check((_failure("info", error, began),))
    name, mode = found.name, found.mode
    findings = [Finding("info", True, f"the key belongs to {name!r}", duration_ms=_since_ms(began))]
    if mode is not None:
        findings.append(_compared(version.target, mode))
    if not findings[-1].ok:
        return Check(tuple(findings), name, mode)
    # A handle that was given to nobody: whatever the agent asks our tools with it, there is no customer behind it.
    heard, answer = _hear(version, Customer(new_handle(), NAME, LOCALE), Recipient(LOCALE, NAME))
    return Check((*findings, *heard), name, mode, answer)


def _compared(target: AgentTarget, mode: str) -> Finding:
    if mode == target.mode:
        return Finding("mode", True, f"the application is of mode {mode}")
    detail = f"the application is of mode {mode}, but {target.mode} is set"
    return Finding("mode", False, detail, code="AGENT_MODE_DIFFERS")


def _hear(version: KnownVersion, customer: Customer, recipient: Recipient) -> tuple[list[Finding], str | None]:
    instruction = {"instruction": version.instruction} if version.instruction else {}
    written = prompt.build(customer, **instruction)
    target = replace(version.target, timeout_seconds=min(version.target.timeout_seconds, MESSAGE_SECONDS))
    request = AgentRequest(target, written.inputs, written.query, user=customer.handle, trace_id=None)
    began = time.monotonic()
    try:
        answer = _wait(lambda: agent_client.start(request), MESSAGE_SECONDS)
    except AnmeiError as error:
        return [_failure("message", error, began)], None
    tools = f", tools called: {', '.join(answer.tools)}" if answer.tools else ", no tool called"
    heard = Finding("message", True, f"{len(answer.text)} characters{tools}", duration_ms=_since_ms(began))
    settings = automation.current().gateway.guard
    verdict = guard.check(answer.text, recipient, settings, moderated=answer.moderated)
    if verdict.accepted:
        return [heard, Finding("guard", True, "a customer could read it")], verdict.text
    refused = Finding("guard", False, f"refused: {verdict.reason} {verdict.detail}".strip(), code="ANSWER_REFUSED")
    return [heard, refused], None


def _wait(start: "Callable[[], Future[T]]", seconds: float) -> T:
    asked = start()
    try:
        return asked.result(seconds + 1)
    except FutureTimeoutError:
        asked.cancel()
        raise AgentTransientError(f"no answer within {seconds:g} s", code="AGENT_TIMEOUT") from None


def _failure(name: str, error: AnmeiError, began: float) -> Finding:
    return Finding(name, False, error.message, code=error.code, duration_ms=_since_ms(began))


def _since_ms(began: float) -> int:
    return int((time.monotonic() - began) * 1000)
