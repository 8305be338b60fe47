-- The hourly comparison finds what changed lately by where it lies in the table, as it finds sessions: both are written in
-- the order of time, and a client changes seldom. Such an index keeps no update from staying within its page.
create index transactions_created on wallet.transactions using brin (created_at) with (autosummarize = on);
create index clients_updated on identity.clients using brin (updated_at) with (autosummarize = on);
