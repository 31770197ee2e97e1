-- How many features were compared with the reference in a window, and how many lie beyond the materiality for sure.

ALTER TABLE windows ADD COLUMN IF NOT EXISTS features UInt64 AFTER drift_log_evidence;

ALTER TABLE windows ADD COLUMN IF NOT EXISTS features_beyond UInt64 AFTER features;
