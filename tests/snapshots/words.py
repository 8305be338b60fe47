"""Words of design that retire, and how often each may still stand in an identifier.

The numbers may only fall: a commit that removes a word writes the smaller number here.
"""

from typing import Final

# In no identifier of src, tests, bench, migrations and supabase/source.
NEVER: Final = (
    "bell", "cure", "cures", "deaf", "doorbell", "everybody", "fuse", "hopeless", "hung",
    "newcomer", "newcomers", "nobody", "parted", "patience", "rung", "seat", "silence", "sketch",
    "somebody", "vouched", "wish", "wished", "wishes",
)  # fmt: skip
LEFT: Final[dict[str, int]] = {}
# Where one must stand, how often and why.
ALLOWED: Final[dict[tuple[str, str], int]] = {
    # The table's name before 0.1.0, from which its rows are copied.
    ("supabase/source/0310_statuses_under_block.sql", "wishes"): 2,
    # The names before 0.1.0, which are dropped.
    ("supabase/source/0380_save_status_under_block.sql", "wish"): 2,
}
