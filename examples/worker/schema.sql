-- What the worker is there for.
create table if not exists reports (
  id      bigint generated always as identity primary key,
  colour  text    not null,
  token   bigint  not null,
  process integer not null
);

-- The greatest token that has written, a row a service.
create table if not exists fence (
  service text   primary key,
  token   bigint not null
);
