-- Further outbox entries: what the tables of an older backend, which phones read, show of top-ups and of transactions.
-- Entries are made only where Supabase has such a table: elsewhere each would be a call for nothing.

-- Which tables of an older backend Supabase has, as the relay last saw it.
create table sync.old_tables (
  name text primary key
);
grant select, insert, delete on sync.old_tables to evpower_app;

-- Replaces the list; returns the new names. Waits for the transactions that made no entry by the old list: the backfill
-- after it sees their rows.
create function sync.set_old_tables(names text[]) returns text[]
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
  added text[];
begin
  lock table sync.old_tables in access exclusive mode;
  delete from sync.old_tables o where o.name <> all (names);
  with inserted as (
    insert into sync.old_tables (name) select distinct n from unnest(names) n order by 1
    on conflict do nothing returning name
  ) select coalesce(array_agg(i.name order by i.name), '{}') into added from inserted i;
  return added;
end
$$;
revoke all on function sync.set_old_tables(text[]) from public;
grant execute on function sync.set_old_tables(text[]) to evpower_app;

alter table sync.pending
  drop constraint pending_topic_check,
  add constraint pending_topic_check
    check (topic in ('client', 'session', 'location', 'station', 'tariff', 'client_tariff', 'payment', 'transaction'));
alter table sync.row_keys
  drop constraint row_keys_topic_check,
  add constraint row_keys_topic_check
    check (topic in ('location', 'station', 'tariff', 'client_tariff', 'payment', 'transaction')),
  add column added_at timestamptz not null default now(); -- payments are many: only newer ones are compared
alter table sync.backfills
  drop constraint backfills_topic_check,
  add constraint backfills_topic_check check (topic in ('client', 'session', 'payment'));

-- A payment's id is its invoice's, a transaction's the client and the version.
create function sync.enqueue_payments() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from sync.old_tables o where o.name = 'balance_topups') then
    perform sync.enqueue_ids('payment', (select array_agg(c.invoice_id) from changed c));
  end if;
  return null;
end
$$;
create trigger payments_pend_new after insert on payments.payments
  referencing new table as changed for each statement execute function sync.enqueue_payments();

-- A recheck shows nothing new, except the first one after the app's QR has expired.
create function sync.enqueue_changed_payments() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from sync.old_tables o where o.name = 'balance_topups') then
    perform sync.enqueue_ids('payment', (
      select array_agg(c.invoice_id)
        from changed c join before b on b.id = c.id
       where (c.status, c.paid_minor, c.confirmed_at, c.closed_at, c.expires_at, c.qr_code_url, c.app_link,
              c.updated_at >= c.expires_at)
             is distinct from (b.status, b.paid_minor, b.confirmed_at, b.closed_at, b.expires_at, b.qr_code_url,
                               b.app_link, b.updated_at >= b.expires_at)));
  end if;
  return null;
end
$$;
create trigger payments_pend after update on payments.payments
  referencing old table as before new table as changed
  for each statement execute function sync.enqueue_changed_payments();

create function sync.enqueue_transactions() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
  if exists (select from sync.old_tables o where o.name = 'payment_transactions_odengi') then
    perform sync.enqueue_ids('transaction', (
      select array_agg(c.client_id || ':' || c.version) from changed c));
  end if;
  return null;
end
$$;
create trigger transactions_pend after insert on wallet.transactions
  referencing new table as changed for each statement execute function sync.enqueue_transactions();

-- What an older backend's table shows of a payment.
create view payments.top_ups_public as
select p.invoice_id, p.order_id, p.client_id, p.provider, p.provider_ref, p.status, p.currency,
       p.amount_minor * 0.01 as amount_som, p.paid_minor * 0.01 as paid_som, p.description, p.qr_code_url, p.app_link,
       p.created_at, p.confirmed_at, p.closed_at, p.expires_at
  from payments.payments p;
grant select on payments.top_ups_public to evpower_app;
