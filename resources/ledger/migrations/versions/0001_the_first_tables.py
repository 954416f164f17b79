"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table('api_calls',
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('kind', sa.String(length=40), nullable=False),
    sa.Column('calls', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('day', 'kind')
    )
    op.create_table('api_usage',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('used', sa.Integer(), nullable=False),
    sa.Column('allotted', sa.Integer(), nullable=False),
    sa.Column('seen_at', sa.DateTime(timezone=True), nullable=False),
    sa.CheckConstraint('id = 1', name='one_usage'),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_table('day_counts',
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('object', sa.String(length=40), nullable=False),
    sa.Column('name', sa.String(length=160), nullable=False),
    sa.Column('records', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('day', 'object', 'name')
    )
    op.create_table('day_reports',
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('object', sa.String(length=40), nullable=False),
    sa.Column('waiting', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('day', 'object')
    )
    op.create_table('day_usage',
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('object', sa.String(length=40), nullable=False),
    sa.Column('lane', sa.String(length=20), nullable=False),
    sa.Column('used', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('day', 'object', 'lane')
    )
    op.create_table('days',
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('cap', sa.Integer(), nullable=False),
    sa.Column('used', sa.Integer(), nullable=False),
    sa.Column('lasting_used', sa.Integer(), server_default='0', nullable=False),
    sa.CheckConstraint('used <= cap', name='within_the_limit'),
    sa.PrimaryKeyConstraint('day')
    )
    op.create_table('integrations',
    sa.Column('object', sa.String(length=40), nullable=False),
    sa.Column('market', sa.String(length=60), nullable=False),
    sa.Column('fingerprint', sa.String(length=64), nullable=False),
    sa.Column('enabled_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('paused_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('not_ready', sa.Text(), nullable=True),
    sa.Column('resting_since', sa.DateTime(timezone=True), nullable=True),
    sa.Column('outputs', sa.Text(), nullable=True),
    sa.Column('left_fields', sa.Text(), nullable=True),
    sa.PrimaryKeyConstraint('object', 'market')
    )
    op.create_table('leases',
    sa.Column('object', sa.String(length=40), nullable=False),
    sa.Column('owner', sa.String(length=80), nullable=True),
    sa.Column('token', sa.Integer(), nullable=False),
    sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('object')
    )
    op.create_table('market_holds',
    sa.Column('market', sa.String(length=60), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('tries', sa.Integer(), nullable=False),
    sa.Column('held_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('read_from', sa.DateTime(timezone=True), nullable=False),
    sa.Column('retry_at', sa.DateTime(timezone=True), nullable=False),
    sa.PrimaryKeyConstraint('market')
    )
    op.create_table('objects',
    sa.Column('object', sa.String(length=40), nullable=False),
    sa.Column('turned_on_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('watermark', sa.DateTime(timezone=True), nullable=False),
    sa.Column('pulled_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('asked_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('seen_count', sa.Integer(), nullable=True),
    sa.Column('seen_newest', sa.DateTime(timezone=True), nullable=True),
    sa.Column('daily_pulled_on', sa.Date(), nullable=True),
    sa.PrimaryKeyConstraint('object')
    )
    op.create_table('org',
    sa.Column('id', sa.Integer(), nullable=False),
    sa.Column('org_id', sa.String(length=18), nullable=False),
    sa.Column('environment', sa.String(length=20), nullable=False),
    sa.Column('connected_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('instance_url', sa.String(length=255), nullable=True),
    sa.CheckConstraint('id = 1', name='one_org'),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_table('push_jobs',
    sa.Column('job_id', sa.String(length=18), nullable=False),
    sa.Column('segment_id', sa.String(length=40), nullable=False),
    sa.Column('object', sa.String(length=40), nullable=False),
    sa.Column('rows', sa.Integer(), nullable=False),
    sa.Column('state', sa.String(length=20), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('settled_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('job_id')
    )
    with op.batch_alter_table('push_jobs', schema=None) as batch_op:
        batch_op.create_index('push_jobs_by_segment', ['segment_id'], unique=False)

    op.create_table('redos',
    sa.Column('request', sa.String(length=80), nullable=False),
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('object', sa.String(length=40), nullable=False),
    sa.Column('requested_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('records', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('request', 'day', 'object')
    )
    op.create_table('scorings',
    sa.Column('object', sa.String(length=40), nullable=False),
    sa.Column('record_id', sa.String(length=18), nullable=False),
    sa.Column('segment_id', sa.String(length=40), nullable=False),
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('scored_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('in_a_row', sa.Integer(), nullable=False),
    sa.PrimaryKeyConstraint('object', 'record_id', 'segment_id')
    )
    with op.batch_alter_table('scorings', schema=None) as batch_op:
        batch_op.create_index('scorings_by_day', ['day', 'object'], unique=False)

    op.create_table('segments',
    sa.Column('segment_id', sa.String(length=40), nullable=False),
    sa.Column('object', sa.String(length=40), nullable=False),
    sa.Column('day', sa.Date(), nullable=False),
    sa.Column('stamp', sa.DateTime(timezone=True), nullable=False),
    sa.Column('rows', sa.Integer(), nullable=False),
    sa.Column('state', sa.String(length=20), nullable=False),
    sa.Column('attempts', sa.Integer(), server_default='0', nullable=False),
    sa.Column('run_id', sa.String(length=80), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('settled_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('pushed', sa.Integer(), server_default='0', nullable=False),
    sa.Column('failed', sa.Integer(), server_default='0', nullable=False),
    sa.Column('gone', sa.Integer(), server_default='0', nullable=False),
    sa.PrimaryKeyConstraint('segment_id')
    )
    with op.batch_alter_table('segments', schema=None) as batch_op:
        batch_op.create_index('segments_by_state', ['object', 'state'], unique=False)

    op.create_table('waiting',
    sa.Column('object', sa.String(length=40), nullable=False),
    sa.Column('record_id', sa.String(length=18), nullable=False),
    sa.Column('reason', sa.String(length=20), nullable=False),
    sa.Column('priority', sa.Integer(), nullable=False),
    sa.Column('seq', sa.Integer(), server_default='1', nullable=False),
    sa.Column('requested_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('waits_since', sa.DateTime(timezone=True), nullable=False),
    sa.Column('order_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('not_before', sa.DateTime(timezone=True), nullable=False),
    sa.Column('tries', sa.Integer(), server_default='0', nullable=False),
    sa.Column('error_code', sa.String(length=80), nullable=True),
    sa.Column('error_message', sa.Text(), nullable=True),
    sa.Column('first_failed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('last_failed_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('modstamp_seen', sa.DateTime(timezone=True), nullable=True),
    sa.Column('hash_seen', sa.String(length=255), nullable=True),
    sa.Column('segment_id', sa.String(length=40), nullable=True),
    sa.Column('claimed_seq', sa.Integer(), nullable=True),
    sa.Column('held_for', sa.String(length=60), nullable=True),
    sa.Column('lasting', sa.Boolean(), server_default=sa.false(), nullable=False),
    sa.PrimaryKeyConstraint('object', 'record_id')
    )
    with op.batch_alter_table('waiting', schema=None) as batch_op:
        unclaimed, claimed = sa.text('segment_id IS NULL'), sa.text('segment_id IS NOT NULL')
        batch_op.create_index('waiting_by_claim', ['object', 'lasting', 'priority', 'order_at'], unique=False, sqlite_where=unclaimed, postgresql_where=unclaimed)
        batch_op.create_index('waiting_by_segment', ['segment_id'], unique=False, sqlite_where=claimed, postgresql_where=claimed)



def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table('waiting', schema=None) as batch_op:
        batch_op.drop_index('waiting_by_segment')
        batch_op.drop_index('waiting_by_claim')

    op.drop_table('waiting')
    with op.batch_alter_table('segments', schema=None) as batch_op:
        batch_op.drop_index('segments_by_state')

    op.drop_table('segments')
    with op.batch_alter_table('scorings', schema=None) as batch_op:
        batch_op.drop_index('scorings_by_day')

    op.drop_table('scorings')
    op.drop_table('redos')
    with op.batch_alter_table('push_jobs', schema=None) as batch_op:
        batch_op.drop_index('push_jobs_by_segment')

    op.drop_table('push_jobs')
    op.drop_table('org')
    op.drop_table('objects')
    op.drop_table('market_holds')
    op.drop_table('leases')
    op.drop_table('integrations')
    op.drop_table('days')
    op.drop_table('day_usage')
    op.drop_table('day_reports')
    op.drop_table('day_counts')
    op.drop_table('api_usage')
    op.drop_table('api_calls')
