"""The SQL of `verify`: the expected values of each wallet and each cause beside the stored ones.

A cause is the payment, settlement or refund behind a transaction. Each statement reads one bounded
range, so that it is one short snapshot.
"""

from typing import Final

from evpower.foundation.db import Connection

# The wallets of one range ($1 exclusive, $2 inclusive), recomputed from the ledger and its causes.
# Every table is read by the range or, in a lateral join with `offset 0`, by id: a batch never scans
# a whole table.
WALLETS: Final = """
with rows as (
  select t.client_id, t.version, t.kind, t.amount_minor, t.balance_before_minor,
         t.balance_after_minor, t.payment_id, t.settlement_id, t.refund_id, t.event_at,
         row_number() over chain as place,
         lag(t.balance_after_minor, 1, 0::bigint) over chain as start_minor
    from wallet.transactions t
   where t.client_id > $1 and t.client_id <= $2
  window chain as (partition by t.client_id order by t.version)
), ledger as (
  select t.client_id,
         count(*) as transactions,
         max(t.version) as version,
         count(*) filter (where t.version <> t.place) as gaps,
         count(*) filter (where t.balance_before_minor <> t.start_minor
           or t.balance_after_minor <> t.balance_before_minor + t.amount_minor) as breaks,
         count(*) filter (where t.amount_minor is distinct from
             coalesce(p.credited_minor, -s.debited_minor, r.posted_minor)
           or t.client_id is distinct from coalesce(p.client_id, s.client_id, r.client_id)
           or num_nonnulls(p.id, s.id, r.id) <> 1) as cause_mismatches,
         sum(t.amount_minor)::bigint as sum_minor,
         coalesce(sum(p.credited_minor), 0)::bigint as credited_minor,
         coalesce(sum(s.debited_minor), 0)::bigint as debited_minor,
         coalesce(sum(r.posted_minor), 0)::bigint as refunded_minor,
         coalesce(sum(r.posted_minor) filter (where r.settlement_id is not null), 0)::bigint
           as given_back_minor,
         max(t.event_at) filter (where t.kind = 'topup') as last_topup_at
    from rows t
    left join lateral (
      select x.id, x.client_id, x.credited_minor from payments.payments x
       where x.id = t.payment_id offset 0) p on true
    left join lateral (
      select x.id, x.client_id, x.debited_minor from charging.settlements x
       where x.id = t.settlement_id offset 0) s on true
    left join lateral (
      select x.id, x.client_id, x.posted_minor, x.settlement_id from wallet.refunds x
       where x.id = t.refund_id offset 0) r on true
   group by t.client_id
), held as (
  select client_id, sum(amount_minor)::bigint as minor from wallet.holds
   where client_id > $1 and client_id <= $2 and state = 'open' group by client_id
), owed as (
  select client_id, sum(amount_minor - collected_minor - forgiven_minor)::bigint as minor
    from wallet.debts
   where client_id > $1 and client_id <= $2 and collected_minor + forgiven_minor < amount_minor
   group by client_id
), all_clients as (
  select client_id from wallet.wallets where client_id > $1 and client_id <= $2
  union select id from identity.clients where id > $1 and id <= $2
  union select client_id from ledger
)
select all_clients.client_id, w.client_id is not null as has_wallet,
       w.version, w.balance_minor, w.held_minor, w.debt_minor, w.spent_minor, w.last_topup_at,
       coalesce(l.transactions, 0) as transactions,
       coalesce(l.version, 0) as ledger_version,
       coalesce(l.gaps, 0) as gaps,
       coalesce(l.breaks, 0) as breaks,
       coalesce(l.cause_mismatches, 0) as cause_mismatches,
       coalesce(l.sum_minor, 0) as sum_minor,
       coalesce(l.credited_minor, 0) as credited_minor,
       coalesce(l.debited_minor, 0) as debited_minor,
       coalesce(l.refunded_minor, 0) as refunded_minor,
       coalesce(l.given_back_minor, 0) as given_back_minor,
       l.last_topup_at as ledger_last_topup_at,
       coalesce(last.balance_after_minor, 0) as last_after_minor,
       coalesce(held.minor, 0) as open_holds_minor,
       coalesce(owed.minor, 0) as open_debts_minor
  from all_clients
  left join wallet.wallets w
    on w.client_id = all_clients.client_id and w.client_id > $1 and w.client_id <= $2
  left join ledger l on l.client_id = all_clients.client_id
  left join held on held.client_id = all_clients.client_id
  left join owed on owed.client_id = all_clients.client_id
  left join wallet.transactions last
    on last.client_id = w.client_id and last.version = w.version
   and last.client_id > $1 and last.client_id <= $2
"""

