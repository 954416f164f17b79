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


def checked_object(name: str) -> str:
    """Return `name` if it is an object that can be scored; raise ConfigurationError if not (R4)."""
    if name not in OBJECTS:
        near = [known for known in OBJECTS if known.lower() == name.lower()]
        hint = f" Write it {near[0]}." if near else ""
        raise ConfigurationError(
            [f"object: {name!r} is not supported: only {', '.join(OBJECTS)} are (R4).{hint}"]
        )
    return name


def checked_market(name: str, known: Collection[str]) -> str:
    """Return `name` if there is such a market; raise ConfigurationError if not."""
    if name not in known:
        hint = near_or_all(name, list(known), none="none yet")
        raise ConfigurationError([f"market: there is no market {name!r}; {hint}"])
    return name


def scores(market: Market, name: str) -> bool:
    """Say whether the market may score the object (R5)."""
    return market.kind == "account_based" or name in LEAD_BASED_OBJECTS


def suggest_mapping(clients: Clients, name: str, market_name: str) -> Suggestion:
    """Propose both mappings: one describe, two for Contact.

    Raises ConfigurationError where the object or the market is not to be had, or they do not go together.
    """
    configuration: Configuration = clients.configuration
    market = configuration.markets[checked_market(market_name, list(configuration.markets))]
    checked_object(name)
    if not scores(market, name):
        raise ConfigurationError(
            [
                f"market {market.name} is lead based and scores {' and '.join(LEAD_BASED_OBJECTS)} only, not {name} (R5)."
            ]
        )
    needed = {name, "Account"} if name == "Contact" else {name}
    describes = {needed_name: clients.describe(needed_name) for needed_name in sorted(needed)}
    others = [i for i in configuration.integrations if i.object == name and i.market != market.name]
    return suggest(name, market, describes, others)
