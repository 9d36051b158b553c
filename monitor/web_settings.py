"""The settings of [web]."""

from typing import Annotated

from pydantic import ConfigDict, Field

from monitor.plugins import SecretFiles


class WebSettings(SecretFiles):
    """The pages that links in messages lead to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(
        False, description='the pages that links in messages lead to: part of "monitor run"; they need alerts.base_url'
    )
    host: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9.:_-]+$")] = Field(
        "127.0.0.1", description="address listened on, without TLS: that is left to a reverse proxy before it"
    )
    port: Annotated[int, Field(ge=1, le=65_535)] = Field(8080, description="port listened on")
