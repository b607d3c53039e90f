"""Tools for doctors: a patient's records and what they say."""

from typing import Any

from mcp_server.toolkit import Toolbox, tool
from mcp_server.tools.arguments import Limit, ProjectCode, UserId
from services import treatments
from services.mcp_work import CallContext

TOOLS: Toolbox = {}


@tool(TOOLS)
def patient_analysis(context: CallContext, user_id: UserId) -> dict[str, Any]:
    """Sum up a patient's treatment records: numbers by category, reactions, and from when on they are recovered."""
    return treatments.patient_analysis(context, user_id)


@tool(TOOLS)
def medical_records(context: CallContext, user_id: UserId, limit: Limit = 20) -> dict[str, Any]:
    """Get the treatments carried out on a patient, newest first, with the doctor's notes and reactions."""
    return treatments.medical_records(context, user_id, limit)


@tool(TOOLS)
def diagnosis_assist(context: CallContext, user_id: UserId, project_code: ProjectCode) -> dict[str, Any]:
    """Check a project against a patient's records: contraindications on record, unfinished recovery, and what to ask about.

    It decides nothing; a doctor has to.
    """
    return treatments.diagnosis_assist(context, user_id, project_code)
