"""The fields that integrations write, and wrote once, as JSON lists."""

import json

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


NAMES = sa.JSON().with_variant(postgresql.JSONB(), 'postgresql')


def upgrade() -> None:
    """Apply."""
    rows = _rows('outputs', 'left_fields')
    with op.batch_alter_table('integrations', schema=None) as batch_op:
        batch_op.drop_column('outputs')
        batch_op.drop_column('left_fields')

    with op.batch_alter_table('integrations', schema=None) as batch_op:
        for name in ('outputs', 'dropped_fields'):
            batch_op.add_column(sa.Column(name, NAMES, server_default=sa.text("'[]'"), nullable=False))

    for key, outputs, dropped in rows:
        _write(key, outputs=json.dumps(_list(outputs)), dropped_fields=json.dumps(_list(dropped)))


def downgrade() -> None:
    """Take back."""
    rows = _rows('outputs', 'dropped_fields')
    with op.batch_alter_table('integrations', schema=None) as batch_op:
        batch_op.drop_column('outputs')
        batch_op.drop_column('dropped_fields')

    with op.batch_alter_table('integrations', schema=None) as batch_op:
        for name in ('outputs', 'left_fields'):
            batch_op.add_column(sa.Column(name, sa.Text(), nullable=True))

    for key, outputs, dropped in rows:
        _write(key, outputs=_text(outputs), left_fields=_text(dropped))


def _rows(*names):
    """Return the key and the named columns of each integration."""
    columns = [sa.column(name) for name in ('object', 'market', *names)]
    found = op.get_bind().execute(sa.select(*columns).select_from(sa.table('integrations')))
    return [({'object': row[0], 'market': row[1]}, row[2], row[3]) for row in found]


def _write(key, **values):
    assignments = ', '.join(f'{name} = :{name}' for name in values)
    op.get_bind().execute(
        sa.text(f'UPDATE integrations SET {assignments} WHERE object = :object AND market = :market'),
        key | values,
    )


def _list(text):
    """Return a text with commas as a list; nothing was ever noted where it is NULL."""
    return [name for name in (text or '').split(',') if name]


def _text(names):
    """Return a list as a text; SQLite gives it as JSON."""
    return ','.join(json.loads(names) if isinstance(names, str) else names)
