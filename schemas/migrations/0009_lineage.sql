-- Where the features of a kept event came from, and how old they were.

ALTER TABLE sampled_events ADD COLUMN IF NOT EXISTS feature_view LowCardinality(String) AFTER status;

ALTER TABLE sampled_events ADD COLUMN IF NOT EXISTS feature_age_s Nullable(Float64) AFTER feature_view;
