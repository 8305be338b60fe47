-- Favourite locations of clients, and the messages that reach a driver whose app is closed.

-- A location stands above identity: whether it exists is checked by the call that adds it, and locations are never deleted.
create table identity.favorites (
  client_id uuid not null references identity.clients,
  location_id text not null check (length(location_id) between 1 and 64),
  created_at timestamptz not null,
  primary key (client_id, location_id)
);
grant select, insert, delete on identity.favorites to evpower_app;
