"""The settings every process reads from the environment, each checked before anything starts.

Providers read variables of their own (`NOTIFIER_SMTP_HOST`, …); see `notifier.channels`.
"""

import os
import shlex
from datetime import timedelta
from functools import cache

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from notifier.errors import SettingError

PREFIX = "NOTIFIER_"


class Settings(BaseSettings):
    """Every field is the variable `NOTIFIER_<FIELD>`; its description is what is expected."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    database_url: str = Field(
        default="",
        description="a Postgres URL (postgresql://user:password@host:port/database)",
    )
    owner_url: str = Field(
        default="",
        description="the Postgres URL of the schema's owner, for `notifier migrate` only",
    )
    redis_url: str = Field(
        default="", description="a Redis or Valkey URL (redis://:password@host:port/0)"
    )
    secret_keys: str = Field(
        default="",
        description="Fernet keys, newest first, separated by commas (`notifier keys secret`)",
    )
    public_url: str = Field(
        default="http://127.0.0.1:8000", description="the http(s) address recipients can reach"
    )
    http_host: str = Field(default="127.0.0.1", description="the address the API listens on")
    http_port: int = Field(
        default=8000, ge=1, le=65535, description="a port number from 1 to 65535"
    )
    data_dir: str = Field(
        default=".notifier", description="the folder of the embedded Postgres and Valkey"
    )
    lease_seconds: float = Field(
        default=30,
        ge=1,
        le=3600,
        description="seconds from 1 to 3600: how long a worker may hold a dispatch unrenewed",
    )
    chunk_seconds: float = Field(
        default=20,
        ge=0.1,
        le=600,
        description="seconds from 0.1 to 600 a worker spends on one dispatch before it hands "
        "back the rest",
    )
    flush_seconds: float = Field(
        default=0.5,
        ge=0.01,
        le=60,
        description="seconds from 0.01 to 60 between two writes of outcomes",
    )
    rung_per_queue: int = Field(
        default=24,
        ge=1,
        le=10_000,
        description="a whole number from 1 to 10000: dispatches waiting in one Redis queue at most",
    )
    ring_again_seconds: float = Field(
        default=20,
        ge=0.2,
        le=3600,
        description="seconds from 0.2 to 3600 after which an unclaimed dispatch is rung again",
    )
    retry_delays: str = Field(
        default="15 45 120 300",
        description="seconds between attempts separated by spaces (five attempts within eight "
        "minutes: '15 45 120 300')",
    )
    doubt_seconds: float = Field(
        default=3600,
        ge=1,
        le=86_400,
        description="seconds from 1 to 86400 an attempt in doubt is asked about before it stays "
        "unknown",
    )
    rates: str = Field(
        default="",
        description="messages a second that providers may have, separated by commas "
        "(twilio=10,slack=0.5)",
    )
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR")
    log_format: str = Field(default="json", description="json or text")

    @field_validator("database_url", "owner_url")
    @classmethod
    def _is_postgres(cls, value: str) -> str:
        if value and not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("not a Postgres URL")
        return value

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, value: str) -> str:
        if value and not value.startswith(("redis://", "rediss://", "valkey://")):
            raise ValueError("not a Redis URL")
        return value.replace("valkey://", "redis://", 1)

    @field_validator("public_url")
    @classmethod
    def _is_web(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("not a web address")
        return value.rstrip("/")

    @field_validator("secret_keys")
    @classmethod
    def _are_fernet_keys(cls, value: str) -> str:
        from cryptography.fernet import Fernet

        for key in filter(None, value.split(",")):
            Fernet(key.strip())
        return value

    @field_validator("log_level")
    @classmethod
    def _is_level(cls, value: str) -> str:
        if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise ValueError("not a level")
        return value.upper()

    @field_validator("log_format")
    @classmethod
    def _is_format(cls, value: str) -> str:
        if value not in {"json", "text"}:
            raise ValueError("not a format")
        return value

    @field_validator("retry_delays")
    @classmethod
    def _are_delays(cls, value: str) -> str:
        delays = [float(word) for word in value.split()]
        if not delays or any(not 0 <= delay <= 86_400 for delay in delays):
            raise ValueError("not delays")
        return value

    @field_validator("rates")
    @classmethod
    def _are_rates(cls, value: str) -> str:
        for name, rate in _rates(value).items():
            if not name or not 0.001 <= rate <= 1_000_000:
                raise ValueError("not a rate")
        return value

    @property
    def limits(self) -> dict[str, float]:
        """Messages a second at most, by provider."""
        return _rates(self.rates)

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.lease_seconds)

    @property
    def delays(self) -> tuple[timedelta, ...]:
        """The waits between attempts; there is one attempt more than waits."""
        return tuple(timedelta(seconds=float(word)) for word in self.retry_delays.split())


def _rates(value: str) -> dict[str, float]:
    pairs = [entry.partition("=") for entry in value.split(",") if entry.strip()]
    return {name.strip(): float(rate) for name, _, rate in pairs}


@cache
def settings() -> Settings:
    """The environment's settings; raises `SettingError` naming the first variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        field = Settings.model_fields[name.removeprefix(PREFIX).lower()]
        raise SettingError(
            f"{PREFIX}{name.removeprefix(PREFIX).upper()}", str(field.description)
        ) from None


def or_of_up() -> str:
    """For errors about an address that is missing: how to have one by `notifier up`."""
    file = os.path.join(os.path.expanduser(settings().data_dir), "env")
    if os.path.exists(file):
        return f"or that of a running `notifier up`: `set -a; . {shlex.quote(file)}; set +a`"
    return "or run `notifier up`"


def names() -> list[str]:
    """The variables read here, for `doctor` and the test of the compose file."""
    return [f"{PREFIX}{field.upper()}" for field in Settings.model_fields]
