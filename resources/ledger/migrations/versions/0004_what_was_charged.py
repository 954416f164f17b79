"""What a claim has charged stays on its row; a process of an older release finds no leases."""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table('waiting', schema=None) as batch_op:
        batch_op.add_column(sa.Column('claimed_reason', sa.String(20)))
        batch_op.add_column(sa.Column('claimed_lasting', sa.Boolean))
    op.execute(
        "UPDATE waiting SET claimed_reason = reason, claimed_lasting = lasting "
        "WHERE segment_id IS NOT NULL"
    )

    # Every write of a run asks for its lease: one that began before stops at its next write.
    op.rename_table('leases', 'object_leases')


def downgrade() -> None:
    """Take back."""
    op.rename_table('object_leases', 'leases')
    with op.batch_alter_table('waiting', schema=None) as batch_op:
        batch_op.drop_column('claimed_lasting')
        batch_op.drop_column('claimed_reason')