# The last client id of a range of $2 wallets after $1; null: no full range is left.
RANGE_END: Final = """
select client_id from wallet.wallets where client_id > $1 order by client_id offset $2 - 1 limit 1
"""

# Each returns the discrepancies of ids in ($1, $2]: client_id, subject, rule, expected, actual. $3,
# where a statement has it: the seconds a confirmed payment may wait for its credit.
PAYMENTS: Final = """
select p.client_id, 'payment ' || p.id as subject, x.rule, x.expected, x.actual
  from payments.payments p
  cross join lateral (
    select 'payment_not_credited_once' as rule, 1::bigint as expected,
           (select count(*) from wallet.transactions t where t.payment_id = p.id) as actual
     where p.credited_minor is not null
    union all
    select 'payment_refunds', p.refunded_minor,
           (select coalesce(sum(r.amount_minor), 0)::bigint from wallet.refunds r
             where r.payment_id = p.id and r.posted_minor is not null
               and r.collects_debt_id is null)
  ) x
 where p.id > $1 and p.id <= $2 and x.expected <> x.actual
   and (x.rule <> 'payment_not_credited_once' or x.actual > 0
        or p.confirmed_at < now() - make_interval(secs => $3))
"""
SETTLEMENTS: Final = """
select s.client_id, 'settlement ' || s.id as subject, x.rule, x.expected, x.actual
  from charging.settlements s
  cross join lateral (
    select 'settlement_not_charged_once' as rule, (s.debited_minor > 0)::int::bigint as expected,
           (select count(*) from wallet.transactions t where t.settlement_id = s.id) as actual
    union all
    select 'settlement_shortfall', s.due_minor - s.debited_minor,
           coalesce((select d.amount_minor from wallet.debts d where d.settlement_id = s.id), 0)
    union all
    select 'settlement_refunds', s.refunded_minor,
           (select coalesce(sum(r.posted_minor), 0)::bigint from wallet.refunds r
             where r.settlement_id = s.id)
    union all
    select 'bill_due', s.due_minor, greatest(s.total_minor - (
             case s.bill_number when 1 then 0 else (
               select b.total_minor from charging.settlements b
                where b.session_id = s.session_id and b.bill_number = s.bill_number - 1) end), 0)
     where s.bill_number is not null
    union all
    select 'debt_of_its_session', 1, (
             select count(*) from wallet.debts d
               join charging.settlements b on b.id = d.settlement_id
              where d.id = s.collects_debt_id and b.session_id = s.session_id)
     where s.collects_debt_id is not null
  ) x
 where s.id > $1 and s.id <= $2 and x.expected is distinct from x.actual
"""
REFUNDS: Final = """
select r.client_id, 'refund ' || r.id as subject, x.rule, x.expected, x.actual
  from wallet.refunds r
  cross join lateral (
    select 'refund_not_posted_once' as rule, (r.posted_minor <> 0)::int::bigint as expected,
           (select count(*) from wallet.transactions t where t.refund_id = r.id) as actual
    union all
    select 'refund_shortfall', r.amount_minor + r.posted_minor,
           coalesce((select d.amount_minor from wallet.debts d where d.refund_id = r.id), 0)
     where r.payment_id is not null
    union all
    select 'debt_of_its_payment', 1, (
             select count(*) from wallet.debts d join wallet.refunds o on o.id = d.refund_id
              where d.id = r.collects_debt_id and o.payment_id = r.payment_id)
     where r.collects_debt_id is not null
  ) x
 where r.id > $1 and r.id <= $2 and r.posted_minor is not null and x.expected <> x.actual
"""
DEBTS: Final = """
select d.client_id, 'debt ' || d.id as subject, x.rule, x.expected, x.actual
  from wallet.debts d
  cross join lateral (
    select 'debt_amount' as rule, d.amount_minor as actual,
           coalesce((select s.due_minor - s.debited_minor from charging.settlements s
                      where s.id = d.settlement_id),
                    (select r.amount_minor + r.posted_minor from wallet.refunds r
                      where r.id = d.refund_id)) as expected
    union all
    select 'debt_collected', d.collected_minor,
           (select coalesce(sum(s.debited_minor), 0)::bigint from charging.settlements s
             where s.collects_debt_id = d.id)
           - (select coalesce(sum(r.posted_minor), 0)::bigint from wallet.refunds r
               where r.collects_debt_id = d.id)
  ) x
 where d.id > $1 and d.id <= $2 and x.expected is distinct from x.actual
"""
CAUSES: Final = {
    "payments.payments": PAYMENTS,
    "charging.settlements": SETTLEMENTS,
    "wallet.refunds": REFUNDS,
    "wallet.debts": DEBTS,
}

