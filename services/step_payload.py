"""What an operator may change of a step's inputs when replaying it, step by step."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import InvalidInputError
from models import StepName
from services.masking import MASK

Text = Annotated[str, Field(min_length=1, max_length=200)]


class _Payload(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ConversationPayload(_Payload):
    title: Text | None = None
    tags: Annotated[list[Text], Field(max_length=20)] | None = None
    owner: Text | None = None


class WelcomePayload(_Payload):
    username: Text | None = None
    locale: Text | None = None
    interests: Annotated[list[Text], Field(max_length=50)] | None = None


class NotificationPayload(_Payload):
    title: Text | None = None
    message: Text | None = None


PAYLOADS: dict[StepName, type[_Payload]] = {
    StepName.CREATE_CONVERSATION: ConversationPayload,
    StepName.GENERATE_WELCOME: WelcomePayload,
    StepName.NOTIFY_CONSULTANTS: NotificationPayload,
}


def validated_payload(step: StepName, payload: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the payload without what is empty; raise InvalidInputError naming the fields that do not fit the step."""
    if payload is None:
        return None
    if MASK in json.dumps(payload, ensure_ascii=False):
        # Sent back as it was shown: a customer would be greeted by it.
        raise InvalidInputError(f"payload: holds a masked value ({MASK}); reveal it first, or leave it out")
    try:
        return PAYLOADS[step].model_validate(payload).model_dump(exclude_none=True)
    except ValidationError as error:
        problems = "; ".join(f"payload.{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise InvalidInputError(problems) from None
