"""Everything that the org keeps, in one data file: the door that the HTTP side goes through.

``Store`` puts the parts together and lists what can be asked of each. A part never sees the store:
it is given the parts below it. From the ground up: ``data_file`` (schema and tables), ``rights``
and ``users``, ``automation`` (rules and flows), ``obstacles`` (locks and failures that were asked
for), ``schema_changes``, ``records`` (reading), ``saves`` (writing), ``loads``, ``conversion``.
"""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

from .automation import Automation
from .clock import Clock
from .conversion import Conversion
from .data_file import DataFile
from .describing import Describes
from .lifecycle import merge
from .loads import Loads, load_ids
from .obstacles import Obstacles
from .options import Options
from .parts import Parts
from .records import Records
from .rights import Rights
from .saves import Saves
from .schema_changes import SchemaChanges
from .users import User, Users


class Store:
    """The org's records, schema, users and rights. Blocking; safe to use from any thread.

    Each verb is one part's: what it means, and what it raises, stands there.
    """

    def __init__(  # noqa: PLR0915 - a list of verbs, not a procedure
        self, path: Path, clock: Clock, options: Options
    ) -> None:
        """Open the data file, or make it with its users and their permissions."""
        data = DataFile(path, clock, options)
        rights = Rights(data)
        users = self._users = Users(data, rights)
        users.seed()
        automation = Automation(data)
        obstacles = Obstacles(data)
        chance = random.Random(options.random_seed)  # noqa: S311 - for repeatable faults
        parts = Parts(data, rights, users, automation, obstacles, chance)

        # The file, its clock and its objects.
        self.path = path
        self.clock = clock
        self.options = options
        self.schema = data.schema
        self.org_id = data.org_id
        self.read = data.read
        self.write = data.write
        self.next_serial = data.next_serial
        self.settle = data.late.settle
        self.close = data.close
        self.object = data.object
        self.objects = data.objects

        # Users and rights.
        self.users = users.all
        self.user = users.by_id
        self.user_by_name = users.by_name
        self.create_user = users.create
        self.update_user = users.update
        self.access = rights.access
        self.set_object_permission = rights.set_object_permission
        self.set_field_permission = rights.set_field_permission

        # The schema, and its changes.
        describes = Describes(data, rights)
        self.global_describe = describes.all
        self.describe = describes.whole
        self.basic_describe = describes.basic
        changes = SchemaChanges(data, users, rights, automation)
        self.create_custom_field = changes.create_custom_field
        self.delete_custom_field = changes.delete_custom_field
        self.set_field_property = changes.set_field_property
        self.load_schema_file = changes.load_schema_file

        # What happens to saves.
        self.validation_rules = automation.validation_rules
        self.add_validation_rule = automation.add_validation_rule
        self.remove_validation_rule = automation.remove_validation_rule
        self.flows = automation.flows
        self.add_flow = automation.add_flow
        self.remove_flow = automation.remove_flow
        self.lock_rows = obstacles.lock_rows
        self.make_read_only = obstacles.make_read_only
        self.hide = obstacles.hide
        self.fail_chunks = obstacles.fail_chunks
        self.hold_next_saves = obstacles.hold_next_saves

        # Records.
        records = Records(parts)
        self.get_record = records.get_record
        self.get_records = records.get_records
        self.get_by_external_id = records.get_by_external_id
        self.updated_ids = records.updated_ids
        self.deleted_ids = records.deleted_ids
        saves = Saves(parts)
        self.save_records = saves.save_records
        self.save_table = saves.save_table
        self.load = Loads(parts).load
        self.load_ids = load_ids
        conversion = Conversion(parts, saves)
        self.convert_lead = conversion.convert_lead
        self.create_person_account = conversion.create_person_account
        self.merge = partial(merge, data)

    @property
    def admin(self) -> User:
        """Give the administrator."""
        return self._users.admin

    @property
    def integration(self) -> User:
        """Give the integration user."""
        return self._users.integration
