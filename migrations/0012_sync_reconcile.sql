-- The comparison of both sides: its runs, whose turn it is, and what it found in more words.

-- One comparison of both sides, from its first page to its last; what was begun is carried on from here.
create table sync.checks (
  id bigint generated always as identity primary key,
  kind text not null check (kind in ('hand', 'hot', 'all')), -- by a person; what changed lately; everything
  since timestamptz,                                 -- hot: what changed after it
  repair boolean not null,
  stage int not null default 0,                      -- where it is: which part and side,
  after text,                                        -- and the last key of it that was compared
  counts jsonb not null default '{}',
  error text,                                        -- what it waits for
  started_at timestamptz not null,
  finished_at timestamptz,
  noted_at timestamptz not null default clock_timestamp(), -- by this database's clock: what was seen since
  check ((kind = 'hot') = (since is not null))
);
create index checks_by_kind on sync.checks (kind, id);
grant select, insert, update, delete on sync.checks to evpower_app;

-- The turns of the comparisons that run by themselves: whoever leases a row runs it, nobody else does.
create table sync.check_turns (
  kind text primary key check (kind in ('hot', 'all')),
  due_at timestamptz,
  leased_by uuid,
  leased_until timestamptz,
  check_id bigint references sync.checks on delete set null, -- begun and not finished
  check ((leased_by is null) = (leased_until is null))
);
insert into sync.check_turns (kind) values ('hot'), ('all');
grant select, update on sync.check_turns to evpower_app;

alter table sync.drift
  add column kind text not null default 'differs',
  add column fields text[] not null default '{}',    -- what of it differs
  add column notice boolean not null default false,  -- worth knowing, and nobody is wrong
  add column repaired boolean not null default false, -- something was done about it
  add column check_id bigint,                        -- the comparison that saw it last
  add column seen_at timestamptz not null default now();
grant delete on sync.drift to evpower_app; -- healed ones of long ago
create index drift_of_check on sync.drift (check_id, id) where healed_at is null;

-- What changed lately is found by where it lies in the table: sessions, transactions and clients are written in the
-- order of time, and a client changes seldom. Such an index keeps no update from staying within its page.
create index sessions_updated on charging.sessions using brin (updated_at) with (autosummarize = on);
create index transactions_created on wallet.transactions using brin (created_at) with (autosummarize = on);
create index clients_updated on identity.clients using brin (updated_at) with (autosummarize = on);
