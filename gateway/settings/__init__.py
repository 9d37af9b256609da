"""Settings: the operator's YAML tree, checked once and handed on as frozen values."""

from gateway.settings.findings import Finding, Place, SettingsError
from gateway.settings.loading import load
from gateway.settings.providers import FoundProvider, provider_from_environment
from gateway.settings.values import (
    AlertSettings,
    CacheSettings,
    EmbedderSettings,
    EvalSettings,
    ExactCacheSettings,
    LedgerSettings,
    LoggingSettings,
    MetricsAccess,
    SemanticCacheSettings,
    ServerSettings,
    Settings,
    UnregisteredFeatures,
    UpstreamClient,
    UpstreamSettings,
)

__all__ = [
    "AlertSettings",
    "CacheSettings",
    "EmbedderSettings",
    "EvalSettings",
    "ExactCacheSettings",
    "Finding",
    "FoundProvider",
    "LedgerSettings",
    "LoggingSettings",
    "MetricsAccess",
    "Place",
    "SemanticCacheSettings",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "UnregisteredFeatures",
    "UpstreamClient",
    "UpstreamSettings",
    "load",
    "provider_from_environment",
]
