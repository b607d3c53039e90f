"""Arguments several tools share."""

from typing import Annotated

from pydantic import Field

UserId = Annotated[
    str,
    Field(min_length=1, max_length=200, description="The customer's identifier, exactly as it was given to you"),
]
Limit = Annotated[int, Field(ge=1, le=100, description="How many at most")]
Days = Annotated[int, Field(ge=1, le=366, description="How many days back")]
ProjectCode = Annotated[str, Field(min_length=1, max_length=64, description="The project's code, from service_info")]
