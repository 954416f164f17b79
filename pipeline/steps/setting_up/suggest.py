"""Proposes the mapping of a market on an object from what the connected org has (R11)."""

from __future__ import annotations

from collections.abc import Collection

from pipeline.core.configuration.configuration import Configuration
from pipeline.core.configuration.integration import LEAD_BASED_OBJECTS, OBJECTS
from pipeline.core.configuration.market import Market
from pipeline.core.configuration.mistakes import near_or_all
from pipeline.core.errors import ConfigurationError
from pipeline.core.org_fit.suggestions import Suggestion, suggest
from pipeline.steps.clients import Clients


def checked_object(object_name: str) -> str:
    """Return the name if the object can be scored; raise ConfigurationError if not (R4)."""
    if object_name not in OBJECTS:
        near = [known for known in OBJECTS if known.lower() == object_name.lower()]
        hint = f" Write it {near[0]}." if near else ""
        raise ConfigurationError(
            [f"object: {object_name!r} is not supported: only {', '.join(OBJECTS)} are (R4).{hint}"]
        )

    return object_name


def checked_market(name: str, known: Collection[str]) -> str:
    """Return `name` if there is such a market; raise ConfigurationError if not."""
    if name not in known:
        hint = near_or_all(name, list(known), none="none yet")
        raise ConfigurationError([f"market: there is no market {name!r}; {hint}"])
    return name


def scores(market: Market, object_name: str) -> bool:
    """Say whether the market may score the object (R5)."""
    return market.kind == "account_based" or object_name in LEAD_BASED_OBJECTS


def suggest_mapping(clients: Clients, object_name: str, market_name: str) -> Suggestion:
    """Propose both mappings: one describe, two for Contact.

    Raises ConfigurationError where there is no such object or market, or the market does not score
    the object.
    """
    configuration: Configuration = clients.configuration
    market = configuration.markets[checked_market(market_name, list(configuration.markets))]
    checked_object(object_name)
    if not scores(market, object_name):
        lead_based = " and ".join(LEAD_BASED_OBJECTS)
        raise ConfigurationError(
            [
                f"market {market.name} is lead based and scores {lead_based} only, not {object_name} (R5)."
            ]
        )

    # A contact's inputs may come from its account (R11).
    described = {object_name, "Account"} if object_name == "Contact" else {object_name}
    describes = {name: clients.describe(name) for name in sorted(described)}
    others = [
        i for i in configuration.integrations if i.object == object_name and i.market != market.name
    ]
    return suggest(object_name, market, describes, others)
