-- The users of inferwatch, with no right that they do not need. For a server where users are made by SQL; compose has the same
-- grants in users.d. Give each a password of its own (it is hashed; '...' below is no password). A test runs the migrations, the inserts
-- and every dashboard on the real engine with exactly these grants.

-- inferwatch migrate: makes and alters tables. Used at deployments only.
CREATE USER IF NOT EXISTS iw_migrator IDENTIFIED WITH sha256_password BY '...';
GRANT CREATE DATABASE, CREATE TABLE, ALTER TABLE ON inferwatch.* TO iw_migrator;
GRANT SELECT, INSERT ON inferwatch.migrations TO iw_migrator;

-- The worker: adds rows. It can neither read nor change what is there.
CREATE USER IF NOT EXISTS iw_writer IDENTIFIED WITH sha256_password BY '...';
GRANT INSERT ON inferwatch.* TO iw_writer;

-- On-call: looks an alert up and says how it turned out (inferwatch alert list, inferwatch alert ack), which is written into the audit log.
CREATE USER IF NOT EXISTS iw_oncall IDENTIFIED WITH sha256_password BY '...';
GRANT SELECT ON inferwatch.alerts TO iw_oncall;
GRANT INSERT ON inferwatch.acknowledgements TO iw_oncall;
GRANT SELECT, INSERT ON inferwatch.audit TO iw_oncall;

-- An analyst: exports incidents, writes reports, checks the audit log. What is exported is written into it, so reading alone is not enough.
CREATE USER IF NOT EXISTS iw_analyst IDENTIFIED WITH sha256_password BY '...';
GRANT SELECT ON inferwatch.* TO iw_analyst;
GRANT INSERT ON inferwatch.audit TO iw_analyst;

-- Privacy: erases a client or an event (inferwatch delete). It can delete where people are named, and nowhere else.
CREATE USER IF NOT EXISTS iw_eraser IDENTIFIED WITH sha256_password BY '...';
GRANT SELECT, ALTER DELETE ON inferwatch.client_windows TO iw_eraser;
GRANT SELECT, ALTER DELETE ON inferwatch.sampled_events TO iw_eraser;
GRANT SELECT, INSERT, ALTER UPDATE ON inferwatch.alerts TO iw_eraser;
GRANT SELECT, ALTER UPDATE ON inferwatch.acknowledgements TO iw_eraser;

-- Grafana: reads, and may set what its plugin sets (max_execution_time).
CREATE USER IF NOT EXISTS grafana IDENTIFIED WITH sha256_password BY '...' SETTINGS readonly = 2, max_execution_time = 30 MAX 60, max_memory_usage = 2000000000 MAX 2000000000, max_result_rows = 1000000 MAX 1000000;
GRANT SELECT ON inferwatch.* TO grafana;
