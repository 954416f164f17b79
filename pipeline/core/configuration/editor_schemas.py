"""JSON schemas of the configuration's files, by which editors complete and check what is written.

They are made from the models that read the files, so that the two cannot disagree. A schema knows
one file. What holds between files, such as the outputs that a market has enabled, only the reading
checks.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from pipeline.core.configuration.integration import Integration
from pipeline.core.configuration.market import Market
from pipeline.core.configuration.settings import Settings

EditorSchemaName = Literal["settings", "market", "integration"]
_MODELS: Final[dict[EditorSchemaName, type[BaseModel]]] = {
    "settings": Settings,
    "market": Market,
    "integration": Integration,
}
EDITOR_SCHEMA_NAMES: Final = tuple(_MODELS)


def editor_schema(name: EditorSchemaName) -> dict[str, Any]:
    """Return the JSON schema (draft 7, which every editor knows) of one kind of file."""
    schema = _MODELS[name].model_json_schema(schema_generator=_WithoutTitles)
    if name == "market":  # a market's name is its folder's
        del schema["properties"]["name"]
        schema["required"].remove("name")
    dialect = {"$schema": "http://json-schema.org/draft-07/schema#"}
    return {**dialect, "title": name, **{k: v for k, v in schema.items() if k != "title"}}


class _WithoutTitles(GenerateJsonSchema):
    """Leaves out fields' titles, which repeat their names, and closes mappings to other names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        """Say that no field has a title."""
        return False

    def dict_schema(self, schema: Any) -> dict[str, Any]:
        """Return a mapping's schema: where its names follow a pattern, no others may be there."""
        made = super().dict_schema(schema)
        if "patternProperties" in made:
            made["additionalProperties"] = False
        return made
