-- Who may log in, and what is whose. psql runs this before each start, as a superuser or as another
-- role that may make roles and databases (on PostgreSQL 16 and later). What is so already stays.
--
--   cloudopshub_dis  owns schema metrics       cloudopshub_aps  owns schema analysis
--   cloudopshub_das  owns schema rules,        cloudopshub_ubs  owns schema billing, and may become
--                    reads schema metrics                       the two roles of docs/adr/0002-identity.md
--
-- POSTGRES_DIS_PASSWORD and so on are their passwords; without them none changes. An installation
-- that had one role `cloudopshub` is taken over: what is in a schema goes to the schema's role, and
-- `cloudopshub` logs in no more.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
SELECT 'CREATE ROLE ' || wanted FROM unnest(ARRAY[
  'cloudopshub_dis LOGIN', 'cloudopshub_das LOGIN', 'cloudopshub_aps LOGIN',
  'cloudopshub_ubs LOGIN',
  'cloudopshub_billing_app NOLOGIN', 'cloudopshub_billing_directory NOLOGIN']) AS wanted
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = split_part(wanted, ' ', 1)) \gexec
\getenv dis POSTGRES_DIS_PASSWORD
\getenv das POSTGRES_DAS_PASSWORD
\getenv aps POSTGRES_APS_PASSWORD
\getenv ubs POSTGRES_UBS_PASSWORD
\if :{?dis}
  ALTER ROLE cloudopshub_dis PASSWORD :'dis';
  ALTER ROLE cloudopshub_das PASSWORD :'das';
  ALTER ROLE cloudopshub_aps PASSWORD :'aps';
  ALTER ROLE cloudopshub_ubs PASSWORD :'ubs';
\endif
SELECT 'ALTER ROLE cloudopshub NOLOGIN'
  FROM pg_roles WHERE rolname = 'cloudopshub' AND rolcanlogin \gexec
SELECT 'GRANT cloudopshub_billing_app, cloudopshub_billing_directory TO cloudopshub_ubs'
  || CASE WHEN current_setting('server_version_num')::int >= 160000
          THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END \gexec
-- who is no superuser gives away only to roles that it may become
SELECT 'GRANT cloudopshub_dis, cloudopshub_das, cloudopshub_aps, cloudopshub_ubs TO CURRENT_USER'
  FROM pg_roles WHERE rolname = current_user AND NOT rolsuper \gexec

SELECT 'CREATE DATABASE cloudopshub'
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'cloudopshub') \gexec
\connect cloudopshub
SET client_min_messages = warning;
SET lock_timeout = '30s';
CREATE TEMPORARY TABLE owner (schema name, role name);
INSERT INTO owner VALUES
  ('metrics', 'cloudopshub_dis'), ('rules', 'cloudopshub_das'), ('analysis', 'cloudopshub_aps'),
  ('billing', 'cloudopshub_ubs');
SELECT format('CREATE SCHEMA %I', schema)
  FROM owner WHERE to_regnamespace(schema) IS NULL \gexec
SELECT format('ALTER SCHEMA %I OWNER TO %I', schema, role)
  FROM owner JOIN pg_namespace ON nspname = schema WHERE nspowner <> role::regrole \gexec
-- ALTER TABLE is for views and sequences, too. A column's own sequence goes with its table.
SELECT format('ALTER TABLE %s OWNER TO %I', c.oid::regclass, role)
  FROM owner JOIN pg_class c ON relnamespace = to_regnamespace(schema)
 WHERE relowner <> role::regrole AND relkind IN ('r', 'p', 'v', 'm', 'S')
   AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid
                    AND relkind = 'S' AND deptype IN ('a', 'i')) \gexec
SELECT format('ALTER ROUTINE %s OWNER TO %I', p.oid::regprocedure, role)
  FROM owner JOIN pg_proc p ON pronamespace = to_regnamespace(schema)
 WHERE proowner <> role::regrole \gexec

GRANT USAGE ON SCHEMA metrics TO cloudopshub_das;
SELECT format('GRANT SELECT ON %s TO cloudopshub_das', oid::regclass)
  FROM pg_class WHERE relnamespace = to_regnamespace('metrics') AND relkind IN ('r', 'p', 'v', 'm')
   AND NOT has_table_privilege('cloudopshub_das', oid, 'SELECT') \gexec
ALTER DEFAULT PRIVILEGES FOR ROLE cloudopshub_dis IN SCHEMA metrics
  GRANT SELECT ON TABLES TO cloudopshub_das;
