"""Sign-in by a code sent to the phone: codes, limits, senders, tokens of EvPower's own."""

from evpower.identity.sign_in.account import PhoneAccount
from evpower.identity.sign_in.issuer import OwnKey, public_jwk
from evpower.identity.sign_in.keys import list_signing_keys, opens, rotate_signing_key
from evpower.identity.sign_in.operate import decide_review, list_reviews, set_operator_phone
from evpower.identity.sign_in.store_accounts import PhoneReview

__all__ = [
    "OwnKey",
    "PhoneAccount",
    "PhoneReview",
    "decide_review",
    "list_reviews",
    "list_signing_keys",
    "opens",
    "public_jwk",
    "rotate_signing_key",
    "set_operator_phone",
]
