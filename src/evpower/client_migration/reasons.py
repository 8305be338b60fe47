"""Texts for operators: why a row was not moved."""

from collections.abc import Mapping
from typing import Final

REASONS: Final[Mapping[str, str]] = {
    # The row itself.
    "old_id_missing": "it has no old id",
    "old_id_invalid": "its old id is too long or can't be printed",
    "email_invalid": "its email is invalid",
    "phone_invalid": "its phone is invalid",
    "flag_invalid": "a confirmed-column has neither yes nor no nor a time",
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
    # The user it may belong to.
    "email_unverified": "a login has this email without having verified it",
    "phone_unverified": "a login has this phone without having verified it",
    "email_unconfirmed_in_source": "a user verified this email, the old system did not",
    "phone_unconfirmed_in_source": "a user verified this phone, the old system did not",
    "contacts_of_two_users": "its email is of one user and its phone of another",
    "id_and_contact_of_two_users": "its id is of one user and its contact of another",
    "contacts_disagree": "one contact is this user's, who has verified another one as well",
    "user_of_two_rows": "two rows are this user",
    "user_has_another_old_id": "this user was another old client already",
    "user_deleted": "the user with this id was deleted",
    "client_closed": "the client is closed",
    "client_with_other_contacts": "a client with this id has another email or phone",
    "decided_user_missing": "it was decided for a user that does not exist",
    "id_tag_taken": "an id tag is another client's",
    "client_of_its_own": "its id is the id of another client, who has a wallet of its own",
    # Moved before, and now something else.
    "balance_changed": "it was moved with another balance",
    "moved_to_another": "it was moved to one user, and now it is another's",
    # While it was done.
    "email_exists": "the email got a user since the plan was made",
    "phone_exists": "the phone got a user since the plan was made",
    "no_longer_verified": "the user's contact is not verified any more",
    "user_gone": "the user does not exist any more",
    "alias_taken": "another client got an id or tag since the plan was made",
    "contact_taken": "another client verified the email or phone in the meantime",
    "created_otherwise": "an earlier run created its user with other contacts",
    "not_storable": "the database has a rule against it",
    "balance_carried_elsewhere": "its balance was credited to another wallet in a reverted run",
    "receipt_reused": "another balance was credited to this wallet before",
    "opening_balance_exists": "a balance was credited to this wallet before: it may be the same",
    "auth_failed": "Supabase Auth failed for this user repeatedly",
    "validation_failed": "Supabase Auth refuses its email or phone",
    "changed_since_the_plan": "the row of the source changed since the plan",
    "gone_from_source": "the source does not have the row any more",
    # Why a revert retained it.
    "signed_in": "its user has signed in",
    "wallet_used": "its wallet was used",
    "not_ours": "its user was not created by this run",
    "client_blocked": "the client is blocked",
    "client_before": "the client was there before the run",
    "has_another_old_id": "another old id means the same client",
}


def reason_text(code: str) -> str:
    """Returns the text of a reason, as the end of a sentence."""
    return REASONS.get(code, code.replace("_", " "))
