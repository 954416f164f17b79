"""The ledger's tables. A change here needs a migration in `migrations/versions`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """An aware UTC datetime, on databases that keep a zone and on those that do not."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime | None,
        dialect: Any,  # noqa: ARG002  asked for by name
    ) -> datetime | None:
        """Refuse naive times; keep the others as UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime reached the ledger")
        return value.astimezone(UTC)

    def process_result_value(
        self,
        value: datetime | None,
        dialect: Any,  # noqa: ARG002  asked for by name
    ) -> datetime | None:
        """Give back aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Names(sa.types.TypeDecorator[tuple[str, ...]]):
    """Names of fields, in order, as a JSON list."""

    # PostgreSQL compares no plain JSON.
    impl = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    cache_ok = True

    def process_bind_param(
        self,
        value: tuple[str, ...] | None,
        dialect: Any,  # noqa: ARG002  asked for by name
    ) -> list[str]:
        """Keep a list."""
        return list(value or ())

    def process_result_value(
        self,
        value: list[str] | None,
        dialect: Any,  # noqa: ARG002  asked for by name
    ) -> tuple[str, ...]:
        """Give back a tuple, which can be compared and hashed."""
        return tuple(value or ())


def _only(condition: str) -> dict[str, Any]:
    """Return the options of an index over the rows that meet `condition`."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


metadata: Final = sa.MetaData()

org = sa.Table(
    "org",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("org_id", sa.String(18), nullable=False),
    sa.Column("environment", sa.String(20), nullable=False),
    sa.Column("connected_at", UtcDateTime, nullable=False),
    sa.Column("instance_url", sa.String(255)),
    sa.CheckConstraint("id = 1", name="one_org"),
)

integrations = sa.Table(
    "integrations",
    metadata,
    sa.Column("object", sa.String(40), primary_key=True),
    sa.Column("market", sa.String(60), primary_key=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("enabled_at", UtcDateTime),
    sa.Column("paused_at", UtcDateTime),
    sa.Column("not_ready", sa.Text),
    sa.Column("resting_since", UtcDateTime),
    sa.Column("outputs", Names, nullable=False, server_default=sa.text("'[]'")),
    sa.Column("dropped_fields", Names, nullable=False, server_default=sa.text("'[]'")),
    sa.Column("not_ready_since", UtcDateTime),
    sa.Column("looks", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_look_at", UtcDateTime),
    sa.Column("fingerprint_seen", sa.String(64)),
    sa.Column("fingerprint_seen_at", UtcDateTime),
)

objects = sa.Table(
    "objects",
    metadata,
    sa.Column("object", sa.String(40), primary_key=True),
    sa.Column("turned_on_at", UtcDateTime, nullable=False),
    sa.Column("watermark", UtcDateTime, nullable=False),
    sa.Column("pulled_at", UtcDateTime),
    sa.Column("asked_at", UtcDateTime),
    sa.Column("seen_count", sa.Integer),
    sa.Column("seen_newest", UtcDateTime),
    sa.Column("daily_pulled_on", sa.Date),
    sa.Column("daily_pulled_at", UtcDateTime),
    sa.Column("seen_digest", sa.String(64)),
    sa.Column("asked_alone_until", UtcDateTime),
    sa.Column("job_rows_max", sa.Integer),
)

leases = sa.Table(
    "object_leases",
    metadata,
    sa.Column("object", sa.String(40), primary_key=True),
    sa.Column("owner", sa.String(80)),
    sa.Column("token", sa.Integer, nullable=False),
    sa.Column("expires_at", UtcDateTime),
)

days = sa.Table(
    "days",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("cap", sa.Integer, nullable=False),
    sa.Column("used", sa.Integer, nullable=False),
    sa.Column("lasting_used", sa.Integer, nullable=False, server_default="0"),
    sa.CheckConstraint("used <= cap", name="within_the_limit"),
)

day_usage = sa.Table(
    "day_usage",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("object", sa.String(40), primary_key=True),
    sa.Column("lane", sa.String(20), primary_key=True),
    sa.Column("used", sa.Integer, nullable=False),
)

waiting = sa.Table(
    "waiting",
    metadata,
    sa.Column("object", sa.String(40), primary_key=True),
    sa.Column("record_id", sa.String(18), primary_key=True),
    sa.Column("reason", sa.String(20), nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("seq", sa.Integer, nullable=False, server_default="1"),
    sa.Column("requested_at", UtcDateTime, nullable=False),
    sa.Column("waits_since", UtcDateTime, nullable=False),
    sa.Column("order_at", UtcDateTime),
    sa.Column("not_before", UtcDateTime, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("error_code", sa.String(80)),
    sa.Column("error_message", sa.Text),
    sa.Column("first_failed_at", UtcDateTime),
    sa.Column("last_failed_at", UtcDateTime),
    sa.Column("modstamp_seen", UtcDateTime),
    sa.Column("hash_seen", sa.String(255)),
    sa.Column("segment_id", sa.String(40)),
    sa.Column("claimed_seq", sa.Integer),
    sa.Column("held_for", sa.String(60)),
    sa.Column("lasting", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("error_market", sa.String(60)),
    sa.Column("claimed_reason", sa.String(20)),
    sa.Column("claimed_lasting", sa.Boolean),
    # Each holds the rows that it is asked for, and no others: a claim takes rows out of one and
    # into the other.
    sa.Index("waiting_by_segment", "segment_id", **_only("segment_id IS NOT NULL")),
    sa.Index(
        "waiting_by_claim",
        "object",
        "lasting",
        "priority",
        "order_at",
        **_only("segment_id IS NULL"),
    ),
)

market_holds = sa.Table(
    "market_holds",
    metadata,
    sa.Column("market", sa.String(60), primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("held_at", UtcDateTime, nullable=False),
    sa.Column("read_from", UtcDateTime, nullable=False),
    sa.Column("retry_at", UtcDateTime, nullable=False),
)

segments = sa.Table(
    "segments",
    metadata,
    sa.Column("segment_id", sa.String(40), primary_key=True),
    sa.Column("object", sa.String(40), nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("stamp", UtcDateTime, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("run_id", sa.String(80), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("settled_at", UtcDateTime),
    sa.Column("pushed", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failed", sa.Integer, nullable=False, server_default="0"),
    sa.Column("gone", sa.Integer, nullable=False, server_default="0"),
    sa.Column("braked_for", sa.Text),
    sa.Column("released_at", UtcDateTime),
    sa.Column("released_by", sa.String(80)),
    sa.Column("push_tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("push_error", sa.Text),
    sa.Column("next_push_at", UtcDateTime),
    sa.Index("segments_by_state", "object", "state"),
)

push_jobs = sa.Table(
    "push_jobs",
    metadata,
    sa.Column("job_id", sa.String(18), primary_key=True),
    sa.Column("segment_id", sa.String(40), nullable=False),
    sa.Column("object", sa.String(40), nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
    sa.Column("settled_at", UtcDateTime),
    sa.Column("result_tries", sa.Integer, nullable=False, server_default="0"),
    sa.Index("push_jobs_by_segment", "segment_id"),
)

scorings = sa.Table(
    "scorings",
    metadata,
    sa.Column("object", sa.String(40), primary_key=True),
    sa.Column("record_id", sa.String(18), primary_key=True),
    sa.Column("segment_id", sa.String(40), primary_key=True),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("scored_at", UtcDateTime, nullable=False),
    sa.Column("in_a_row", sa.Integer, nullable=False),
    sa.Column("written_at", UtcDateTime),
    sa.Index("scorings_by_day", "day", "object"),
)

redos = sa.Table(
    "redos",
    metadata,
    sa.Column("request", sa.String(80), primary_key=True),
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("object", sa.String(40), primary_key=True),
    sa.Column("requested_at", UtcDateTime, nullable=False),
    sa.Column("records", sa.Integer, nullable=False),
)

day_counts = sa.Table(
    "day_counts",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("object", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(160), primary_key=True),
    sa.Column("records", sa.Integer, nullable=False),
)

day_reports = sa.Table(
    "day_reports",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("object", sa.String(40), primary_key=True),
    sa.Column("waiting", sa.Integer, nullable=False),
)

api_calls = sa.Table(
    "api_calls",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("kind", sa.String(40), primary_key=True),
    sa.Column("calls", sa.Integer, nullable=False),
)

api_usage = sa.Table(
    "api_usage",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("used", sa.Integer, nullable=False),
    sa.Column("allotted", sa.Integer, nullable=False),
    sa.Column("seen_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("id = 1", name="one_usage"),
)

market_batches = sa.Table(
    "market_batches",
    metadata,
    sa.Column("market", sa.String(60), primary_key=True),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("noted_at", UtcDateTime, nullable=False),
)

deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("rolled_out_at", UtcDateTime, nullable=False),
    sa.CheckConstraint("id = 1", name="one_deployment"),
)

stops = sa.Table(
    "stops",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("stopped_at", UtcDateTime, nullable=False),
    sa.Column("stopped_by", sa.String(80), nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.CheckConstraint("id = 1", name="one_stop"),
)
