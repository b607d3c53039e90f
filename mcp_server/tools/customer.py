"""Tools about customers: analysis, conversations, and the business in numbers."""

from typing import Annotated, Any

from pydantic import Field

from mcp_server.toolkit import Toolbox, tool
from mcp_server.tools.arguments import Days, Limit, UserId
from services import conversation_data
from services import customer_analysis as analysis
from services.customer_analysis import AnalysisType
from services.mcp_work import CallContext

TOOLS: Toolbox = {}

Analysis = Annotated[AnalysisType, Field(description="Each further type adds to the one before")]


@tool(TOOLS)
def analyze_customer(
    context: CallContext, user_id: UserId, analysis_type: Analysis = AnalysisType.BASIC
) -> dict[str, Any]:
    """Analyse a customer from what is on record: messages, appointments, consultations and treatments.

    basic: customer_segment, behavior_pattern, engagement_level, recommendations. detailed adds risk_profile,
    lifetime_value_prediction and churn_probability. predictive adds next_best_action, optimal_contact_time and
    personalization_strategy. Computed by fixed rules from stored facts; a new customer has few of them.
    """
    return analysis.analyze_customer(context, user_id, analysis_type)


@tool(TOOLS)
def get_conversation_data(context: CallContext, user_id: UserId, limit: Limit = 20) -> dict[str, Any]:
    """Get the customer's newest conversation: title, tags, who is in charge, and its last messages, oldest first."""
    return conversation_data.conversation_data(context, user_id, limit)


@tool(TOOLS)
def get_business_metrics(context: CallContext, days: Days = 7) -> dict[str, Any]:
    """Get the business's numbers of the last days: registrations by source, journeys and their success rate, seconds to the
    greeting, conversations and messages. No customer is named.
    """
    return conversation_data.business_metrics(context, days)
