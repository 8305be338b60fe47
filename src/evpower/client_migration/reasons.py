"""Why a row was not moved, for a person."""

from collections.abc import Mapping
from typing import Final

REASONS: Final[Mapping[str, str]] = {
    # The row itself.
    "old_id_missing": "it has no old id",
    "old_id_invalid": "its old id is too long or can't be printed",
    "email_invalid": "its email is none",
    "phone_invalid": "its phone is none",
    "flag_invalid": "a confirmed-column says neither yes nor no nor when",
    "id_tags_invalid": "its id tags are too long, too many or can't be printed",
    "balance_invalid": "its balance is no amount of money",
    "balance_negative": "its balance is negative",
    "not_readable": "it is not UTF-8",
    "fields_miscounted": "it has more or fewer fields than the header",
    "no_contact": "it has neither email nor phone, and Supabase Auth wants one",
    # The source contradicts itself.
    "old_id_twice": "two rows have this old id",
    "id_tag_twice": "two rows have one id tag",
    "email_twice": "two rows have one email",
    "phone_twice": "two rows have one phone",
    # Who it may be.
    "email_unproven": "a login has this email, and nothing proves that it is theirs",
    "phone_unproven": "a login has this phone, and nothing proves that it is theirs",
    "email_unproven_in_source": "a user has proven this email, but the old system had not",
    "phone_unproven_in_source": "a user has proven this phone, but the old system had not",
    "contacts_of_two_users": "its email is of one user and its phone of another",
    "id_and_contact_of_two_users": "its id is of one user and its contact of another",
    "contacts_disagree": "one contact is this user's, but the user has proven another one besides",
    "user_of_two_rows": "two rows are this user",
    "user_has_another_old_id": "this user was another old client already",
    "user_deleted": "the user with this id was deleted",
    "client_closed": "the client is closed",
    "client_with_other_contacts": "a client with this id has another email or phone",
    "decided_for_nobody": "it was decided for a user that does not exist",
    "id_tag_taken": "an id tag is another client's",
    "client_of_its_own": "its id is the id of another client, who has a wallet of its own",
    # Moved before, and now something else.
    "balance_changed": "it was moved with another balance",
    "moved_to_another": "it was moved to one user, and now it is another's",
    # While it was done.
    "email_exists": "somebody took the email since the plan was made",
    "phone_exists": "somebody took the phone since the plan was made",
    "no_longer_proven": "the user's contact is not proven any more",
    "user_gone": "the user does not exist any more",
    "alias_taken": "an id or tag was taken since the plan was made",
    "contact_taken": "another client took the email or phone meanwhile",
    "created_otherwise": "an earlier run created its user with other contacts",
    "not_storable": "the database has a rule against it",
    "balance_carried_elsewhere": "its balance went into another wallet in a run taken back",
    "receipt_reused": "another balance was carried into this wallet before",
    "opening_balance_exists": "a balance was carried into this wallet before: the same one?",
    "auth_failed": "Supabase Auth failed for this user again and again",
    "validation_failed": "Supabase Auth does not take its email or phone",
    "changed_since_the_plan": "the source's row is another one than was planned",
    "gone_from_source": "the source does not have the row any more",
    # Why a revert left it.
    "signed_in": "its user has signed in",
    "wallet_used": "its wallet was used",
    "not_ours": "its user was not created by this run",
    "client_blocked": "the client is blocked",
    "client_before": "the client was there before the run",
    "has_another_old_id": "another old id means the same client",
}


def reason_text(code: str) -> str:
    """A sentence's end."""
    return REASONS.get(code, code.replace("_", " "))