# Discrepancies of the sessions of ids in ($1, $2], as above: each session's cost beside its bills.
# $3: the seconds a finished session may wait for its charge.
SESSIONS: Final = """
select s.client_id, 'session ' || s.id as subject, x.rule, x.expected, x.actual
  from charging.sessions s
  left join lateral (
    select count(*) as bills, max(b.bill_number) as number, sum(b.due_minor)::bigint as due_minor
      from charging.settlements b
     where b.session_id = s.id and b.bill_number is not null offset 0) billed on true
  left join lateral (
    select b.total_minor, b.energy_wh, b.ended_at from charging.settlements b
     where b.session_id = s.id and b.bill_number = billed.number offset 0) last on true
  cross join lateral (
    select 'session_settled_by_bills' as rule, (s.state = 'settled')::int::bigint as expected,
           (billed.bills > 0)::int::bigint as actual
    union all
    select 'session_billed_elsewhere', 0, billed.bills where s.billed_elsewhere
    union all
    select 'session_bill_numbers', billed.bills, billed.number where billed.bills > 0
    union all
    select 'session_cost', s.cost_minor, last.total_minor where billed.bills > 0
    union all
    select 'session_facts', 1, ((s.energy_wh, s.ended_at)
             is not distinct from (last.energy_wh, last.ended_at))::int::bigint
     where billed.bills > 0
    union all
    select 'session_dues', s.cost_minor, billed.due_minor
           - (select coalesce(sum(r.correction_minor), 0)::bigint from charging.settlements b
                join wallet.refunds r on r.settlement_id = b.id where b.session_id = s.id)
           - (select coalesce(sum(d.forgiven_minor), 0)::bigint from charging.settlements b
                join wallet.debts d on d.settlement_id = b.id where b.session_id = s.id)
     where billed.bills > 0
    union all
    select 'session_over_with_a_hold', 0, (
             select count(*) from wallet.holds h where h.session_id = s.id and h.state = 'open')
     where s.source = 'evpower'
       and s.state in ('expired', 'refused', 'cancelled', 'failed', 'settled')
    union all
    select 'session_not_charged', s.cost_minor, null
     where s.state = 'finished' and not s.billed_elsewhere
       and s.updated_at < now() - make_interval(secs => $3)
  ) x
 where s.id > $1 and s.id <= $2 and x.expected is distinct from x.actual
"""
# The last session id of a range of $2 after $1; null: no full range is left.
SESSIONS_END: Final = """
select id from charging.sessions where id > $1 order by id offset $2 - 1 limit 1
"""
SESSIONS_COUNT: Final = "select count(*) from charging.sessions where id > $1 and id <= $2"


async def count_wallets(connection: Connection) -> int:
    """Returns how many wallets there are."""
    count: int = await connection.fetchval("select count(*) from wallet.wallets")
    return count


async def count_sessions(connection: Connection) -> int:
    """Returns how many charging sessions there are."""
    count: int = await connection.fetchval("select count(*) from charging.sessions")
    return count


async def highest_ids(connection: Connection) -> dict[str, int]:
    """Returns the highest id of each table of `CAUSES`."""
    return {
        table: await connection.fetchval(f"select coalesce(max(id), 0) from {table}")
        for table in CAUSES
    }
