"""Where backups go."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from onefold.domain.rules import Rule


class BackupSettings(Rule):
    """Where copies of journals, parameters, models and configuration go."""

    to: str = Field(
        "",
        max_length=1_000,
        description="A folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX; none without it.",
    )
    keep: Annotated[int, Field(ge=1, le=10_000)] = Field(
        30, description="How many backups are kept; older ones are removed."
    )
    endpoint: str = Field(
        "", max_length=1_000, description="Of a store that speaks S3 and is not Amazon's; https."
    )
    region: str = Field("", max_length=100, description="Of S3, where the environment has none.")
    access_key_id: SecretStr = Field(
        SecretStr(""), description="Of S3, where the environment (AWS_...) has none."
    )
    secret_access_key: SecretStr = Field(
        SecretStr(""), description="Of S3, where the environment (AWS_...) has none."
    )
    service_account: str = Field(
        "", max_length=1_000, description="Of GCS: the file with the service account's key."
    )

    def options(self, scheme: str) -> dict[str, str]:
        """Return what a store of this kind has to know besides its address."""
        if scheme == "gs":
            return {"service_account_path": self.service_account} if self.service_account else {}
        given = {
            "endpoint": self.endpoint,
            "region": self.region,
            "access_key_id": self.access_key_id.get_secret_value(),
            "secret_access_key": self.secret_access_key.get_secret_value(),
        }
        return {name: value for name, value in given.items() if value}
