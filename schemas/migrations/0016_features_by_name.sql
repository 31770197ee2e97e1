-- The debug view asks for a month of a few features of a hundred: by_feature reads theirs alone. A part of feature_windows, as by_client is of
-- client_windows (0002): same rights, same retention. Queries with FINAL do not use it: rows are told apart by LIMIT 1 BY instead.

ALTER TABLE feature_windows MODIFY SETTING deduplicate_merge_projection_mode = 'rebuild', lightweight_mutation_projection_mode = 'rebuild';

ALTER TABLE feature_windows ADD PROJECTION IF NOT EXISTS by_feature (SELECT * ORDER BY model, version, feature, start);

ALTER TABLE feature_windows MATERIALIZE PROJECTION by_feature;
