"""Tools for consultants: a customer's history, analysis and plans."""

from typing import Annotated, Any

from pydantic import Field

from mcp_server.toolkit import Toolbox, tool
from mcp_server.tools.arguments import Limit, UserId
from mcp_server.tools.customer import Analysis
from services import conversation_data, treatments
from services import customer_analysis as analysis
from services.customer_analysis import AnalysisType
from services.mcp_work import CallContext

TOOLS: Toolbox = {}

Goal = Annotated[str, Field(min_length=1, max_length=64)]


@tool(TOOLS)
def consultation_history(context: CallContext, user_id: UserId, limit: Limit = 10) -> dict[str, Any]:
    """Get a customer's consultations, conversations and treatment plans, each newest first."""
    return conversation_data.consultation_history(context, user_id, limit)


@tool(TOOLS)
def customer_analysis(
    context: CallContext, user_id: UserId, analysis_type: Analysis = AnalysisType.DETAILED
) -> dict[str, Any]:
    """Analyse a customer for a consultation: the same as analyze_customer, detailed unless asked otherwise."""
    return analysis.analyze_customer(context, user_id, analysis_type)


@tool(TOOLS, read_only=False)
def plan_generation(
    context: CallContext,
    user_id: UserId,
    goals: Annotated[
        list[Goal],
        Field(
            max_length=20, description="Interests to answer, such as skin or antiaging; empty for the customer's own"
        ),
    ] = [],  # noqa: B006  # read only: it becomes the schema's default
    budget_yuan: Annotated[int | None, Field(ge=0, description="What the plan may cost at most")] = None,
) -> dict[str, Any]:
    """Make a treatment plan from the projects on offer and keep it with the customer.

    Projects that answer most of the goals come first, as long as their highest price fits the budget; what the customer
    already had is left out. The plan is a proposal for a consultant to go through.
    """
    return treatments.generate_plan(context, user_id, list(goals), budget_yuan)
