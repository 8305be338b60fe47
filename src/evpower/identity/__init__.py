"""Clients, registration, access tokens, service keys, operators."""

from evpower.identity.access import Access, may_read
from evpower.identity.account_deletion import (
    AccountDeletion,
    ask_for_deletion,
    configured_deletion,
    delete_account,
    restore_account,
)
from evpower.identity.aliases import MAX_LENGTH as MAX_OLD_ID
from evpower.identity.aliases import as_uuid, fold_id_tag, resolve, resolve_id_tag
from evpower.identity.audit import list_acts, record_act
from evpower.identity.clients import (
    block_client,
    check_standing,
    close_client,
    ensure,
    ensure_client,
    ensure_new_clients,
    get_client,
    lock_client,
    request_deletion,
    require_active,
    set_ban,
    set_client_status,
    set_unmapped_status,
    sync_profile,
    unblock_client,
    withdraw_deletion,
)
from evpower.identity.confirmations import waiting_confirmations
from evpower.identity.contact import clean_name, normal_email, phone_as_typed, phone_from_auth
from evpower.identity.errors import AuthBusy, AuthDenied, AuthOutcomeUnknown, AuthRefused
from evpower.identity.favorites import add_favorite, list_favorites, remove_favorite
from evpower.identity.find import find_claimants, find_clients, find_verified
from evpower.identity.id_tags import (
    add_id_tag,
    list_id_tags,
    list_shared_id_tags,
    plain_id_tag,
    remove_id_tag,
)
from evpower.identity.jwks import read_keys
from evpower.identity.model import (
    CLIENT_CHANGED,
    DOCTOR_USER_ID,
    AuthUser,
    Claims,
    Client,
    Confirm,
    Contact,
    CreatedKey,
    ImportedUser,
    NewUser,
    Operator,
    Principal,
    Profile,
    ServiceKey,
    Standing,
)
from evpower.identity.module import (
    configured_access,
    configured_admin,
    configured_verifier,
    module,
)
from evpower.identity.operator_calls import (
    ETAG_RESPONSES,
    OPERATOR_REFUSALS,
    ActReason,
    OperatorCalls,
    RowCursor,
    RowLimit,
    actor_of,
    refuse_own_account,
)
from evpower.identity.operators import add_operator, list_operators, remove_operator
from evpower.identity.profile import profile_of, profile_of_row
from evpower.identity.register import UNVERIFIED
from evpower.identity.roles import HELP_ACTIONS, OPERATOR_PATH, RIGHTS, ROLES, operator_call
from evpower.identity.service_keys import create_service_key, list_service_keys, revoke_service_key
from evpower.identity.sign_in.by_code import SignedIn, sign_in_by_code
from evpower.identity.sign_in.configured import PhoneSignIn, configured_sign_in
from evpower.identity.sign_in.keys import list_signing_keys, opens, rotate_signing_key
from evpower.identity.sign_in.operate import (
    decide_review,
    get_operator,
    list_reviews,
    set_operator_phone,
)
from evpower.identity.sign_in.refresh import log_out, refresh
from evpower.identity.sign_in.send import send_code
from evpower.identity.sign_in.signing_keys import OwnKey, public_jwk
from evpower.identity.sign_in.store_accounts import PhoneReview
from evpower.identity.store import clients_by_id, count_clients, list_clients
from evpower.identity.store_access import closed_since
from evpower.identity.store_aliases import (
    IdTag,
    NewAlias,
    RemovedIdTag,
    add_aliases,
    confirm_aliases,
    remove_aliases,
    remove_client_aliases,
)
from evpower.identity.store_confirmations import WaitingConfirmations
from evpower.identity.store_without_token import (
    WithoutToken,
    count_without_token,
    list_without_token,
)
from evpower.identity.supabase_admin import SupabaseAdmin
from evpower.identity.verification import trusted_contacts
from evpower.identity.without_token import (
    AddedWithoutToken,
    add_without_token,
    find_without_token,
    remove_without_token,
)

# What slices above may read of the tables.
PUBLIC_VIEWS = ("identity.clients_public",)

__all__ = [
    "CLIENT_CHANGED",
    "DOCTOR_USER_ID",
    "ETAG_RESPONSES",
    "HELP_ACTIONS",
    "MAX_OLD_ID",
    "OPERATOR_PATH",
    "OPERATOR_REFUSALS",
    "PUBLIC_VIEWS",
    "RIGHTS",
    "ROLES",
    "UNVERIFIED",
    "Access",
    "AccountDeletion",
    "ActReason",
    "AddedWithoutToken",
    "AuthBusy",
    "AuthDenied",
    "AuthOutcomeUnknown",
    "AuthRefused",
    "AuthUser",
    "Claims",
    "Client",
    "Confirm",
    "Contact",
    "CreatedKey",
    "IdTag",
    "ImportedUser",
    "NewAlias",
    "NewUser",
    "Operator",
    "OperatorCalls",
    "OwnKey",
    "PhoneReview",
    "PhoneSignIn",
    "Principal",
    "Profile",
    "RemovedIdTag",
    "RowCursor",
    "RowLimit",
    "ServiceKey",
    "SignedIn",
    "Standing",
    "SupabaseAdmin",
    "WaitingConfirmations",
    "WithoutToken",
    "actor_of",
    "add_aliases",
    "add_favorite",
    "add_id_tag",
    "add_operator",
    "add_without_token",
    "as_uuid",
    "ask_for_deletion",
    "block_client",
    "check_standing",
    "clean_name",
    "clients_by_id",
    "close_client",
    "closed_since",
    "configured_access",
    "configured_admin",
    "configured_deletion",
    "configured_sign_in",
    "configured_verifier",
    "confirm_aliases",
    "count_clients",
    "count_without_token",
    "create_service_key",
    "decide_review",
    "delete_account",
    "ensure",
    "ensure_client",
    "ensure_new_clients",
    "find_claimants",
    "find_clients",
    "find_verified",
    "find_without_token",
    "fold_id_tag",
    "get_client",
    "get_operator",
    "list_acts",
    "list_clients",
    "list_favorites",
    "list_id_tags",
    "list_operators",
    "list_reviews",
    "list_service_keys",
    "list_shared_id_tags",
    "list_signing_keys",
    "list_without_token",
    "lock_client",
    "log_out",
    "may_read",
    "module",
    "normal_email",
    "opens",
    "operator_call",
    "phone_as_typed",
    "phone_from_auth",
    "plain_id_tag",
    "profile_of",
    "profile_of_row",
    "public_jwk",
    "read_keys",
    "record_act",
    "refresh",
    "refuse_own_account",
    "remove_aliases",
    "remove_client_aliases",
    "remove_favorite",
    "remove_id_tag",
    "remove_operator",
    "remove_without_token",
    "request_deletion",
    "require_active",
    "resolve",
    "resolve_id_tag",
    "restore_account",
    "revoke_service_key",
    "rotate_signing_key",
    "send_code",
    "set_ban",
    "set_client_status",
    "set_operator_phone",
    "set_unmapped_status",
    "sign_in_by_code",
    "sync_profile",
    "trusted_contacts",
    "unblock_client",
    "waiting_confirmations",
    "withdraw_deletion",
]
