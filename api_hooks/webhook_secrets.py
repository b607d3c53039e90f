"""The webhook's secrets over HTTP: their dates, and rotation."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, Field

from api_hooks.auth import Origin, require
from api_hooks.fields import Input
from api_hooks.responses import Envelope, Page
from core.clock import utc_now
from models import WebhookSecret
from services import webhook_secrets
from services.auth import Identity
from services.permissions import Permission

router = APIRouter(prefix="/webhook-secrets", tags=["webhook"])

Keeper = Annotated[Identity, Depends(require(Permission.MANAGE_SECRETS))]


class SecretOut(BaseModel):
    id: UUID
    valid: bool
    created_by: str
    created_at: datetime
    expires_at: datetime | None


class NewSecretOut(SecretOut):
    secret: str = Field(description="Shown this once.")


class Rotation(Input):
    old_valid_hours: Annotated[float, Field(ge=0, le=24 * 30, allow_inf_nan=False)] = 24


@router.get("", summary="Which secrets the webhook may be signed with")
def list_secrets(_: Keeper) -> Envelope[Page[SecretOut]]:
    """Answer their dates; a secret itself is shown once, when it is made."""
    return Envelope(data=Page(items=[_shown(secret) for secret in webhook_secrets.listed()]))


@router.post("", status_code=201, summary="Make a new secret; the old ones stay valid for a while")
def rotate(who: Keeper, origin: Origin, response: Response, body: Rotation | None = None) -> Envelope[NewSecretOut]:
    """Rotate without downtime: during `old_valid_hours` either secret signs."""
    hours = (body or Rotation()).old_valid_hours
    row, secret = webhook_secrets.rotate(old_valid_hours=hours, actor=who.actor, origin=origin)
    response.headers["Cache-Control"] = "no-store"
    shown = NewSecretOut(**_shown(row).model_dump(), secret=secret.get_secret_value())
    return Envelope(data=shown, message="shown this once")


def _shown(secret: WebhookSecret) -> SecretOut:
    return SecretOut(
        id=secret.id,
        valid=webhook_secrets.is_valid(secret, utc_now()),
        created_by=secret.created_by,
        created_at=secret.created_at,
        expires_at=secret.expires_at,
    )
