"""The parts of the store that a save has to do with, as one value to hand on."""

from __future__ import annotations

import random
from dataclasses import dataclass

from .automation import Automation
from .data_file import DataFile
from .obstacles import Obstacles
from .options import Options
from .rights import Rights
from .users import Users


@dataclass(frozen=True)
class Parts:
    """The data file, who may do what in it, and what stands in the way of a save.

    ``chance`` is the org's seeded randomness, so that faults by probability can be repeated.
    """

    data: DataFile
    rights: Rights
    users: Users
    automation: Automation
    obstacles: Obstacles
    chance: random.Random

    @property
    def options(self) -> Options:
        """Give the org's options."""
        return self.data.options
