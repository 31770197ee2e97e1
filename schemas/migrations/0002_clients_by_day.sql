-- A busy model names 20 million client rows in a month, and the views ask for a month within a second. client_days finds the clients that
-- stand out (a row a client and day); by_client then reads only theirs, so its granules are small; suspects counts the clients with a ticket
-- or page in each window. All are parts of client_windows: same rights, same retention, and made anew when rows that were sent twice are
-- merged. Only largest values and distinct clients are kept together: a row that is there twice does not change them. Queries with FINAL
-- do not use projections: rows are told apart by LIMIT 1 BY instead (dashboards/scope.py).

ALTER TABLE client_windows MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild', lightweight_mutation_projection_mode = 'rebuild';

ALTER TABLE client_windows ADD PROJECTION IF NOT EXISTS client_days
(
    SELECT
        model, version, client, toStartOfDay(start), max(start), max(severity), max(n), max(errors), max(denied), max(repeats),
        max(ln_extraction), max(ln_evasion), max(ln_membership),
        max(evidence['distinct_answers']), max(evidence['members_touched']), max(evidence['flagged_answers']),
        max(evidence['copy_agreement'])
    GROUP BY model, version, client, toStartOfDay(start)
);

ALTER TABLE client_windows ADD PROJECTION IF NOT EXISTS by_client (SELECT * ORDER BY model, version, client, start)
    WITH SETTINGS (index_granularity = 512);

ALTER TABLE client_windows ADD PROJECTION IF NOT EXISTS suspects
(
    SELECT model, version, start, uniqExactIf(client, severity = 'ticket'), uniqExactIf(client, severity = 'page')
    GROUP BY model, version, start
);

ALTER TABLE client_windows MATERIALIZE PROJECTION client_days;

ALTER TABLE client_windows MATERIALIZE PROJECTION by_client;

ALTER TABLE client_windows MATERIALIZE PROJECTION suspects;
