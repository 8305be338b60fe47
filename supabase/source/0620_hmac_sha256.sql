-- RFC 2104 on the core's sha256(): no extension is needed.
create or replace function evpower.hmac_sha256(key bytea, message bytea) returns bytea
language plpgsql immutable strict parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  inner_key bytea := decode(repeat('36', 64), 'hex');
  outer_key bytea := decode(repeat('5c', 64), 'hex');
begin
  if octet_length(key) > 64 then
    key := sha256(key);
  end if;
  for i in 0 .. octet_length(key) - 1 loop
    inner_key := set_byte(inner_key, i, get_byte(key, i) # 54);
    outer_key := set_byte(outer_key, i, get_byte(key, i) # 92);
  end loop;
  return sha256(outer_key || sha256(inner_key || message));
end
$$;
revoke all on function evpower.hmac_sha256(bytea, bytea) from public, anon, authenticated, service_role;
comment on function evpower.hmac_sha256(bytea, bytea) is
  'evpower {edition}: returns an HMAC-SHA256';
