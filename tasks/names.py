"""The wire names of all tasks. Serialised into messages, so they must stay stable across deployments."""

from enum import StrEnum

from models import StepName


class TaskName(StrEnum):
    CREATE_CONVERSATION = "journey.create_conversation"
    GENERATE_WELCOME = "journey.generate_welcome"
    NOTIFY_CONSULTANTS = "journey.notify_consultants"
    SWEEP = "journey.sweep"
    SEND_ALERTS = "alerts.send"
    DELIVER = "consultants.deliver"
    ESCALATE = "consultants.escalate"
    AGENT_FEEDBACK = "agents.feedback"
    REVIEW_CANARIES = "maintenance.review_canaries"
    PRUNE_EVENTS = "maintenance.prune_events"
    RETENTION = "maintenance.retention"
    ERASE_LATE_WRITES = "maintenance.erase_late_writes"
    FORGET_CONNECTIONS = "maintenance.forget_connections"


STEP_TASKS: dict[StepName, TaskName] = {
    StepName.CREATE_CONVERSATION: TaskName.CREATE_CONVERSATION,
    StepName.GENERATE_WELCOME: TaskName.GENERATE_WELCOME,
    StepName.NOTIFY_CONSULTANTS: TaskName.NOTIFY_CONSULTANTS,
}
