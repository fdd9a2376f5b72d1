"""Secrets that stand elsewhere: a setting "ssm:/name" means what the SSM parameter of that name holds."""
from __future__ import annotations

from dataclasses import replace

from relay.settings import Settings

SCHEME = b"ssm:"


def opened(settings: Settings) -> Settings:
    """*settings* with every such secret replaced by the real one. Raises Misconfigured or Busy; without any, asks nobody."""
    if not any(secret.startswith(SCHEME) for secret in (*settings.secrets, *settings.shared)):
        return settings
    from relay.live.gateway import parameters, parameters_of_a_person, revealed

    parameter = parameters(settings.account) if settings.account else parameters_of_a_person()
    return replace(settings, secrets=revealed(settings.secrets, parameter), shared=revealed(settings.shared, parameter))
