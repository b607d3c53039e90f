"""Tools for customers: what is offered, what it costs, and booking it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from core.errors import InvalidInputError
from mcp_server.toolkit import Toolbox, tool
from mcp_server.tools.arguments import Days, UserId
from services import treatments
from services.mcp_work import CallContext

TOOLS: Toolbox = {}


@tool(TOOLS)
def basic_inquiry(
    context: CallContext,
    question: Annotated[str, Field(min_length=2, max_length=500, description="What the customer wants to know")],
) -> dict[str, Any]:
    """Find the projects a customer's question is about, best first, with prices, duration, recovery and contraindications.

    No answers means that nothing on offer fits; the categories then say what there is.
    """
    return treatments.inquire(context, question)


@tool(TOOLS)
def service_info(
    context: CallContext,
    project_code: Annotated[str | None, Field(max_length=64, description="One project; leave out for all")] = None,
    category: Annotated[str | None, Field(max_length=64, description="Only projects of this category")] = None,
) -> dict[str, Any]:
    """Get what is offered: one project by its code, or all, or those of a category."""
    return treatments.service_info(context, project_code, category)


@tool(TOOLS, read_only=False)
def appointment_booking(
    context: CallContext,
    user_id: UserId,
    action: Annotated[Literal["book", "cancel", "list"], Field(description="What to do")] = "book",
    project_code: Annotated[str | None, Field(max_length=64, description="For book and cancel")] = None,
    starts_at: Annotated[
        datetime | None, Field(description="For book and cancel: with time zone, as in 2026-11-20T10:00:00+08:00")
    ] = None,
    note: Annotated[str | None, Field(max_length=500, description="For book: anything the clinic should know")] = None,
) -> dict[str, Any]:
    """Book, cancel or list a customer's appointments.

    Appointments begin every 30 minutes from 9:00 to 18:00, Asia/Shanghai. A taken time is answered with error_code
    SLOT_TAKEN: offer another. Booking the same again changes nothing.
    """
    if action == "list":
        return treatments.list_booked(context, user_id)
    if project_code is None or starts_at is None:
        raise InvalidInputError("project_code and starts_at: required for this action", code="INVALID_ARGUMENTS")
    if action == "cancel":
        return treatments.cancel(context, user_id, project_code, starts_at)
    return treatments.book(context, user_id, project_code, starts_at, note)


@tool(TOOLS)
def get_project_metrics(context: CallContext, days: Days = 30) -> dict[str, Any]:
    """Get per project how often it was booked, carried out and cancelled in the last days, and what was paid for it."""
    return treatments.project_metrics(context, days)
