"""What is noted so that nothing comes to a halt: looks, refused rows' markets, brakes, stops, deployments."""

import sqlalchemy as sa
from alembic import op

UtcDateTime = sa.DateTime(timezone=True)

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def new_columns() -> dict[str, tuple[sa.Column, ...]]:
    """Return the columns by table, made anew: a column belongs to one table only."""
    return {
        'integrations': (
            sa.Column('not_ready_since', UtcDateTime),
            sa.Column('looks', sa.Integer, nullable=False, server_default='0'),
            sa.Column('next_look_at', UtcDateTime),
            sa.Column('fingerprint_seen', sa.String(64)),
            sa.Column('fingerprint_seen_at', UtcDateTime),
        ),
        'objects': (
            sa.Column('daily_pulled_at', UtcDateTime),
            sa.Column('seen_digest', sa.String(64)),
            sa.Column('asked_alone_until', UtcDateTime),
            sa.Column('job_rows_max', sa.Integer),
        ),
        'waiting': (sa.Column('error_market', sa.String(60)),),
        'segments': (
            sa.Column('braked_for', sa.Text),
            sa.Column('released_at', UtcDateTime),
            sa.Column('released_by', sa.String(80)),
            sa.Column('push_tries', sa.Integer, nullable=False, server_default='0'),
            sa.Column('push_error', sa.Text),
            sa.Column('next_push_at', UtcDateTime),
        ),
        'push_jobs': (sa.Column('result_tries', sa.Integer, nullable=False, server_default='0'),),
        'scorings': (sa.Column('written_at', UtcDateTime),),
    }


def upgrade() -> None:
    """Apply."""
    for table, columns in new_columns().items():
        with op.batch_alter_table(table, schema=None) as batch_op:
            for column in columns:
                batch_op.add_column(column)

    # What is not ready is looked at soon; what no check has seen since a switch waits for one.
    op.execute(
        "UPDATE integrations SET not_ready_since = resting_since, looks = 1, "
        "next_look_at = CURRENT_TIMESTAMP "
        "WHERE not_ready IS NOT NULL AND not_ready <> 'not checked yet'"
    )

    op.create_table(
        'market_batches',
        sa.Column('market', sa.String(60), primary_key=True),
        sa.Column('rows', sa.Integer, nullable=False),
        sa.Column('noted_at', UtcDateTime, nullable=False),
    )
    op.create_table(
        'deployments',
        sa.Column('id', sa.Integer, primary_key=True),
        sa.Column('name', sa.String(255), nullable=False),
        sa.Column('rolled_out_at', UtcDateTime, nullable=False),
        sa.CheckConstraint('id = 1', name='one_deployment'),
    )
    op.create_table(
        'stops',
        sa.Column('id', sa.Integer, primary_key=True),
        sa.Column('stopped_at', UtcDateTime, nullable=False),
        sa.Column('stopped_by', sa.String(80), nullable=False),
        sa.Column('why', sa.Text, nullable=False),
        sa.CheckConstraint('id = 1', name='one_stop'),
    )


def downgrade() -> None:
    """Take back."""
    for table in ('stops', 'deployments', 'market_batches'):
        op.drop_table(table)

    for table, columns in new_columns().items():
        with op.batch_alter_table(table, schema=None) as batch_op:
            for column in columns:
                batch_op.drop_column(column.name)
