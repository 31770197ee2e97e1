-- What PSI, W1, JS and KS of several windows together need beside their cells (dashboards/effects.py): any length, from the same counts.

ALTER TABLE feature_windows ADD COLUMN IF NOT EXISTS mean_shift Float64 AFTER ks;

ALTER TABLE feature_windows ADD COLUMN IF NOT EXISTS carried Array(Float32) CODEC(ZSTD(1)) AFTER cells;

ALTER TABLE feature_windows ADD COLUMN IF NOT EXISTS past Array(UInt64) CODEC(ZSTD(1)) AFTER expected;

ALTER TABLE feature_windows ADD COLUMN IF NOT EXISTS widths Array(Float32) AFTER past;

ALTER TABLE feature_windows ADD COLUMN IF NOT EXISTS tenths Array(UInt64) AFTER widths;
