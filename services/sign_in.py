"""Settings of signing in: the OpenID Connect provider staff may sign in with. Off until issuer and client are set."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from clients.oidc_address import is_allowed_address
from services.permissions import Role
from services.sealed import Sealed
from services.settings_family import SettingsFamily

NAME = "sign-in"

Value = Annotated[str, Field(min_length=1, max_length=200)]


class SignInSettings(BaseModel):
    """Which provider, what its claims mean here, and whom it may let in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: Annotated[str, Field(max_length=200)] = ""
    client_id: Annotated[str, Field(max_length=200)] = ""
    # Empty for a public client.
    client_secret: Sealed = ""
    scopes: tuple[Value, ...] = ("openid", "profile", "email")
    # What the button of the sign-in page names.
    provider_name: Annotated[str, Field(max_length=60)] = ""
    # As the outside reaches these pages, where a proxy stands before them; else what the browser asked for.
    base_url: Annotated[str, Field(max_length=200)] = ""
    username_claim: Annotated[str, Field(min_length=1, max_length=100)] = "preferred_username"
    # A dotted path: realm_access.roles.
    roles_claim: Annotated[str, Field(min_length=1, max_length=100)] = "groups"
    admin_values: tuple[Value, ...] = ()
    operator_values: tuple[Value, ...] = ()
    consultant_values: tuple[Value, ...] = ()
    # Make an account for somebody with a role who has none.
    create_accounts: bool = True
    # Whoever can choose their name at the provider could choose an administrator's: only where names there are given out.
    link_by_name: bool = False

    @field_validator("issuer", "base_url")
    @classmethod
    def _is_safe(cls, value: str) -> str:
        if value and not is_allowed_address(value):
            raise ValueError("must be https://…, or http:// within this machine")
        return value

    @field_validator("base_url")
    @classmethod
    def _has_no_end(cls, value: str) -> str:
        return value.rstrip("/")

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.issuer and not self.client_id:
            raise ValueError("client_id: needed with an issuer")
        if self.issuer and not (self.admin_values or self.operator_values or self.consultant_values):
            raise ValueError("admin_values: without any value that means a role nobody could sign in")
        return self

    @property
    def is_on(self) -> bool:
        return bool(self.issuer and self.client_id)

    def values_of(self) -> dict[Role, tuple[str, ...]]:
        """Return the claim's values that make somebody what."""
        return {
            Role.ADMIN: self.admin_values,
            Role.OPERATOR: self.operator_values,
            Role.CONSULTANT: self.consultant_values,
        }


FAMILY = SettingsFamily(NAME, SignInSettings)
current = FAMILY.current
